"""Cutting a clip into windows of L frames, each of which sees P frames of the window before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from floatbench.model.conditions import Conditions
from floatbench.types import SAMPLES_PER_FRAME


@dataclass(frozen=True)
class Window:
    """Frames `start` to `start + length` of the clip; only the last window may be shorter than L."""

    index: int
    start: int
    length: int


def n_frames(samples: int) -> int:
    """Frames of a sound of this many samples at 16 kHz: T = ceil(samples / 640)."""
    return -(-samples // SAMPLES_PER_FRAME)


def plan(total: int, window: int) -> list[Window]:
    """ceil(total / window) windows that cover frames 0 to total."""
    starts = range(0, total, window)
    return [Window(index, start, min(window, total - start)) for index, start in enumerate(starts)]


def cut(clip: Conditions, window: int) -> Iterator[Conditions]:
    """The conditions of a whole clip in windows of L frames; the last frame is repeated to the end of the last one."""
    for part in plan(clip.wa.shape[1], window):
        stop = part.start + part.length
        yield replace(
            clip, **{name: pad_end(value[:, part.start : stop], window) for name, value in clip.framewise().items()}
        )


def pad_end(x: Tensor, length: int) -> Tensor:
    """Repeats the last frame of (B, n, C) up to `length` frames."""
    missing = length - x.shape[1]
    return torch.cat([x, x[:, -1:].expand(-1, missing, -1)], dim=1) if missing > 0 else x


def carry(x: Tensor, previous: int) -> Tensor:
    """The last `previous` frames of (B, L, C), with zeros before them when there are fewer."""
    tail = x[:, max(x.shape[1] - previous, 0) :]
    missing = previous - tail.shape[1]
    return torch.cat([tail.new_zeros(x.shape[0], missing, x.shape[2]), tail], dim=1) if missing > 0 else tail
