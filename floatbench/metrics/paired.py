"""Which of two systems is better: the paired test on the same clips, made from what a score keeps of its parts.

A score keeps its *folds*: a distance the distances with one group of people left out each, a mean the value of each
clip. Two systems measured on the same rows are compared by the differences of their folds alone, without features.
Distances: jackknife of the difference of square roots, or of the plain values where these are unbiased estimates, which
may be negative (kernel distances). Means: bootstrap of the clips' differences over people. The
seeds of replicates add their own variance, so that more of them never make a difference out of chance.
Source: Busing et al. (1999); Holm (1979); Satterthwaite (1946).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from floatbench.metrics.base import ClipFolds, DistanceFolds, Folds, Interval
from floatbench.metrics.statistics import LEVEL, Design, Resampled, jackknife_error, resampled, root_interval

ALPHA = round(1 - LEVEL, 12)
"""A difference is decided where its adjusted p is below this."""
_SCALES: dict[str, tuple[Callable[[float], float], str]] = {"root": (math.sqrt, "root"), "plain": (float, "")}


@dataclass(frozen=True)
class PairedDifference:
    """The paired difference `a - b` over the clips that both have.

    Attributes:
        clips, people: what the test saw.
        interval: of the difference, None with the reason in `why`; p: two-sided, not adjusted.
    """

    a: float
    b: float
    clips: int
    people: int
    interval: Interval | None
    p: float | None
    why: str = ""

    @property
    def difference(self) -> float:
        return self.a - self.b


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for how many there are (Holm 1979); None stays None and does not count."""
    known = sorted((p, i) for i, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = largest
    return adjusted


def comparable(a: Sequence[Folds], b: Sequence[Folds]) -> bool:
    """True when the folds alone can be compared: clips' values always, distances on the same rows only."""
    folds = [*a, *b]
    if not a or not b:
        return False
    if all(isinstance(fold, ClipFolds) for fold in folds):
        return True
    rows = {(fold.rows, fold.groups, fold.sizes, fold.scale) for fold in folds if isinstance(fold, DistanceFolds)}
    return len(rows) == 1 and all(isinstance(fold, DistanceFolds) for fold in folds)


def difference(a: Sequence[Folds], b: Sequence[Folds], seed: int) -> PairedDifference:
    """Compares two systems by their folds, one for each replicate; `comparable` must hold.

    Args:
        seed: of the bootstrap.
    """
    distances = [[fold for fold in folds if isinstance(fold, DistanceFolds)] for folds in (a, b)]
    if distances[0]:
        return _of_distances(distances[0], distances[1])
    return _of_clips(*([fold for fold in folds if isinstance(fold, ClipFolds)] for folds in (a, b)), seed=seed)


def score_interval(folds: Sequence[Folds], seed: int) -> tuple[Interval | None, str]:
    """The interval of a score (a mean over replicates) from its folds, or None and why there is none."""
    distances = [fold for fold in folds if isinstance(fold, DistanceFolds)]
    if distances:
        if len({fold.groups for fold in distances}) > 1:
            return None, "the replicates measured different clips"
        if distances[0].why:
            return None, distances[0].why
        return _distance_interval(distances), ""
    clips = [fold for fold in folds if isinstance(fold, ClipFolds)]
    values, means = _by_person(clips)
    design = Design.of([person for person, own in values.items() for _ in own])
    why = next((fold.why for fold in clips if fold.why), design.why)
    if why:
        return None, why
    extra = _seeds([means])
    found = resampled(values, seed, conditional=design.conditional)
    return _widened(found, extra)[0], ""


def _distance_interval(folds: Sequence[DistanceFolds]) -> Interval:
    from scipy import stats  # takes 0.7 s to import

    scale, name = _SCALES[folds[0].scale]
    value, left_out = _averaged(folds)
    middle = scale(value)
    error = jackknife_error(middle, [scale(left) for left in left_out], folds[0].sizes)
    extra = _seeds([[scale(fold.value) for fold in folds]])
    total, df = _together(error, len(left_out) - 1, extra)
    of = f" of the {name}" if name else ""
    method = f"group jackknife{of} by {folds[0].unit}, {len(left_out)} groups{_and_seeds(extra)}"
    if folds[0].scale == "root":
        return root_interval(middle, total, df, method)
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * total
    return Interval(middle - half, middle + half, LEVEL, method)


def _of_distances(a: Sequence[DistanceFolds], b: Sequence[DistanceFolds]) -> PairedDifference:
    from scipy import stats  # takes 0.7 s to import

    (value_a, left_a), (value_b, left_b) = _averaged(a), _averaged(b)
    first = a[0]
    scale, name = _SCALES[first.scale]
    why = next((fold.why for fold in (*a, *b) if fold.why), "")
    whole = PairedDifference(value_a, value_b, first.clips, first.people, None, None, why)
    if why:
        return whole
    gap = scale(value_a) - scale(value_b)
    error = jackknife_error(gap, [scale(x) - scale(y) for x, y in zip(left_a, left_b, strict=True)], first.sizes)
    extra = _seeds([[scale(fold.value) for fold in side] for side in (a, b)])
    total, df = _together(error, len(left_a) - 1, extra)
    half = float(stats.t.ppf((1 + LEVEL) / 2, df)) * total
    of = f" of the {name}s" if name else ""
    method = f"paired group jackknife{of} by {first.unit}, {len(left_a)} groups{_and_seeds(extra)}"
    back = scale(value_a) + scale(value_b) if first.scale == "root" else 1.0
    interval = Interval((gap - half) * back, (gap + half) * back, LEVEL, method)
    return replace(whole, interval=interval, p=_p(gap, total, df, len(left_a)))


def _of_clips(a: Sequence[ClipFolds], b: Sequence[ClipFolds], seed: int) -> PairedDifference:
    common = set.intersection(*({clip for clip, _, _ in fold.values} for fold in (*a, *b)))
    first, second = ([fold.only(common) for fold in side] for side in (a, b))
    (values_a, means_a), (values_b, means_b) = _by_person(first), _by_person(second)
    if not common:
        return PairedDifference(float("nan"), float("nan"), 0, 0, None, None, "no clip was measured for both")
    gaps = {name: (np.array(values_a[name]) - np.array(values_b[name])).tolist() for name in values_a}
    design = Design.of([person for person, own in gaps.items() for _ in own])
    whole = PairedDifference(float(np.mean(means_a)), float(np.mean(means_b)), len(common), design.people, None, None)
    why = next((fold.why for fold in (*a, *b) if fold.why), design.why)
    if why:
        return replace(whole, why=why)
    interval, p = _widened(resampled(gaps, seed, conditional=design.conditional), _seeds([means_a, means_b]))
    return replace(whole, interval=replace(interval, method=f"paired {interval.method}"), p=p)


def _averaged(folds: Sequence[DistanceFolds]) -> tuple[float, np.ndarray]:
    """Mean over replicates of the score and of each left-out score."""
    return float(np.mean([fold.value for fold in folds])), np.mean([fold.left_out for fold in folds], axis=0)


def _by_person(folds: Sequence[ClipFolds]) -> tuple[dict[str, list[float]], list[float]]:
    """Person -> the means over replicates of the clips that all replicates have, and the mean of each replicate."""
    common = set.intersection(*({clip for clip, _, _ in fold.values} for fold in folds)) if folds else set()
    kept = [sorted(fold.only(common).values) for fold in folds]
    values: dict[str, list[float]] = {}
    for entries in zip(*kept, strict=True):
        values.setdefault(entries[0][1], []).append(float(np.mean([value for _, _, value in entries])))
    return values, [float(np.mean([value for _, _, value in own])) for own in kept if own]


def _seeds(sides: Sequence[Sequence[float]]) -> list[tuple[float, int]]:
    """(variance of the mean over seeds, degrees of freedom) of every side that has replicates."""
    return [(float(np.var(side, ddof=1)) / len(side), len(side) - 1) for side in sides if len(side) > 1]


def _together(error: float, df: int, extra: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Standard error and Satterthwaite's degrees of freedom of independent parts."""
    parts = [(error**2, df), *extra]
    total = sum(variance for variance, _ in parts)
    weights = sum(variance**2 / own for variance, own in parts)
    return total**0.5, total**2 / weights if weights > 0 else float(df)


def _widened(found: Resampled, extra: Sequence[tuple[float, int]]) -> tuple[Interval, float]:
    """Interval and p of a resampled mean with the variance of the seeds added."""
    from scipy import stats  # takes 0.7 s to import

    interval, p = found.interval(), found.p()
    if not any(variance > 0 for variance, _ in extra):
        return interval, p
    total, df = _together(found.error, found.df, extra)
    method = found.method + _and_seeds(extra)
    quantile = (1 + LEVEL) / 2
    if found.error == 0:
        half = float(stats.t.ppf(quantile, df)) * total
        interval = Interval(found.mean - half, found.mean + half, LEVEL, method)
        return interval, _p(found.mean, total, df, found.units)
    factor = total / found.error * float(stats.t.ppf(quantile, df) / stats.t.ppf(quantile, found.df))
    low, high = (found.mean + (end - found.mean) * factor for end in (interval.low, interval.high))
    score = float(stats.t.isf(p / 2, found.df)) * found.error / total
    return Interval(low, high, LEVEL, method), float(2 * stats.t.sf(score, df))


def _p(gap: float, error: float, df: float, groups: int) -> float:
    """Two-sided p of a difference; where nothing varies at all, that of a sign test."""
    from scipy import stats  # takes 0.7 s to import

    if gap == 0:
        return 1.0
    return float(2 * stats.t.sf(abs(gap) / error, df)) if error > 0 else 0.5 ** (groups - 1)


def _and_seeds(extra: Sequence[tuple[float, int]]) -> str:
    return " and the spread over seeds" if extra else ""
