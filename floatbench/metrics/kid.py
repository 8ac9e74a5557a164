"""KID, KVD and E-KID: the squared kernel distance of the features that FID, FVD and E-FID read.

    MMD^2 = mean of k(x_i, x_j) over i != j + mean of k(y_i, y_j) over i != j - 2 mean of k(x_i, y_j)

with k(x, y) = (x . y / d + 1)^3. The estimate over all rows is made block by block, not the mean over drawn subsets.
Independent rows make it unbiased at every n, where a Frechet distance grows with 1/n; it may therefore be below zero,
and is so, by about 2/n, for a set against itself. Errors are made by leaving out people, on the plain scale: a root of
what may be negative does not exist.
Source: Binkowski et al. 2018 (KID), Unterthiner et al. 2018 (KVD).
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import efid, paired, statistics, tiny
from floatbench.metrics.base import ClipValue, DistanceFolds, Metric, MetricInfo, Pair, Score
from floatbench.metrics.corpus import FrechetMetric, PairRows, groups_hash, row_names
from floatbench.metrics.fid import FID
from floatbench.metrics.fvd import FVD
from floatbench.metrics.kernels import CUBIC, Kernel


@dataclass
class GroupedKernel:
    """Sums of kernel values between groups of rows, from which the distance of any union of groups follows.

    Attributes:
        counts: rows of each group; xx, yy, xy: (G, G) sums over pairs of groups; own_x, own_y: sums of k(x, x).
        kernel: whose values were summed.
    """

    counts: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    own_x: np.ndarray
    own_y: np.ndarray
    kernel: Kernel

    @classmethod
    def of(cls, x: Sequence[np.ndarray], y: Sequence[np.ndarray], kernel: Kernel = CUBIC) -> GroupedKernel:
        """From the rows of each group, generated and reference, equally many."""
        xy = np.array([[kernel.total(mine, other) for other in y] for mine in x])
        xx, own_x = _within(x, kernel)
        yy, own_y = _reference_within(y, kernel)
        return cls(np.array([len(rows) for rows in x]), xx, yy, xy, own_x, own_y, kernel)

    def distance(self, groups: Sequence[int] | None = None) -> float:
        """The kernel's estimate over some groups, by default all; NaN with fewer than two rows."""
        chosen = np.arange(len(self.counts)) if groups is None else np.asarray(groups)
        n, both = int(self.counts[chosen].sum()), np.ix_(chosen, chosen)
        if n < 2:
            return float("nan")
        own = float(self.own_x[chosen].sum() + self.own_y[chosen].sum())
        within = float(self.xx[both].sum() + self.yy[both].sum())
        return self.kernel.estimate(within, own, float(self.xy[both].sum()), n)


def _within(x: Sequence[np.ndarray], kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """(G, G) sums between the groups of one side, and (G,) those of k(x, x)."""
    sums = np.zeros((len(x), len(x)))
    for i, j in itertools.combinations_with_replacement(range(len(x)), 2):
        sums[i, j] = sums[j, i] = kernel.total(x[i], x[j])
    return sums, np.array([kernel.diagonal(rows) for rows in x])


_last_reference: dict[str, tuple[np.ndarray, np.ndarray]] = {}


def _reference_within(y: Sequence[np.ndarray], kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    """`_within` of the reference side, kept for the other systems of a table; only of the last one."""
    digest = hashlib.sha256(repr((kernel.name, [rows.shape for rows in y])).encode())
    for rows in y:
        digest.update(np.ascontiguousarray(rows).data)
    key = digest.hexdigest()
    if key not in _last_reference:
        found = _within(y, kernel)
        _last_reference.clear()
        _last_reference[key] = found
    return _last_reference[key]


def forget_reference() -> None:
    """Drops what is kept of the last reference."""
    _last_reference.clear()


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased estimate of MMD^2 between two feature sets of equal size (N, d)."""
    return GroupedKernel.of([np.asarray(x, np.float64)], [np.asarray(y, np.float64)]).distance()


@dataclass
class _Rows:
    """The rows of every group and side, with the counts of what entered."""

    generated: dict[int, list[np.ndarray]] = field(default_factory=dict)
    reference: dict[int, list[np.ndarray]] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    group_of: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    names: str = ""

    def sums(self, kernel: Kernel) -> GroupedKernel:
        """Kernel sums between the groups, in the order of their numbers."""
        numbers = sorted(self.generated)
        generated, reference = ([np.concatenate(side[g]) for g in numbers] for side in (self.generated, self.reference))
        return GroupedKernel.of(generated, reference, kernel)


class KernelMetric(Metric):
    """The kernel distance over the same rows as a Frechet metric.

    Args:
        info: what the variant is.
        rows_of: the metric whose rows count.
        kernel: and how its estimate is made.
    """

    def __init__(self, info: MetricInfo, rows_of: FrechetMetric, kernel: Kernel = CUBIC) -> None:
        self.info = info
        self.rows_of = rows_of
        self.kernel = kernel

    def clip_value(self, pair: Pair) -> ClipValue:
        return self.rows_of.clip_value(pair)

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        """The distance over all clips; the interval is a group jackknife on the plain scale, which may be negative."""
        found = self._collect(self.rows_of.each(pairs))
        clips = len(found.people)
        if not clips:
            return Score(self.info.id, None, 0, found.failures, None, "no clip could be measured")
        folds = _folds(found, self.kernel)
        n = sum(folds.sizes)
        if n < 2:
            return Score(self.info.id, None, clips, found.failures, None, "fewer than two rows")
        interval, why = paired.score_interval([folds], 0)
        details = {"n_generated": n, "n_reference": n, "rows_dropped": found.dropped, "groups": len(folds.sizes),
                   "identities": folds.people}  # fmt: skip
        return Score(
            self.info.id, folds.value, clips, found.failures, interval, why, details, n, n + found.dropped, folds=folds
        )

    def fold_pair(self, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair]) -> tuple[DistanceFolds, DistanceFolds]:
        """The folds of two systems over the frames that both have of the same clips."""
        first, second = (self._collect(self.rows_of.matched(pairs_a, pairs_b, swap)) for swap in (False, True))
        if not first.people:
            raise UsageError(f"{self.info.id}: the two systems have no measurable clip in common")
        folds = _folds(first, self.kernel), _folds(second, self.kernel)
        if sum(folds[0].sizes) < 2:
            raise UsageError(f"{self.info.id}: the two systems have fewer than two rows in common")
        return folds

    def _collect(self, items: Iterable[tuple[Pair, PairRows | ClipError]]) -> _Rows:
        found, rows, names = _Rows(), dict[str, PairRows](), hashlib.sha256()
        for pair, own in items:
            if isinstance(own, ClipError):
                found.failures[pair.clip_id] = str(own)
                continue
            rows[pair.clip_id], found.people[pair.clip_id] = own, pair.identity
            names.update(row_names(pair, own))
        if rows:
            found.group_of = statistics.clip_groups({clip: (found.people[clip], rows[clip].whole) for clip in rows})
        for clip, own in rows.items():
            for side, values in ((found.generated, own.generated), (found.reference, own.reference)):
                side.setdefault(found.group_of[clip], []).append(np.asarray(values, np.float64))
            found.dropped += own.dropped
        found.names = names.hexdigest()[:16]
        return found


def _folds(found: _Rows, kernel: Kernel) -> DistanceFolds:
    """The estimate, and those with one group left out each; none where no honest interval could be made of them."""
    sums, design = found.sums(kernel), statistics.Design.of(list(found.people.values()))
    groups = range(len(sums.counts))
    left_out = [] if design.why else [sums.distance([k for k in groups if k != out]) for out in groups]
    return DistanceFolds(
        value=sums.distance(),
        left_out=tuple(left_out),
        sizes=tuple(sums.counts.tolist()),
        rows=found.names,
        groups=groups_hash(found.group_of),
        clips=len(found.people),
        people=design.people,
        unit=design.unit,
        why=design.why,
        scale="plain" if kernel.unbiased else "root",
    )


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
        formula=CUBIC.formula,
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
