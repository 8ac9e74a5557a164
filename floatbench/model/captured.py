"""A function of tensors as CUDA graphs: captured once per set of shapes, replayed with a single launch afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Function = Callable[..., Tensor]
Replay = Callable[[], Tensor]
Capture = Callable[[Function, Sequence[Tensor]], Replay]
"""capture(function, arguments) -> replay(), which runs the function on whatever the arguments hold by then."""

WARM_UP = 3


class CudaCapture:
    """Captures calls on their arguments' device; the result of every replay of a capture is the same tensor.

    All captures share one pool of memory, so that another shape costs no second one: they must not run at once, and
    the result of one is to be used up before another one runs.
    """

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, function: Function, arguments: Sequence[Tensor]) -> Replay:
        device = arguments[0].device
        with torch.cuda.device(device):
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            return _captured_on(device, function, arguments, self._pool)


def _captured_on(device: torch.device, function: Function, arguments: Sequence[Tensor], pool: Any) -> Replay:
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # capture needs warm caches
            for _ in range(WARM_UP):
                function(*arguments)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # other threads encode meanwhile: what they ask of the driver must not spoil the capture
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            output = function(*arguments)

    def replay() -> Tensor:
        with torch.cuda.device(device):
            graph.replay()
        return output

    return replay


class Captured:
    """Calls a function through its captured form.

    Arguments are copied into tensors of its own; one that is the same object as in the call before, unchanged, is not
    copied again. The result is valid until the next call with the same shapes.

    Args:
        function: of tensors only, without side effects.
        capture: a stand-in for tests on a CPU, instead of a `CudaCapture` of its own.
    """

    def __init__(self, function: Function, capture: Capture | None = None) -> None:
        self._function, self._capture = function, capture or CudaCapture()
        self._calls: dict[tuple[object, ...], _Call] = {}

    def __call__(self, *arguments: Tensor) -> Tensor:
        key = tuple((argument.shape, argument.dtype) for argument in arguments)
        if key not in self._calls:
            self._calls[key] = _Call(self._function, self._capture, arguments)
        return self._calls[key](arguments)


class _Call:
    """One captured call with the tensors it reads, which are ordinary ones even where inference mode is on."""

    def __init__(self, function: Function, capture: Capture, arguments: Sequence[Tensor]) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self._kept = [argument.clone() for argument in arguments]
            self._replay = capture(function, self._kept)
        self._given = [(argument, _version(argument)) for argument in arguments]

    def __call__(self, arguments: Sequence[Tensor]) -> Tensor:
        for i, argument in enumerate(arguments):
            last, version = self._given[i]
            if argument is not last or version is None or _version(argument) != version:
                self._kept[i].copy_(argument)
                self._given[i] = (argument, _version(argument))
        return self._replay()


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to; None for those of inference mode, which do not count."""
    return None if tensor.is_inference() else tensor._version
