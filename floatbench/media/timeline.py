"""The pp1 time line: which source picture and which samples each output frame shows. Pure arithmetic on time stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from floatbench.errors import ClipError
from floatbench.types import FPS, SAMPLES_PER_FRAME

MIN_FRAMES = 25
MAX_FRAMES = 90_000  # one hour; longer recordings are cut into windows
_AUDIO_SLACK_S = 0.040
_TIE_S = 1e-9


@dataclass(frozen=True)
class TimeLine:
    """What a clip at 25 frames a second is made of.

    Attributes:
        t0: source time of frame 0, in seconds.
        source_index: (N,) int64, non-decreasing; the decoded picture that output frame n shows.
    """

    t0: float
    source_index: np.ndarray

    @property
    def n_frames(self) -> int:
        return len(self.source_index)

    @property
    def n_samples(self) -> int:
        return self.n_frames * SAMPLES_PER_FRAME


def plan(
    stamps: np.ndarray,
    audio: tuple[float, float] | None = None,
    start: float | None = None,
    end: float | None = None,
    min_frames: int = MIN_FRAMES,
) -> TimeLine:
    """Plans a clip from the stamps of its pictures and the ends of its sound.

    Args:
        stamps: (S,) seconds, non-decreasing, one per decoded picture.
        audio: (start, end) of the sound in seconds, None without sound.
        start, end: the requested window in source time, in seconds.
        min_frames: fewer are refused.

    Raises:
        ClipError: `empty` without a picture, `too_short` below `min_frames`, `too_long` above an hour.
    """
    stamps = np.asarray(stamps, np.float64)
    if len(stamps) == 0:
        raise ClipError("empty", "no picture could be decoded")
    ends = [stamps[-1] + (float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1 / FPS)]
    starts = [stamps[0]]
    if audio is not None:
        starts.append(audio[0])
        ends.append(audio[1] + _AUDIO_SLACK_S)
    if start is not None:
        starts.append(start)
    if end is not None:
        ends.append(end)
    t0 = float(max(starts))
    n = int(np.floor((min(ends) - t0) * FPS + 1e-6))
    if n < min_frames:
        raise ClipError("too_short", f"{max(n, 0)} frames at {FPS} a second, {min_frames} are needed")
    if n > MAX_FRAMES:
        raise ClipError("too_long", f"{n} frames; choose a window of at most {MAX_FRAMES}")
    return TimeLine(t0, nearest(stamps, t0 + np.arange(n) / FPS))


def nearest(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(N,) index of the stamp nearest to each time; of two equally near the earlier one."""
    distinct, first = np.unique(stamps, return_index=True)
    right = np.clip(np.searchsorted(distinct, times), 1, max(len(distinct) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(distinct) - 1)
    take_left = times - distinct[left] <= distinct[right] - times + _TIE_S
    return first[np.where(take_left, left, right)]
