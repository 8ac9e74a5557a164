"""Intervals, bias curves and paired comparisons; the same for every metric.

Corpus scores (Frechet distances) must not be bootstrapped: repeated rows lower the rank and move the score far away
from itself. They get a delete-a-group jackknife by identity. Means over clips get a bootstrap that resamples
identities. Both need several identities; below `MIN_IDENTITIES` there is no honest interval and none is given.
The estimand of an interval is the expected score at this N, not the score of infinitely many clips.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from floatbench.errors import UsageError
from floatbench.metrics.base import Comparison, Interval

if TYPE_CHECKING:
    from floatbench.metrics.base import Metric, Pair

MIN_IDENTITIES = 8
"""Below this many identities an interval is not given: t quantiles and percentiles no longer mean much."""
MAX_GROUPS = 12
"""Identities are joined into at most this many groups, so that a jackknife costs at most 12 more distances."""
LEVEL = 0.95


def compare(metric: Metric, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair]) -> Comparison:
    """Compares two methods on the clips that both have; raises UsageError when there is none."""
    common = {p.clip_id for p in pairs_a} & {p.clip_id for p in pairs_b}
    if not common:
        raise UsageError(f"{metric.info.id}: the two methods have no clip in common")
    first, second = (
        sorted((p for p in pairs if p.clip_id in common), key=lambda p: p.clip_id) for pairs in (pairs_a, pairs_b)
    )
    return metric.compare(first, second)


def too_few(identities: int) -> str:
    """Why there is no interval, or the empty string when there may be one."""
    if identities >= MIN_IDENTITIES:
        return ""
    return f"{identities} identities are too few for an interval (at least {MIN_IDENTITIES})"


def assign_groups(clip_identities: Sequence[str], max_groups: int = MAX_GROUPS) -> dict[str, int]:
    """Identity -> group, groups of about equal clip counts; depends on the set only, never on the order.

    Whole identities stay together. Largest first into the least filled group, names breaking ties.
    """
    names, counts = np.unique(np.asarray(clip_identities, dtype=object).astype(str), return_counts=True)
    filled = [0] * min(max_groups, len(names))
    groups: dict[str, int] = {}
    for count, name in sorted(zip(counts.tolist(), names.tolist(), strict=True), key=lambda item: (-item[0], item[1])):
        group = filled.index(min(filled))
        groups[name] = group
        filled[group] += count
    return groups


def jackknife(score: float, left_out: Sequence[float], level: float = LEVEL) -> Interval:
    """Interval from the scores with one group left out each: score +- t(G - 1) * se.

    se^2 = (G - 1)/G * sum (score_g - mean)^2. For Frechet distances it errs on the wide side, because it counts their
    quadratic part twice (Efron and Stein 1981).
    """
    values = np.asarray(left_out, float)
    g = len(values)
    error = np.sqrt((g - 1) / g * np.square(values - values.mean()).sum())
    half = float(stats.t.ppf((1 + level) / 2, g - 1) * error)
    return Interval(score - half, score + half, level, f"group jackknife by identity, {g} groups")


def clustered_bootstrap(
    values: Mapping[str, Sequence[float]], seed: int = 0, draws: int = 2000, level: float = LEVEL
) -> Interval:
    """Interval of a mean over clips: identities are drawn with replacement, with all their clips.

    Args:
        values: identity -> the values of its clips.
        seed: of the draws; identities are sorted first, so that the order of clips changes nothing.

    The percentile interval is stretched about the mean by sqrt(G/(G-1)) * t(G-1)/z: with few identities the plain one
    is too short.
    """
    names = sorted(values)
    sums = np.array([float(np.sum(values[name])) for name in names])
    counts = np.array([len(values[name]) for name in names], float)
    g = len(names)
    mean = sums.sum() / counts.sum()
    rng = np.random.default_rng(np.random.SeedSequence([seed, g]))
    picks = rng.integers(0, g, (draws, g))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    tail = (1 - level) / 2
    stretch = np.sqrt(g / (g - 1)) * stats.t.ppf(1 - tail, g - 1) / stats.norm.ppf(1 - tail)
    low, high = mean + (np.quantile(means, [tail, 1 - tail]) - mean) * stretch
    return Interval(float(low), float(high), level, f"bootstrap over {g} identities, {draws} draws, seed {seed}")


@dataclass(frozen=True)
class NCurve:
    """The score at several sample sizes and its straight line in 1/n.

    Attributes:
        points: (mean rows per side, mean score), the last one over all rows.
        extrapolated: the line at 1/n = 0, an estimate of the score of infinitely many samples.
        slope: score per 1/n.
    """

    points: tuple[tuple[float, float], ...]
    extrapolated: float
    slope: float

    def to_dict(self) -> dict[str, Any]:
        return {"points": [list(p) for p in self.points], "extrapolated": self.extrapolated, "slope": self.slope}


def n_curve(g: int, score: Callable[[Sequence[int]], tuple[float, float]], whole: tuple[float, float]) -> NCurve | None:
    """Scores unions of groups, taken without replacement; None with fewer than four groups.

    Args:
        g: number of groups.
        score: from the indices of the groups taken to (rows per side, score).
        whole: (rows per side, score) of all groups.
    """
    if g < 4:
        return None
    points: list[tuple[float, float]] = []
    for taken in sorted({(g + 1) // 2, round(0.75 * g)}):
        starts = [0, g // 2]  # two windows of groups around the circle: each group is used about equally often
        scores = [score([(start + k) % g for k in range(taken)]) for start in starts]
        points.append((float(np.mean([n for n, _ in scores])), float(np.mean([s for _, s in scores]))))
    points.append(whole)
    inverse = np.array([1 / n for n, _ in points])
    slope, extrapolated = np.polyfit(inverse, [s for _, s in points], 1)
    return NCurve(tuple(points), float(extrapolated), float(slope))


def content_seed(text: str) -> int:
    """A 32-bit seed from a text such as a metric id, so that draws are equal on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
