"""The base of the corpus metrics: a Frechet distance over the pooled feature rows of all clips.

A subclass (or an instance with its own `MetricInfo`) says which backbone it needs and which rows of its features count.
Everything else is here: rows that failed on one side are left out on both, both sides have equal N, whole identities
are grouped for the jackknife, features are streamed so that memory does not grow with the number of clips.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import paired, statistics
from floatbench.metrics.base import (
    ClipValue,
    DistanceFolds,
    Metric,
    MetricInfo,
    Pair,
    Score,
    Side,
    require_measured,
)
from floatbench.metrics.frechet import NotFiniteError, Pool, Sample, sample_distance, shared_pool
from floatbench.metrics.sample_size import BetweenPeople, n_curve, sample_size
from floatbench.types import Features

KEPT_BYTES = 2**27
"""Features up to this size are held in memory while their clips are grouped."""


@dataclass(frozen=True)
class PairRows:
    """The feature rows of one clip, both sides matched row by row.

    Attributes:
        generated, reference: (N, d) float, finite.
        index: (N,) which rows of the clip these are (frame or window numbers).
        whole: rows of the reference, usable or not: what the clip weighs when groups are made, for every system alike.
        dropped: rows that failed on either side; trimmed: rows that only the longer side had.
        lost_frames: reason -> count of frames that entered no row (for example the remainder of windows).
    """

    generated: np.ndarray
    reference: np.ndarray
    index: np.ndarray
    whole: int
    dropped: int = 0
    trimmed: int = 0
    lost_frames: Mapping[str, int] = field(default_factory=dict)

    def take(self, index: np.ndarray) -> PairRows:
        """Only the rows whose number is in `index`."""
        keep = np.isin(self.index, index)
        return PairRows(self.generated[keep], self.reference[keep], self.index[keep], self.whole)


@dataclass
class _Groups:
    """Samples per group and side, with the counts of what entered, the people of each group and their spread."""

    generated: dict[int, Sample]
    reference: dict[int, Sample]
    clips: int
    identities: set[str]
    dropped: int
    trimmed: int
    failures: dict[str, str]
    lost_frames: Counter[str] = field(default_factory=Counter)
    design: statistics.Design = field(default_factory=lambda: statistics.Design.of(()))
    group_of: dict[str, int] = field(default_factory=dict)
    units: dict[int, set[str]] = field(default_factory=dict)
    spread: dict[str, BetweenPeople] = field(default_factory=dict)
    rows: str = ""

    @property
    def by_people(self) -> bool:
        """True where people are the independent units, else their clips are."""
        return self.design.people >= statistics.MIN_IDENTITIES

    def unit_of(self, pair: Pair) -> str:
        """The person of a clip, or the clip where it is a unit of its own."""
        return pair.identity if self.by_people else pair.clip_id

    @cached_property
    def pools(self) -> tuple[Pool, Pool]:
        """Generated and reference side; the latter is shared with the other methods of a table."""
        return Pool(self.generated), shared_pool(self.reference)


class FrechetMetric(Metric):
    """A Frechet distance between the feature rows of generated and reference clips.

    Args:
        info: what the variant is; `info.backbones[0]` gives the features.
        key: name of the (T, d) feature array; a row with NaN is a frame that failed.
        biased: covariance over N instead of N - 1.
        failed: reason for a clip without any usable row.

    Example:
        >>> import floatbench
        >>> score = floatbench.measure("fid", generated_clips, reference_clips)  # lists of (T, H, W, 3) uint8 arrays
        >>> score.value, score.interval
    """

    def __init__(
        self, info: MetricInfo, key: str = "features", biased: bool = False, failed: str = "not_finite"
    ) -> None:
        self.info = info
        self.key = key
        self.biased = biased
        self.failed = failed
        self.device = "cpu"  # of the distance itself; the engine may set "cuda"

    def samples(self, features: Features, side: Side) -> np.ndarray:
        """(T, d) rows of one side; rows with NaN are failures. Override it to pick columns or windows."""
        return features[self.key]

    def lost_frames(self, features: Features) -> Mapping[str, int]:
        """Frames of the clip that entered no row, by reason."""
        return {}

    def rows(self, pair: Pair) -> PairRows:
        """Both sides of a clip, cut to the shorter one, without the rows that failed on either side."""
        backbone = self.info.backbones[0]
        generated_features, reference_features = pair.generated(backbone), pair.reference(backbone)
        generated = self.samples(generated_features, "generated")
        reference = self.samples(reference_features, "reference")
        length = min(len(generated), len(reference))
        good = np.isfinite(generated[:length]).all(1) & np.isfinite(reference[:length]).all(1)
        index = np.flatnonzero(good)
        if len(index) == 0:
            raise ClipError(self.failed, f"{self.info.id}: no usable row of {length}")
        require_measured(len(index), length)
        return PairRows(
            generated[index],
            reference[index],
            index,
            len(reference),
            dropped=length - len(index),
            trimmed=max(len(generated), len(reference)) - length,
            lost_frames=self.lost_frames(generated_features),
        )

    def clip_value(self, pair: Pair) -> ClipValue:
        """A corpus metric has no value per clip, only counts."""
        rows = self.rows(pair)
        extra = {
            "rows": float(len(rows.index)),
            "rows_dropped": float(rows.dropped),
            "rows_trimmed": float(rows.trimmed),
        }
        extra |= {f"frames_{reason}": float(count) for reason, count in rows.lost_frames.items()}
        return ClipValue(None, extra, {}, len(rows.index), len(rows.index) + rows.dropped)

    def distance(self, generated: Sample, reference: Sample) -> float:
        """The score of two pooled samples; a subclass may return another function of the two."""
        return sample_distance(generated, reference, self.biased)

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        """The distance over all clips, with group jackknife, n-curve and counts (floatbench.metrics.statistics)."""
        groups = self._collect(lambda: self.each(pairs))
        if not groups.generated:
            return Score(self.info.id, None, 0, groups.failures, None, "no clip could be measured")
        try:
            whole = self._union(groups, sorted(groups.generated))
        except NotFiniteError as error:  # features too large for float64: nothing can be said of any clip
            why = str(ClipError("not_finite", str(error)))
            return Score(self.info.id, None, 0, {pair.clip_id: why for pair in pairs} | groups.failures, None, why)
        if whole[0] < 2:
            return Score(self.info.id, None, groups.clips, groups.failures, None, "fewer than two rows")
        folds = self._folds(groups, whole)
        interval, reason = paired.score_interval([folds], 0)
        details = self._details(groups, whole)
        rows = int(whole[0])
        return Score(
            self.info.id, whole[1], groups.clips, groups.failures, interval, reason, details,
            rows, rows + groups.dropped, few_rows(rows, details["dimension"]), folds,
        )  # fmt: skip

    def fold_pair(self, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair]) -> tuple[DistanceFolds, DistanceFolds]:
        """The folds of two systems over the frames that both have of the same clips."""
        first, second = (
            self._collect(lambda swap=swap: self.matched(pairs_a, pairs_b, swap)) for swap in (False, True)
        )
        if not first.generated:
            raise UsageError(f"{self.info.id}: the two systems have no measurable clip in common")
        wholes = [self._union(groups, sorted(groups.generated)) for groups in (first, second)]
        if wholes[0][0] < 2:
            raise UsageError(f"{self.info.id}: the two systems have fewer than two rows in common")
        return self._folds(first, wholes[0]), self._folds(second, wholes[1])

    def each(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, PairRows | ClipError]]:
        """The rows of every clip, or why it has none, in clip-id order."""
        for pair in sorted(pairs, key=lambda p: p.clip_id):
            yield pair, _try(lambda pair=pair: self.rows(pair))

    def matched(
        self, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair], swap: bool
    ) -> Iterator[tuple[Pair, PairRows | ClipError]]:
        """The rows of the first (or, `swap`, second) system that both have; clips one by one, in the same order."""
        for a, b in zip(pairs_a, pairs_b, strict=True):
            rows_a, rows_b = _try(lambda a=a: self.rows(a)), _try(lambda b=b: self.rows(b))
            if isinstance(rows_a, ClipError) or isinstance(rows_b, ClipError):
                yield a, rows_a if isinstance(rows_a, ClipError) else rows_b
                continue
            common = np.intersect1d(rows_a.index, rows_b.index)
            if len(common) == 0:
                yield a, ClipError(self.failed, "the two systems have no usable row in common")
            else:
                yield a, (rows_b if swap else rows_a).take(common)

    def _collect(self, items: Callable[[], Iterator[tuple[Pair, PairRows | ClipError]]]) -> _Groups:
        """Samples by group.

        Groups of equal rows need the lengths of all clips first: what does not fit into `KEPT_BYTES` is read twice.
        """
        found = _Groups({}, {}, 0, set(), 0, 0, {})
        clips: dict[str, tuple[str, int]] = {}
        rows_hash, kept, size = hashlib.sha256(), list[tuple[Pair, PairRows]](), 0
        for pair, rows in items():
            if isinstance(rows, ClipError):
                found.failures[pair.clip_id] = str(rows)
                continue
            size += rows.generated.nbytes + rows.reference.nbytes
            kept.append((pair, rows))
            if size > KEPT_BYTES:
                kept.clear()
            clips[pair.clip_id] = (pair.identity, rows.whole)
            rows_hash.update(row_names(pair, rows))
            found.dropped += rows.dropped
            found.trimmed += rows.trimmed
            found.lost_frames.update(rows.lost_frames)
        found.clips, found.rows = len(clips), rows_hash.hexdigest()[:16]
        found.identities = {identity for identity, _ in clips.values()}
        found.design = statistics.Design.of([identity for identity, _ in clips.values()])
        found.group_of = statistics.clip_groups(clips) if clips else {}
        for pair, rows in kept if size <= KEPT_BYTES else items():
            if not isinstance(rows, ClipError):
                self._add(found, pair, rows)
        return found

    def _add(self, found: _Groups, pair: Pair, rows: PairRows) -> None:
        group, unit = found.group_of[pair.clip_id], found.unit_of(pair)
        found.units.setdefault(group, set()).add(unit)
        for name, side, values in (
            ("generated", found.generated, rows.generated),
            ("reference", found.reference, rows.reference),
        ):
            side.setdefault(group, Sample(values.shape[1], self.device)).add(values)
            found.spread.setdefault(name, BetweenPeople()).add(unit, values)

    def _union(self, groups: _Groups, numbers: Sequence[int]) -> tuple[float, float]:
        """(rows per side, score) of some groups."""
        generated, reference = (pool.union(numbers) for pool in groups.pools)
        return float(generated.n), self.distance(generated, reference) if generated.n > 1 else float("nan")

    def _folds(self, groups: _Groups, whole: tuple[float, float]) -> DistanceFolds:
        """The distances with one group left out each; none where no honest interval could be made of them."""
        numbers, why = sorted(groups.generated), groups.design.why
        left_out: list[float] = []
        if not why:
            left_out = [self._union(groups, [g for g in numbers if g != out])[1] for out in numbers]
        return DistanceFolds(
            value=whole[1],
            left_out=tuple(left_out),
            sizes=tuple(groups.generated[g].n for g in numbers),
            rows=groups.rows,
            groups=groups_hash(groups.group_of),
            clips=groups.clips,
            people=len(groups.identities),
            unit=groups.design.unit,
            why=why,
        )

    def _details(self, groups: _Groups, whole: tuple[float, float]) -> dict[str, Any]:
        numbers = sorted(groups.generated)
        dimension = groups.generated[numbers[0]].dimension
        size = sample_size(groups.spread)
        return {
            "n_generated": int(whole[0]),
            "n_reference": int(whole[0]),
            "dimension": dimension,
            "rows_dropped": groups.dropped,
            "rows_trimmed": groups.trimmed,
            **{f"frames_{reason}": count for reason, count in sorted(groups.lost_frames.items())},
            "identities": len(groups.identities),
            "groups": len(numbers),
            **size,
            "n_curve": self._curve(groups, whole[1], size["effective_n"] or 0.0, dimension),
        }

    def _curve(self, groups: _Groups, score: float, effective: float, dimension: int) -> dict[str, Any] | None:
        numbers = sorted(groups.generated)

        def union(taken: Sequence[int]) -> tuple[float, float]:
            chosen = [numbers[i] for i in taken]
            return float(sum(len(groups.units[g]) for g in chosen)), self._union(groups, chosen)[1]

        whole = (float(sum(len(units) for units in groups.units.values())), score)
        curve = n_curve(len(numbers), union, whole, "people" if groups.by_people else "clips")
        return curve.honest(effective, dimension).to_dict() if curve else None


def row_names(pair: Pair, rows: PairRows) -> bytes:
    """Which rows of a clip entered: what `DistanceFolds.rows` is the hash of, clip after clip."""
    clip = f"{pair.clip_id}\n{pair.identity}\n".encode("utf-8", "surrogateescape")
    return clip + np.asarray(rows.index, np.int64).tobytes()


def groups_hash(group_of: Mapping[str, int]) -> str:
    """`DistanceFolds.groups` from clip -> group."""
    names = "\n".join(f"{clip}\t{group}" for clip, group in sorted(group_of.items()))
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def few_rows(rows: int, dimension: int) -> tuple[str, ...]:
    """The mark of a distance over too few rows: up to d rows a side, the covariance of d numbers has no full rank."""
    if rows > dimension:
        return ()
    return (f"few rows: {rows} rows of {dimension} numbers, more than {dimension} are needed; mostly bias",)


def _try(load: Callable[[], PairRows]) -> PairRows | ClipError:
    try:
        return load()
    except ClipError as error:
        return error
