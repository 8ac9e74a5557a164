"""Which metric sees which damage, from which strength on, read off a finished run in which controls did the damage.

A damage is seen where the paired test on the same clips calls the damaged videos worse than `reencoded`: what every
published video has gone through is no damage. p is adjusted for all damages under one metric (Holm). From the records
of a run alone; `floatbench metrics tell` writes it as a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from floatbench.engine.check import DAMAGES, REACTS, canonical
from floatbench.errors import DataError
from floatbench.metrics.base import ClipFolds
from floatbench.reports.comparison import Competitor, Verdict, compare
from floatbench.reports.loading import RecordedRun
from floatbench.reports.table import ordered_metrics

BASE = "reencoded"
OWN = "reference"
Word = Literal["worse", "better", "blind", "open", "no score"]


@dataclass(frozen=True)
class Look:
    """What a metric says of one control.

    Attributes:
        value: its score. word: `worse` or `better` where the test decides, `blind` where the score moves by less than
            5 % of the metric's widest move, else `open`: it moves, and the clips do not decide.
        p: adjusted, None where nothing could be tested.
    """

    method: str
    value: float | None
    word: Word
    p: float | None = None


@dataclass(frozen=True)
class Ladder:
    """A metric's answer to one damage of rising strength; `looks` in the order of `strengths`."""

    damage: str
    unit: str
    strengths: tuple[float, ...]
    looks: tuple[Look, ...]

    def from_on(self, word: Word) -> float | None:
        """The least strength from which on every look is that word."""
        found = None
        for strength, look in zip(reversed(self.strengths), reversed(self.looks), strict=True):
            if look.word != word:
                break
            found = strength
        return found


@dataclass(frozen=True)
class Sight:
    """Everything that a run says of one metric; `won` is (clips, of clips) in which the own sound beats another's."""

    metric: str
    column: str
    higher: bool
    tiny: bool
    own: float | None
    base: float | None
    ladders: tuple[Ladder, ...]
    controls: tuple[Look, ...]
    won: dict[str, tuple[int, int]]


def sights(run: RecordedRun) -> list[Sight]:
    """The sight of every metric of a run; raises DataError where `reference` or `reencoded` was not run."""
    lacking = [name for name in (OWN, BASE) if name not in run.scores.methods]
    if lacking:
        raise DataError(
            f"{run.name} lacks {', '.join(lacking)}", fix="floatbench run --methods reference,reencoded,..."
        )
    return [_sight(run, variant) for variant in ordered_metrics(run.scores)]


def _sight(run: RecordedRun, variant: str) -> Sight:
    record = run.scores.metrics[variant]
    looks = _looks(run, variant)
    ladders, used = [], {OWN, BASE}
    for damage in DAMAGES:
        steps = [(s, canonical(name)) for s, name in zip(damage.strengths, damage.methods(), strict=True)]
        if damage.control == "shifted":
            steps.append((20.0, "shifted:20"))
        there = [(strength, looks[name]) for strength, name in steps if name in looks]
        if there:
            strengths, found = zip(*there, strict=True)
            ladders.append(Ladder(damage.name, damage.unit, strengths, found))
            used |= {look.method for look in found if look.method.partition(":")[1]}
    controls = tuple(look for name, look in looks.items() if name not in used)
    won = {name: _won(run, variant, name) for name in ("swapped", "shifted:20") if name in looks}
    own, base = (None if (cell := run.cell(name, variant)) is None else cell.value for name in (OWN, BASE))
    return Sight(
        variant, record.column, record.higher_is_better, record.tiny, own, base, tuple(ladders), controls,
        {name: counts for name, counts in won.items() if counts[1]},
    )  # fmt: skip


def _looks(run: RecordedRun, variant: str) -> dict[str, Look]:
    """Method -> what the metric says of it, all but the two that others are held to."""
    base = Competitor(BASE, BASE, run.scores, run)
    names = [name for name in run.scores.methods if name not in (OWN, BASE)]
    pairs = [(Competitor(name, name, run.scores, run), base) for name in names]
    verdicts = compare(pairs, [variant]).verdicts if pairs else ()
    values = {name: None if (cell := run.cell(name, variant)) is None else cell.value for name in run.scores.methods}
    clean = values[OWN]
    moves = {name: abs(value - clean) for name, value in values.items() if value is not None and clean is not None}
    widest = max(moves.values(), default=0.0)
    return {verdict.a: _look(verdict, values[verdict.a], moves.get(verdict.a), widest) for verdict in verdicts}


def _look(verdict: Verdict, value: float | None, move: float | None, widest: float) -> Look:
    word: Word = "open"
    if value is None or move is None:
        word = "no score"
    elif move < REACTS * widest or widest == 0:
        word = "blind"
    elif verdict.word == "worse":
        word = "worse"
    elif verdict.word == "better":
        word = "better"
    return Look(verdict.a, value, word, verdict.adjusted)


def _won(run: RecordedRun, variant: str, other: str) -> tuple[int, int]:
    """Clips in which the metric prefers the own sound to that of the control, of those that it measured with both."""
    own, moved = _clip_values(run, variant, OWN), _clip_values(run, variant, other)
    sign = 1.0 if run.scores.metrics[variant].higher_is_better else -1.0
    both = [clip for clip in own if clip in moved and own[clip] != moved[clip]]
    return sum(sign * own[clip] > sign * moved[clip] for clip in both), len(both)


def _clip_values(run: RecordedRun, variant: str, method: str) -> dict[str, float]:
    cell = run.cell(method, variant)
    folds = [] if cell is None else [fold for fold in cell.folds if isinstance(fold, ClipFolds)]
    return {clip: value for fold in folds[:1] for clip, _, value in fold.values}


def damages_of(found: Sequence[Sight]) -> list[Ladder]:
    """One ladder of each damage, for its name, unit and strengths."""
    return list({ladder.damage: ladder for sight in found for ladder in sight.ladders}.values())
