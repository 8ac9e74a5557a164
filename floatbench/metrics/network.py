"""What the torch backbones share: verified weights, exact float32, batches that shrink when memory runs out."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from floatbench.device import ran_out_of_memory, within_memory
from floatbench.errors import DataError, OutOfMemory
from floatbench.metrics.base import Backbone
from floatbench.metrics.fused import bend_following, fused
from floatbench.metrics.pointwise import PointwiseConv, is_pointwise
from floatbench.metrics.winograd import StridedWinogradConv, WinogradConv, available, fits, halves

_LOG = logging.getLogger("floatbench")


class NetworkBackbone(Backbone):
    """A backbone with one torch network in float32.

    Args:
        batch: items per forward pass; changes results by float rounding only, and is halved when memory runs out.

    Attributes:
        quick: `load` makes the network `quicker`; False leaves its layers as the reference has them, for comparisons.
    """

    default_batch = 32
    norms_follow = False
    """Every batch norm is that of the layer registered right before it, if there is one; so `quicker` may fold it."""
    activations_follow = False
    """Every ReLU is that of the layer and norm registered right before it, so that these may take it over."""
    channels_last = False
    """Kernels lie channels-last, where that was measured to be faster."""
    traced: tuple[str, ...] = ()
    """Parts of the network whose layers may take over what follows them, see `floatbench.metrics.fused`."""

    def __init__(self, batch: int | None = None) -> None:
        self.batch = batch or self.default_batch
        self.device = "cpu"
        self.quick = True
        self.network: nn.Module | None = None

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with any weights, on the CPU."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """The weights under the network's own key names; by default those of the file of `weights[0]`."""
        from floatbench import weights

        return weights.load_state_dict(self.weights[0])

    def load(self, device: str = "cpu") -> None:
        """Builds the network with verified weights; raises DataError when they are missing or do not fit."""
        state = self.state()  # first, because missing weights should be said at once
        network = self.build()
        load_strictly(network, state, self.weights[0])
        network = network.eval().requires_grad_(False)
        if self.quick:
            products = device == "cpu" and available()
            network = quicker(network, self.norms_follow, self.channels_last, products)
            if products and self.activations_follow:
                bend_following(network)
            for name in self.traced if products else ():
                network.set_submodule(name, fused(network.get_submodule(name)))
        with within_memory(device, f"the network of {self.id}"):
            self.network = network.to(device)
        self.device = device

    def forward(self, run: Callable[[nn.Module, torch.Tensor], torch.Tensor], items: np.ndarray) -> np.ndarray:
        """Applies `run(network, batch)` to `items` (N, ...), batch after batch; returns (N, ...) float32."""
        network = self.network
        if network is None:
            raise RuntimeError(f"backbone {self.id}: load() was not called")

        def one(chunk: np.ndarray) -> torch.Tensor:
            return run(network, torch.from_numpy(np.ascontiguousarray(chunk)).to(self.device)).float().cpu()

        with torch.inference_mode(), exact_float32():
            features, self.batch = in_batches(one, items, self.batch, self.id)
        return features


def load_strictly(network: nn.Module, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Loads a state dict whose keys and shapes must all match; raises DataError that names the weights."""
    try:
        network.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise DataError(
            f"weights {name!r} do not fit the network: {first}", f"floatbench weights verify {name}"
        ) from error


def quicker(network: nn.Module, norms_follow: bool, channels_last: bool, products: bool = False) -> nn.Module:
    """The same function up to rounding in fewer passes and products; changes the network.

    Args:
        norms_follow: fold each batch norm into the convolution or linear layer registered right before it. A network
            may register them in another order than it calls them (pre-activated blocks end in a convolution, and the
            next one's norm sees a sum), so that a test must hold each network for which this is said.
        channels_last: lay the kernels of 2-D and 3-D convolutions so; what they make follows.
        products: convolutions that fit become `WinogradConv` and `StridedWinogradConv`, 1 x 1 convolutions
            `PointwiseConv`, for float32 on the CPU: by the layer alone, never by a trial, so that every processor
            computes alike.
    """
    layers = [(name, module) for name, module in network.named_modules() if not any(module.children())]
    for (name, layer), (norm_name, norm) in pairwise(layers) if norms_follow else ():
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            continue
        if isinstance(layer, nn.Linear):
            network.set_submodule(name, fuse_linear_bn_eval(layer, norm))
        elif isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            network.set_submodule(name, fuse_conv_bn_eval(layer, norm))
        else:
            continue
        network.set_submodule(norm_name, nn.Identity())
    for name, layer in list(network.named_modules()) if products else ():
        if fits(layer):
            network.set_submodule(name, WinogradConv(layer))
        elif halves(layer):
            network.set_submodule(name, StridedWinogradConv(layer))
        elif is_pointwise(layer):
            network.set_submodule(name, PointwiseConv(layer))
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for kernel in network.parameters() if channels_last else ():
        if kernel.dim() in formats:
            kernel.data = kernel.data.contiguous(memory_format=formats[kernel.dim()])
    return network


def in_batches(
    function: Callable[[np.ndarray], torch.Tensor], items: np.ndarray, batch: int, label: str
) -> tuple[np.ndarray, int]:
    """Applies `function` to slices of `items`; halves the batch, and says so, whenever memory runs out.

    Returns:
        The joined results and the batch size that worked. Raises OutOfMemory at batch 1.
    """
    results: list[np.ndarray] = []
    start = 0
    while start < len(items):
        try:
            results.append(function(items[start : start + batch]).numpy())
            start += batch
        except (RuntimeError, MemoryError) as error:
            if not ran_out_of_memory(error):
                raise
            batch = _halved(batch, label, error)
    return np.concatenate(results), batch


def _halved(batch: int, label: str, error: Exception) -> int:
    if batch == 1:
        raise OutOfMemory(f"{label}: not even a batch of 1 fits") from error
    torch.cuda.empty_cache()
    _LOG.warning("%s: out of memory with a batch of %d, going on with %d", label, batch, batch // 2)
    return batch // 2


@contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 and no algorithm search on CUDA, so that a score does not depend on the GPU's generation."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def seeded_state(network: nn.Module, seed: int) -> dict[str, Any]:
    """Random weights that keep activations of order one, equal on every machine and torch version.

    Kernels are normal with variance 2 / fan-in, norm statistics scatter around (0, 1), biases around 0. Draws come from
    NumPy, one stream per tensor name, so that a change of one layer leaves the others alone.
    """
    state: dict[str, torch.Tensor] = {}
    for index, (name, tensor) in enumerate(sorted(network.state_dict().items())):
        rng = np.random.default_rng([seed, index])
        shape = tuple(tensor.shape)
        if not tensor.is_floating_point():
            state[name] = torch.zeros_like(tensor)
            continue
        if tensor.ndim > 1:
            values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        elif name.endswith("running_var"):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = 0.1 * rng.standard_normal(shape) + (1.0 if name.endswith("weight") else 0.0)
        state[name] = torch.from_numpy(np.asarray(values)).to(tensor.dtype)
    return state


def save_seeded(network: nn.Module, path: Path, seed: int) -> None:
    """Writes `seeded_state` as a file that `weights_only=True` can read."""
    torch.save(seeded_state(network, seed), path)
