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
_ROUNDING_S = 1e-3  # two stamps of a container that counts milliseconds, each off by half of one


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
    held: bool = False,
) -> TimeLine:
    """Plans a clip from the stamps of its pictures and the ends of its sound.

    Args:
        stamps: (S,) seconds, non-decreasing, one per decoded picture.
        audio: (start, end) of the sound in seconds, None without sound.
        start, end: the requested window in source time, in seconds.
        min_frames: fewer are refused.
        held: each frame shows the picture that a player shows then (pp2), else the nearest in time (pp1).

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
        outside = _outside(float(stamps[0]), float(ends[0]), start, end)
        raise ClipError("too_short", f"{max(n, 0)} frames at {FPS} a second, {min_frames} are needed{outside}")
    if n > MAX_FRAMES:
        raise ClipError("too_long", f"{n} frames; choose a window of at most {MAX_FRAMES}")
    return TimeLine(t0, (shown if held else nearest)(stamps, t0 + np.arange(n) / FPS))


def _outside(first: float, last: float, start: float | None, end: float | None) -> str:
    """Where the file's time begins and ends, for a window not inside it; what lies far after a window was not read."""
    before, after = (start or 0.0) < first - _TIE_S, max(start or 0.0, end or 0.0) > last + _TIE_S
    if (start is None and end is None) or not (before or after):
        return ""
    window = f"from {'its begin' if start is None else f'{start:g} s'} to {'its end' if end is None else f'{end:g} s'}"
    time = f"begins at {first:.2f} s and ends at {last:.2f} s" if after else f"begins at {first:.2f} s"
    return f": the window is {window}, the file's time {time}"


def nearest(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(N,) index of the stamp nearest to each time; of two equally near the earlier one."""
    distinct, first = np.unique(stamps, return_index=True)
    right = np.clip(np.searchsorted(distinct, times), 1, max(len(distinct) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(distinct) - 1)
    take_left = times - distinct[left] <= distinct[right] - times + _TIE_S
    return first[np.where(take_left, left, right)]


def shown(stamps: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(N,) index of the picture on the screen at each time: the last whose stamp has come; the first before that.

    Of pictures with one stamp the first counts. A stamp less than a millisecond ahead has come: two that are rounded to
    milliseconds may be off by that much.
    """
    distinct, first = np.unique(stamps, return_index=True)
    return first[np.clip(np.searchsorted(distinct, times + _ROUNDING_S, side="right") - 1, 0, None)]


def has_gap(stamps: np.ndarray, line: TimeLine) -> bool:
    """True when a picture of the clip stands for longer than two pictures (of the median length)."""
    steps = np.diff(stamps)
    end = line.t0 + line.n_frames / FPS
    inside = (stamps[1:] > line.t0) & (stamps[:-1] < end)
    return bool((steps[inside] > 2 * np.median(steps) + _ROUNDING_S + _TIE_S).any()) if len(steps) else False
