"""Several clips solved as one batch: the same motion as one after another, to rounding, in fewer network calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from floatbench.device import ran_out_of_memory, within_memory
from floatbench.model.conditions import Conditions, stack
from floatbench.sampling.animator import Stream
from floatbench.sampling.clock import StageClock
from floatbench.sampling.network import motion_shape
from floatbench.sampling.sampler import SampledWindow, sample_windows


def solve_together(streams: Sequence[Stream], clock: StageClock) -> list[str]:
    """Solves the motion of streams of one model and equal options as one batch; each keeps its own seed.

    Clips may differ in length: a clip leaves the batch after its last window. When memory runs out the batch is halved,
    once.

    Args:
        streams: not yet iterated, made with this clock.
        clock: of what they share; its seconds are divided among them, and each goes on with a clock of its own.

    Returns:
        What a user should know: that memory ran out.

    Raises:
        ClipError: `out_of_memory`, where the halves do not fit either.
    """
    longest_first = sorted(streams, key=lambda stream: -stream.n_frames)
    with within_memory(streams[0].device, f"the motion of {len(streams)} videos, even in two halves"):
        notes = _solve_halved(longest_first, clock)
    shares = {stage: seconds / len(streams) for stage, seconds in clock.seconds.items()}
    for stream in streams:
        stream.clock = StageClock(stream.device)
        stream.clock.seconds = dict(shares)
    return notes


def _solve_halved(streams: Sequence[Stream], clock: StageClock) -> list[str]:
    """`_solve`, in two halves when memory runs out, which is said."""
    try:
        _solve(streams, clock)
        return []
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error) or len(streams) == 1:
            raise
    half = (len(streams) + 1) // 2
    torch.cuda.empty_cache()
    for start in range(0, len(streams), half):
        _solve(streams[start : start + half], clock)
    return [f"the device ran out of memory: {half} clips are solved at once instead of {len(streams)}"]


def _solve(streams: Sequence[Stream], clock: StageClock) -> None:
    """Fills in `solved` of streams that are in descending order of length."""
    model, options = streams[0].model, streams[0].options
    solved: list[list[SampledWindow]] = [[] for _ in streams]
    windows = sample_windows(
        model.sampled_network(options), _stacked([stream.conditions() for stream in streams]),
        [stream.seed for stream in streams], options, motion_shape(model.network),
    )  # fmt: skip
    while True:
        with clock("solve"):  # the stages speech and emotion interrupt it
            window, ready = model.beside.made(lambda: next(windows, None))
            ready()
        if window is None:
            break
        count = len(window.motion)
        for index in range(count):
            own = window.motion[index : index + 1]
            solved[index].append(replace(window, motion=own, rows=window.rows // count))
    for stream, own in zip(streams, solved, strict=True):
        stream.solved = own


def _stacked(clips: Sequence[Iterator[Conditions]]) -> Iterator[Conditions]:
    """The conditions of window after window of those clips that last that long."""
    while parts := [window for window in (next(clip, None) for clip in clips) if window is not None]:
        yield stack(parts)
