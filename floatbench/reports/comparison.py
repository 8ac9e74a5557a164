"""Which system is better, by the paired test on the clips that both have: the one place where it is decided.

`floatbench compare`, the bold and underlined numbers of the tables, the places of the leaderboard and those of the page
all come from `compare` here. It works on what the scores kept of their parts; where two systems were measured on
different frames, or an older run kept nothing, it goes back to the features of the run folders.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from floatbench.engine.features import FeatureStore
from floatbench.engine.judges import is_self_judged
from floatbench.engine.records import MetricRecord, Row, ScoreFile, ScoreRow
from floatbench.engine.reduction import pair_of
from floatbench.engine.scoring import dependent
from floatbench.errors import FloatbenchError, UsageError
from floatbench.metrics import paired, registry
from floatbench.metrics.base import Folds
from floatbench.metrics.paired import ALPHA, PairedDifference
from floatbench.metrics.statistics import content_seed
from floatbench.reports.loading import RecordedRun
from floatbench.reports.table import ordered_metrics

Word = Literal["better", "worse", "not decided"]
Mark = Literal["", "best", "second"]


@dataclass(frozen=True)
class Competitor:
    """One system with its scores; `run` is the folder that holds its features, None where only the scores are known."""

    label: str
    method: str
    scores: ScoreFile
    run: RecordedRun | None = None

    def cell(self, variant: str) -> ScoreRow | None:
        """Its score under one metric."""
        return self._cells.get(variant)

    @cached_property
    def _cells(self) -> dict[str, ScoreRow]:
        return {cell.metric: cell for cell in self.scores.scores if cell.method == self.method}


@dataclass(frozen=True)
class Verdict:
    """One comparison: `a` against `b` under one metric.

    Attributes:
        value_a, value_b, difference: on the clips that both have; difference = a - b.
        low, high, level, method: the interval of the difference, None where there is none.
        p, adjusted: two-sided, alone and for the number of comparisons that were made with it (Holm).
        word: what holds of `a`; `why`: why nothing could be tested.
    """

    metric: str
    column: str
    higher_is_better: bool
    a: str
    b: str
    word: Word = "not decided"
    value_a: float | None = None
    value_b: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    method: str = ""
    p: float | None = None
    adjusted: float | None = None
    clips: int = 0
    people: int = 0
    why: str = ""
    self_judged: tuple[str, ...] = ()  # which of the two the metric's own network taught


@dataclass(frozen=True)
class Place:
    """1 + the number of systems that are decidedly better; `tied` where another one is neither better nor worse.

    `rank` is None where no test could be made with any other system, while some could be made between others; `mark` is
    that of the tables.
    """

    rank: int | None
    tied: bool = False
    mark: Mark = ""


@dataclass(frozen=True)
class Comparisons:
    """All verdicts of one call, adjusted for each other; `count` of them could be tested."""

    verdicts: tuple[Verdict, ...]
    count: int

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return {"comparisons": self.count, "alpha": ALPHA, "verdicts": [asdict(verdict) for verdict in self.verdicts]}

    def places(self, variant: str, labels: Iterable[str]) -> dict[str, Place]:
        """The places of some systems under one metric.

        Bold (`best`) is who is beaten by nobody where at least one is beaten; `second` has the next place after that.
        """
        names = list(labels)
        mine = [v for v in self.verdicts if v.metric == variant and v.a in names and v.b in names]
        mine = [v for v in mine if v.p is not None] or mine  # without any test all share one place
        tested = {name for v in mine for name in (v.a, v.b)} or set(names)
        beaten = Counter(v.b if v.word == "better" else v.a for v in mine if v.word != "not decided")
        undecided = {name for v in mine if v.word == "not decided" for name in (v.a, v.b)}
        ranks = {name: 1 + beaten[name] for name in names if name in tested}
        order = sorted(set(ranks.values())) if beaten else []
        marks: dict[int, Mark] = dict(zip(order, ("best", "second"), strict=False))
        return {
            name: Place(ranks[name], name in undecided, marks.get(ranks[name], "")) if name in ranks else Place(None)
            for name in names
        }


def counted(comparisons: int) -> str:
    """`1 comparison`, `6 comparisons`."""
    return f"{comparisons} comparison{'' if comparisons == 1 else 's'}"


def competitors(runs: Sequence[RecordedRun], names: Sequence[str] = ()) -> list[Competitor]:
    """The systems of several runs; one whose name is in two of them is called RUN/NAME.

    Args:
        names: which of them, controls too; by default all that are no control.

    Raises:
        UsageError: runs of different protocols, or an unknown name.
    """
    if not runs:
        raise UsageError("no run was given", fix="floatbench compare RUN... [A B]")
    for run in runs[1:]:
        if run.info.protocol_hash != runs[0].info.protocol_hash:
            raise UsageError(
                f"{runs[0].folder} and {run.folder} cannot be compared: protocol {runs[0].scores.label} against "
                f"{run.scores.label}",
                fix="run both with one protocol",
            )
    owners = Counter(method for run in runs for method in run.scores.methods)
    runs_of_one_name = Counter(run.name for run in runs)
    found: dict[str, Competitor] = {}
    for run in runs:
        place = str(run.folder) if runs_of_one_name[run.name] > 1 else run.name
        for method in run.scores.methods:
            label = method if owners[method] == 1 else f"{place}/{method}"
            found[label] = Competitor(label, method, run.scores, run)
    unknown = [name for name in names if name not in found]
    if unknown:
        known = ", ".join(found)
        raise UsageError(f"{unknown[0]} is neither a run folder nor a system of these runs", fix=f"one of {known}")
    chosen = names or [label for label, one in found.items() if not one.scores.is_control(one.method)]
    return [found[label] for label in dict.fromkeys(chosen)]


def compare_runs(runs: Sequence[RecordedRun], names: Sequence[str] = (), variants: Sequence[str] = ()) -> Comparisons:
    """Compares the systems of finished runs of one protocol, pair by pair, under every metric.

    Args:
        names: two or more systems: each with each; one: it with all others; none: all with all.
        variants: metric ids; by default all that any of the runs has.

    Raises:
        UsageError: unknown systems or metrics, one system only, or runs of different protocols.
    """
    everybody = competitors(runs, names if len(set(names)) > 1 else ())
    if len(set(names)) == 1:
        (first,) = competitors(runs, names)
        pairs = [(first, other) for other in everybody if other.label != first.label]
    else:
        pairs = list(itertools.combinations(everybody, 2))
    if not pairs:
        known = ", ".join(one.label for one in everybody) or "none"
        raise UsageError(f"a comparison needs two systems, there is {known}", fix="name another run that holds one")
    every = list(dict.fromkeys(variant for run in runs for variant in ordered_metrics(run.scores)))
    unknown = [variant for variant in variants if variant not in every]
    if unknown:
        raise UsageError(f"no run was scored with {unknown[0]}", fix=f"--metrics {','.join(every)}")
    return compare(pairs, variants or every)


def judge(runs: Sequence[RecordedRun], names: Sequence[str] | None = None) -> Comparisons:
    """Systems of some runs (all, or some by name) with each other under every metric, for tables and the page."""
    everybody = competitors(runs, names or ()) if names is None or names else []
    variants = list(dict.fromkeys(variant for run in runs for variant in run.scores.metrics))
    return compare(list(itertools.combinations(everybody, 2)), variants)


def compare(pairs: Sequence[tuple[Competitor, Competitor]], variants: Sequence[str]) -> Comparisons:
    """Every pair under every metric, with p adjusted for all of them together."""
    verdicts = [_verdict(a, b, variant) for variant in variants for a, b in pairs]
    adjusted = paired.holm([verdict.p for verdict in verdicts])
    decided = [_decided(verdict, p) for verdict, p in zip(verdicts, adjusted, strict=True)]
    return Comparisons(tuple(decided), sum(p is not None for p in adjusted))


def _decided(verdict: Verdict, adjusted: float | None) -> Verdict:
    word: Word = "not decided"
    if adjusted is not None and adjusted < ALPHA and verdict.difference:
        word = "better" if (verdict.difference > 0) == verdict.higher_is_better else "worse"
    return replace(verdict, adjusted=adjusted, word=word)


def _verdict(a: Competitor, b: Competitor, variant: str) -> Verdict:
    record = a.scores.metrics.get(variant) or b.scores.metrics.get(variant)
    higher, column = (record.higher_is_better, record.column) if record else (False, "")
    taught = tuple(one.label for one in (a, b) if (cell := one.cell(variant)) and is_self_judged(cell.marks))
    blank = Verdict(variant, column, higher, a.label, b.label, self_judged=taught)
    why = _refusal(a, b, variant)
    if why:
        return replace(blank, why=why)
    try:
        found = _difference(a, b, variant)
    except FloatbenchError as error:
        return replace(blank, why=error.what)
    if not all(math.isfinite(value) for value in (found.a, found.b)):
        return replace(blank, why=found.why or "a score is not finite")
    interval = found.interval
    return replace(
        blank, value_a=found.a, value_b=found.b, difference=found.difference, clips=found.clips, people=found.people,
        low=interval.low if interval else None, high=interval.high if interval else None,
        level=interval.level if interval else None, method=interval.method if interval else "",
        p=found.p, why=found.why,
    )  # fmt: skip


def _refusal(a: Competitor, b: Competitor, variant: str) -> str:
    """Why two scores may not be compared at all; empty when they may."""
    for one in (a, b):
        cell = one.cell(variant)
        if cell is None:
            return f"{one.label} was not scored with {variant}"
        if cell.void:
            return f"{one.label}: void, {cell.n} of {cell.n_available} clips are below the coverage floor"
        if cell.value is None:
            return f"{one.label} has no value"
    if _made(a.scores.metrics[variant]) != _made(b.scores.metrics[variant]):
        return f"{a.label} and {b.label} were scored with other weights, settings, code, libraries or device"
    return ""


def _made(record: MetricRecord) -> tuple[Any, ...]:
    return record.backbones, record.weights, record.settings


def _difference(a: Competitor, b: Competitor, variant: str) -> PairedDifference:
    """From the folds where they were made of the same rows, else from the features."""
    seed = content_seed(variant)
    unlike = _unlike_references(a, b)
    kept = [(cell.folds, cell.common_folds) for one in (a, b) if (cell := one.cell(variant)) is not None]
    for mine, theirs in itertools.product(*kept):
        if not unlike and paired.comparable(mine, theirs):
            return paired.difference(mine, theirs, seed)
    if a.run is None or b.run is None:
        return _unknown("the entries kept no parts of their scores, or were measured on other frames")
    return paired.difference(*_from_features(a, b, variant, unlike), seed)


def _unknown(why: str) -> PairedDifference:
    return PairedDifference(math.nan, math.nan, 0, 0, None, None, why)


def _rows(one: Competitor, replicate: int) -> dict[str, Row]:
    """Clip -> row of one replicate, of the clips that were generated."""
    rows = one.run.rows.values() if one.run else ()
    return {row.clip: row for row in rows if (row.method, row.replicate, row.status) == (one.method, replicate, "ok")}


def _unlike_references(a: Competitor, b: Competitor) -> set[str]:
    """Clips whose real video was decoded differently in the two runs; they are not the same clips."""
    if a.run is None or b.run is None or a.run is b.run:
        return set()
    first, second = _rows(a, 0), _rows(b, 0)
    return {
        clip for clip in first.keys() & second.keys()
        if first[clip].reference_pixels_sha256 != second[clip].reference_pixels_sha256
    }  # fmt: skip


def _from_features(a: Competitor, b: Competitor, variant: str, unlike: set[str]) -> tuple[list[Folds], list[Folds]]:
    """The folds of both on what they have in common, for each replicate that both have."""
    assert a.run is not None and b.run is not None
    metric = registry.metric(variant, **a.run.info.protocol.settings.get(variant, {}))
    stores = [FeatureStore(run.folder, None) for run in (a.run, b.run)]
    found: tuple[list[Folds], list[Folds]] = ([], [])
    for replicate in range(min(a.scores.replicates, b.scores.replicates)):
        rows = [_rows(one, replicate) for one in (a, b)]
        clips = sorted((rows[0].keys() & rows[1].keys()) - unlike)
        if not clips:
            raise UsageError(f"{a.label} and {b.label} have no clip in common")
        sides = [[own[clip] for clip in clips] for own in rows]
        why = next((why for side in sides if (why := dependent(side))), "")
        pairs = [[pair_of(row, store) for row in side] for side, store in zip(sides, stores, strict=True)]
        try:
            folds = metric.fold_pair(*pairs)
        except KeyError as error:
            raise UsageError(f"the features of {error} are not in the run folders") from None
        for kept, fold in zip(found, folds, strict=True):
            kept.append(replace(fold, why=why or fold.why))
    return found
