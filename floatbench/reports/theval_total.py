"""THEval's total as far as it can be computed here: one number from the measures of the set `theval`.

1 - abs(system - truth) / abs(truth) of each measure, their unweighted mean; unbounded below (arXiv 2511.04520). The
truth is the real videos' own mean in the same run, as THEval asks for other data than its own. Five of its eight
measures are computed, head motion by MediaPipe: such a total stands in no column with those of its board.
"""

from __future__ import annotations

import numpy as np

from floatbench.engine.records import ScoreRow
from floatbench.metrics import sets
from floatbench.metrics.base import ClipFolds
from floatbench.metrics.paired import ALPHA
from floatbench.metrics.statistics import MIN_IDENTITIES, content_seed
from floatbench.reports.loading import RecordedRun
from floatbench.reports.table_parts import TableNumber

MEASURES = sets.SETS["theval"]
TITLE = f"THEval total ({len(MEASURES)} of 8)"
TRUTH = "reference"
DRAWS = 2000
NOTE = (
    f"{TITLE}: mean over {', '.join(MEASURES)} of 1 - |system - truth| / |truth|, truth: `{TRUTH}` of the same run; "
    "interval: percentiles of draws of people, with the truth of the same people; left out: aesthetics, mouth and face "
    "quality, whose networks may not be used commercially; the published board has eight measures on other videos"
)

Side = dict[str, list[float]]
"""Person -> the values of the person's clips."""


def theval_total(run: RecordedRun, method: str) -> TableNumber:
    """The total of a method; without a value and with the reason where a measure or the reference has none."""
    cells = [(run.cell(method, measure), run.cell(TRUTH, measure)) for measure in MEASURES]
    for measure, pair in zip(MEASURES, cells, strict=True):
        if any(cell is None or cell.void or cell.value is None for cell in pair):
            return TableNumber(None, why=f"no {measure}")
    sides = [(_by_person(own), _by_person(real)) for own, real in cells]
    people = sorted({person for pair in sides for side in pair for person in side})
    value = float(np.mean([_closeness(*pair, np.ones((1, len(people))), people)[0] for pair in sides]))
    clips = min(cell.n for pair in cells for cell in pair if cell)
    low, high = _interval(sides, people)
    return TableNumber(value, low, high, n=clips, of=run.scores.n_available)


def _by_person(cell: ScoreRow | None) -> Side:
    found: Side = {}
    for fold in cell.folds if cell else ():
        if isinstance(fold, ClipFolds):
            for _, person, value in fold.values:
                found.setdefault(person, []).append(value)
    return found


def _closeness(own: Side, real: Side, drawn: np.ndarray, people: list[str]) -> np.ndarray:
    """(B,) closeness of the means of both sides, for (B, P) how often each person was drawn."""
    means = []
    for side in (own, real):
        sums = np.array([sum(side.get(person, ())) for person in people])
        counts = np.array([len(side.get(person, ())) for person in people])
        with np.errstate(invalid="ignore", divide="ignore"):
            means.append(drawn @ sums / (drawn @ counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1 - np.abs(means[0] - means[1]) / np.abs(means[1])


def _interval(sides: list[tuple[Side, Side]], people: list[str]) -> tuple[float | None, float | None]:
    """Percentile interval over draws of people; none for fewer than eight people in any measure."""
    if min(len(side) for pair in sides for side in pair) < MIN_IDENTITIES:
        return None, None
    rng = np.random.default_rng(content_seed(TITLE))
    drawn = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), DRAWS).astype(float)
    totals = np.mean([_closeness(*pair, drawn, people) for pair in sides], axis=0)
    low, high = np.nanquantile(totals, (ALPHA / 2, 1 - ALPHA / 2))
    return float(low), float(high)
