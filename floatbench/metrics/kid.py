"""KID, KVD and E-KID: the squared kernel distance of the features that FID, FVD and E-FID read.

    MMD^2 = mean of k(x_i, x_j) over i != j + mean of k(y_i, y_j) over i != j - 2 mean of k(x_i, y_j)

with k(x, y) = (x . y / d + 1)^3. The estimate over all rows is made block by block, not the mean over drawn subsets.
Independent rows make it unbiased at every n, where a Frechet distance grows with 1/n; it may therefore be below zero,
and is so, by about 2/n, for a set against itself.
Source: Binkowski et al. 2018 (KID), Unterthiner et al. 2018 (KVD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from scipy import stats

from floatbench.errors import ClipError
from floatbench.metrics import efid, statistics, tiny
from floatbench.metrics.base import ClipValue, Interval, Metric, MetricInfo, Pair, Score
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.fid import FID
from floatbench.metrics.fvd import FVD

BLOCK = 2048
"""Rows of one side that are multiplied at a time: 32 MB of kernel values."""
FORMULA = "mean k(x, x') + mean k(y, y') - 2 mean k(x, y), k = (x . y / d + 1)^3, all pairs of different rows"


def kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of (x . y / d + 1)^3 over all pairs of rows of (N, d) and (M, d), in float64."""
    total = 0.0
    for a in range(0, len(x), BLOCK):
        for b in range(0, len(y), BLOCK):
            values = x[a : a + BLOCK] @ y[b : b + BLOCK].T
            values /= x.shape[1]
            values += 1
            total += float((values * values * values).sum())
    return total


def kernel_diagonal(x: np.ndarray) -> float:
    """Sum of (x . x / d + 1)^3 over the rows of (N, d)."""
    return float(((np.square(x).sum(1) / x.shape[1] + 1) ** 3).sum())


@dataclass
class GroupedKernel:
    """Sums of kernel values between groups of rows, from which the distance of any union of groups follows.

    Attributes:
        counts: rows of each group; xx, yy, xy: (G, G) sums over pairs of groups; own_x, own_y: sums of k(x, x).
    """

    counts: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    own_x: np.ndarray
    own_y: np.ndarray

    @classmethod
    def of(cls, x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> GroupedKernel:
        """From the rows of each group, generated and reference, equally many."""
        g = len(x)
        xx, yy, xy = (np.zeros((g, g)) for _ in range(3))
        for i in range(g):
            for j in range(g):
                xy[i, j] = kernel_sum(x[i], y[j])
                if j >= i:
                    xx[i, j] = xx[j, i] = kernel_sum(x[i], x[j])
                    yy[i, j] = yy[j, i] = kernel_sum(y[i], y[j])
        own_x, own_y = (np.array([kernel_diagonal(rows) for rows in side]) for side in (x, y))
        return cls(np.array([len(rows) for rows in x]), xx, yy, xy, own_x, own_y)

    def distance(self, groups: Sequence[int] | None = None) -> float:
        """The unbiased estimate over some groups, by default all; NaN with fewer than two rows."""
        chosen = np.arange(len(self.counts)) if groups is None else np.asarray(groups)
        n, both = int(self.counts[chosen].sum()), np.ix_(chosen, chosen)
        if n < 2:
            return float("nan")
        inside = self.xx[both].sum() - self.own_x[chosen].sum() + self.yy[both].sum() - self.own_y[chosen].sum()
        return float(inside / (n * (n - 1)) - 2 * self.xy[both].sum() / n**2)


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate of MMD^2 between two feature sets of equal size (N, d)."""
    return GroupedKernel.of([np.asarray(x, np.float64)], [np.asarray(y, np.float64)]).distance()


@dataclass
class _Rows:
    """The rows of every group and side, with the counts of what entered."""

    generated: dict[int, list[np.ndarray]] = field(default_factory=dict)
    reference: dict[int, list[np.ndarray]] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    dropped: int = 0


class KernelMetric(Metric):
    """The kernel distance over the same rows as a Frechet metric.

    Args:
        info: what the variant is.
        rows_of: the metric whose rows count.
    """

    def __init__(self, info: MetricInfo, rows_of: FrechetMetric) -> None:
        self.info = info
        self.rows_of = rows_of

    def clip_value(self, pair: Pair) -> ClipValue:
        return self.rows_of.clip_value(pair)

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        """The distance over all clips; the interval is a group jackknife on the plain scale, which may be negative."""
        found = self._collect(pairs)
        if not found.clips:
            return Score(self.info.id, None, 0, found.failures, None, "no clip could be measured")
        numbers = sorted(found.generated)
        sides = ([np.concatenate(side[g]) for g in numbers] for side in (found.generated, found.reference))
        sums = GroupedKernel.of(*sides)
        n, value = int(sums.counts.sum()), sums.distance()
        if n < 2:
            return Score(self.info.id, None, len(found.clips), found.failures, None, "fewer than two rows")
        design = statistics.Design.of(list(found.clips.values()))
        interval = None if design.why else _interval(sums, value, design.unit)
        details = {"n_generated": n, "n_reference": n, "rows_dropped": found.dropped, "groups": len(numbers),
                   "identities": design.people}  # fmt: skip
        return Score(
            self.info.id, value, len(found.clips), found.failures, interval, design.why, details, n, n + found.dropped
        )

    def _collect(self, pairs: Sequence[Pair]) -> _Rows:
        found, rows = _Rows(), {}
        for pair in sorted(pairs, key=lambda pair: pair.clip_id):
            try:
                rows[pair.clip_id] = self.rows_of.rows(pair)
                found.clips[pair.clip_id] = pair.identity
            except ClipError as error:
                found.failures[pair.clip_id] = str(error)
        groups = statistics.clip_groups({clip: (found.clips[clip], rows[clip].whole) for clip in rows}) if rows else {}
        for clip, own in rows.items():
            for side, values in ((found.generated, own.generated), (found.reference, own.reference)):
                side.setdefault(groups[clip], []).append(np.asarray(values, np.float64))
            found.dropped += own.dropped
        return found


def _interval(sums: GroupedKernel, value: float, unit: str) -> Interval:
    """Group jackknife on the plain scale: the estimate is unbiased and may be below zero."""
    groups = range(len(sums.counts))
    left_out = [sums.distance([k for k in groups if k != out]) for out in groups]
    error = statistics.jackknife_error(value, left_out, sums.counts.tolist())
    half = float(stats.t.ppf((1 + statistics.LEVEL) / 2, len(groups) - 1)) * error
    return Interval(value - half, value + half, statistics.LEVEL, f"group jackknife by {unit}, {len(groups)} groups")


_NAMES = {"FID": "KID", "FVD": "KVD", "E-FID": "E-KID"}


def kernel_metric(variant: str, make: Callable[[], Metric]) -> KernelMetric:
    """The kernel distance on the rows of a Frechet metric; its column is named after that metric's."""
    of = make()
    if not isinstance(of, FrechetMetric):
        raise TypeError(f"{of.info.id} has no rows of features")
    column, space, rest = of.info.column.partition(" ")
    info = replace(
        of.info,
        id=variant,
        column=_NAMES[column] + space + rest,
        title=f"Kernel distance on the rows of {of.info.id}",
        formula=FORMULA,
        source="Unterthiner et al. 2018" if column == "FVD" else "Binkowski et al. 2018",
        parity="the published formula, pair by pair, on equal features; features as the Frechet metric's",
    )
    return KernelMetric(info, of)


METRICS: dict[str, Callable[[], Metric]] = {
    "kid": partial(kernel_metric, "kid", FID),
    "kvd": partial(kernel_metric, "kvd", FVD),
    "ekid": partial(kernel_metric, "ekid", efid.METRICS["efid"]),
    "ekid-mp52": partial(kernel_metric, "ekid-mp52", efid.METRICS["efid-mp52"]),
    "kid-tiny": partial(kernel_metric, "kid-tiny", tiny.METRICS["fid-tiny"]),
    "kvd-tiny": partial(kernel_metric, "kvd-tiny", tiny.METRICS["fvd-tiny"]),
    "ekid-tiny": partial(kernel_metric, "ekid-tiny", tiny.METRICS["efid-tiny"]),
}
