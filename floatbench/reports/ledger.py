"""The ledger: each cell of the paper's tables beside ours, with a verdict, and the readings that were taken.

The paper's clips and several settings were never published, so no verdict says more than how near two numbers lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from floatbench.engine.features import FeatureStore
from floatbench.engine.merge import plan_of
from floatbench.engine.records import ScoreRow
from floatbench.engine.scoring import score_method
from floatbench.errors import UsageError
from floatbench.metrics import registry
from floatbench.reports.loading import RecordedRun
from floatbench.reports.published import PublishedCell, readings, table_cells
from floatbench.reports.table import counts, number

Verdict = Literal["within", "near", "apart", "undefined by the paper", "not run"]
WITHIN, NEAR = 0.05, 0.15  # relative distance to the paper's value


@dataclass(frozen=True)
class Swept:
    """The score under one other reading; `value` is None when it could not be made, `why` says why."""

    reading: str
    value: float | None
    why: str = ""
    nearest: bool = False


@dataclass(frozen=True)
class LedgerEntry:
    """One cell: the paper's number, ours, the verdict, the reading and what is open about it."""

    table: int
    row: str
    dataset: str
    column: str
    paper: float | None
    second_hand: bool
    method: str
    reading: str
    value: float | None
    interval: tuple[float, float] | None
    verdict: Verdict
    note: str
    open_question: str
    sweep: tuple[Swept, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON types."""
        return asdict(self)


def ledger(run: RecordedRun, names: dict[str, str] | None = None, sweep: bool = False) -> list[LedgerEntry]:
    """Every cell of Tables 1 to 3 on the run's data set (all data sets' cells when it is neither HDTF nor RAVDESS).

    Args:
        names: `table1:hallo` -> our method that stands for the paper's row, beside those agreed in `results/paper`.
        sweep: also score the cell's method under the column's other readings, from the features in the run.

    Raises:
        UsageError: `names` has a row that the paper or a method that the run does not have.
    """
    given = names or {}
    cells = [cell for table in (1, 2, 3) for cell in table_cells(table)]
    known = {f"table{cell.table}:{cell.row}" for cell in cells}
    for row, method in given.items():
        if row not in known:
            raise UsageError(f"the paper has no row {row}", fix=f"one of {', '.join(sorted(known))}")
        if method not in run.systems:
            raise UsageError(f"{run.folder} has no method {method}", fix=f"one of {', '.join(run.systems) or 'none'}")
    mine = [cell for cell in cells if cell.dataset == run.dataset] or cells
    sweeper = _Sweeper(run) if sweep else None
    return [_entry(run, cell, given, sweeper) for cell in mine]


def verdict_of(paper: float, value: float, interval: tuple[float, float] | None) -> Verdict:
    """within: the paper's value is in our interval or within 5 % of itself from ours; near: 15 %; else apart."""
    distance = abs(value - paper) / abs(paper) if paper else abs(value)
    if distance <= WITHIN or (interval is not None and interval[0] <= paper <= interval[1]):
        return "within"
    return "near" if distance <= NEAR else "apart"


def _entry(run: RecordedRun, cell: PublishedCell, given: dict[str, str], sweeper: _Sweeper | None) -> LedgerEntry:
    method = given.get(f"table{cell.table}:{cell.row}") or next((m for m in cell.methods if m in run.systems), "")
    variant, value, interval, note = _ours(run, cell, method)
    question = readings()[cell.column].open_question if cell.column in readings() else ""
    if cell.value is None:
        verdict: Verdict = "undefined by the paper"
    elif value is None:
        verdict = "not run"
    else:
        verdict = verdict_of(cell.value, value, interval)
    swept: tuple[Swept, ...] = ()
    if sweeper and method and cell.value is not None and cell.column in readings():
        swept = sweeper.sweep(method, cell, note)
    return LedgerEntry(
        cell.table, cell.name, cell.dataset, cell.column, cell.value, cell.status == "second-hand", method,
        variant, value, interval, verdict, note, question, swept,
    )  # fmt: skip


def _ours(run: RecordedRun, cell: PublishedCell, method: str) -> tuple[str, float | None, Any, str]:
    """Variant, value, interval and a note; no value with the reason when the two may not stand side by side."""
    if run.dataset != cell.dataset:
        return "", None, None, f"the run is on {run.dataset}"
    if not method:
        return "", None, None, "no method of the run stands for this row"
    if cell.column == "NFE":
        counts = set(run.evaluations(method))
        same = counts.pop() if len(counts) == 1 else None
        why = "" if same is not None else "the method counts no equal number of evaluations a window"
        return "a window", same, None, why
    listed = [v for v in (*run.info.protocol.metrics, *run.scores.metrics) if v in run.scores.metrics]
    variant = next((v for v in listed if run.scores.metrics[v].column == cell.column), "")
    if not variant:
        return "", None, None, "no metric of the run fills this column"
    score = run.cell(method, variant)
    why = _unfit(run, variant, score)
    if why or score is None:
        return variant, None, None, why
    found = score.interval
    note = "" if run.scores.ranked else f"not ranked: {'; '.join(run.scores.unranked_because)}"
    return variant, score.value, (found["low"], found["high"]) if found else None, note


def _unfit(run: RecordedRun, variant: str, score: ScoreRow | None) -> str:
    record = run.scores.metrics[variant]
    if score is None or score.value is None:
        return "no score"
    if score.void:
        return f"void, {counts(score)}"
    if record.tiny:
        return "made with the small bundled networks, never beside published numbers"
    unscorable = [why for why in run.scores.unranked_because if why.startswith("unscorable")]
    return unscorable[0] if unscorable else ""


class _Sweeper:
    """Scores methods under other readings from the features of the run; each reading once."""

    def __init__(self, run: RecordedRun) -> None:
        self._run = run
        self._store = FeatureStore(run.folder, None)
        self._known: dict[tuple[str, str], list[Swept]] = {}

    def sweep(self, method: str, cell: PublishedCell, note: str) -> tuple[Swept, ...]:
        """All readings of the cell's column, the one that lands nearest to the paper marked."""
        if self._run.dataset != cell.dataset or note.startswith("unscorable"):
            return ()
        found = [entry for variant in readings()[cell.column].variants for entry in self._reading(method, variant)]
        scored = [entry for entry in found if entry.value is not None]
        paper = cell.value or 0.0
        best = min(scored, key=lambda entry: abs((entry.value or 0.0) - paper), default=None)
        return tuple(Swept(e.reading, e.value, e.why, e is best) for e in found)

    def _reading(self, method: str, variant: str) -> list[Swept]:
        key = (method, variant)
        if key not in self._known:
            self._known[key] = self._score(method, variant)
        return self._known[key]

    def _score(self, method: str, variant: str) -> list[Swept]:
        run = self._run
        metric = registry.metric(variant, **run.info.protocol.settings.get(variant, {}))
        rows = [row for row in run.rows.values() if row.method == method and row.status == "ok"]
        for row in rows:
            for side in metric.info.sides:
                for backbone in metric.info.backbones:
                    key = row.features.get(side, {}).get(backbone)
                    if key is None or not self._store.has(key):
                        return [Swept(variant, None, f"its features are not in the run: add --metrics {variant}")]
        plan = replace(plan_of(run.info), metrics={variant: metric})
        score = score_method(plan, run.rows, self._store, method, variant, set())
        if score.value is None or score.void:
            return [Swept(variant, None, f"void, {counts(score)}")]
        parts = {name: score.details.get(name) for name in ("rotation_only", "translation_only")}
        return [
            Swept(variant, score.value),
            *(Swept(f"{variant} {name}", float(v)) for name, v in parts.items() if isinstance(v, (int, float))),
        ]


def markdown(run: RecordedRun, entries: Sequence[LedgerEntry]) -> str:
    """The ledger as Markdown: counts, one line per cell, then what the paper leaves open."""
    counts = {
        name: sum(entry.verdict == name for entry in entries) for name in dict.fromkeys(e.verdict for e in entries)
    }
    lines = [f"## {run.name}: {run.scores.label} beside the paper", ""]
    lines += [", ".join(f"{count} {name}" for name, count in counts.items()), ""]
    lines += ["| table | row | data | column | paper | ours | reading | verdict | note |", "|" + "---|" * 9]
    lines += [_line(entry) for entry in entries]
    for entry in entries:
        if entry.sweep:
            shown = "; ".join(_swept(found) for found in entry.sweep)
            lines.append(
                f"\nTable {entry.table}, {entry.row}, {entry.column}, paper {number(entry.paper or 0.0)}: {shown}"
            )
    lines += ["", "What the paper leaves open:", ""]
    open_questions = {e.column: e.open_question for e in entries if e.open_question}
    lines += [f"- {column}: {question}." for column, question in open_questions.items()]
    lines.append("- All columns: which clips were scored; size of the reference (another size needs a new extraction).")
    return "\n".join(lines) + "\n"


def _swept(found: Swept) -> str:
    text = f"{found.reading} {number(found.value) if found.value is not None else f'({found.why})'}"
    return f"**{text} (nearest)**" if found.nearest else text


def _line(entry: LedgerEntry) -> str:
    from floatbench.reports.table import escape

    ours = "" if entry.value is None else number(entry.value)
    if entry.interval:
        ours += f" [{number(entry.interval[0])}, {number(entry.interval[1])}]"
    paper = "unknown" if entry.paper is None else f"{entry.paper:g}{'‡' if entry.second_hand else ''}"
    row = escape(entry.row if not entry.method else f"{entry.row} ({entry.method})")
    cells = [str(entry.table), row, entry.dataset, entry.column, paper, ours, entry.reading, entry.verdict]
    return "| " + " | ".join([*cells, escape(entry.note)]) + " |"
