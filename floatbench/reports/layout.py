"""The paper's tables as data: columns, rows, cells and marks, filled from runs and from the published numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from floatbench.engine.records import MetricRecord
from floatbench.errors import UsageError
from floatbench.reports.comparison import Comparisons, Mark, Place, judge
from floatbench.reports.interval_notes import interval_notes
from floatbench.reports.loading import RecordedRun, by_dataset, refuse_other_variant
from floatbench.reports.marks import method_marks
from floatbench.reports.published import SOURCE, table_cells
from floatbench.reports.table import TINY_NOTE, counts, number

COLUMNS: dict[int, tuple[str, ...]] = {
    1: ("FID", "FVD", "CSIM", "E-FID", "P-FID", "LSE-D", "LSE-C"),
    2: ("FID", "FVD", "E-FID", "P-FID", "LSE-D"),
    3: ("FID", "FVD", "E-FID", "LSE-D", "NFE"),
}
TITLES = {
    1: "Table 1: comparison",
    2: "Table 2: additional driving conditions",
    3: "Table 3: ablations",
}
HIGHER = ("CSIM", "LSE-C")
DATASETS = {"hdtf": "HDTF", "ravdess": "RAVDESS"}


@dataclass(frozen=True)
class TableNumber:
    """One number: a cell has one for each data set.

    Attributes:
        value: None when there is no number; `why` then says why.
        n, of: clips that entered and clips available; None for published numbers.
        pictures, of_pictures: measured inside these clips, and what they have.
        marks: what a reader must know beside the number, in two words each.
        rank_value: the common subset's value where methods failed on different clips, else the value.
        place, tied, mark: by the paired test, see floatbench.reports.comparison.Place.
        second_hand: a published number that was not read in the paper itself.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    n: int | None = None
    of: int | None = None
    pictures: int = 0
    of_pictures: int = 0
    marks: tuple[str, ...] = ()
    ranked: bool = False
    rank_value: float | None = None
    mark: Mark = ""
    place: int | None = None
    tied: bool = False
    why: str = ""
    second_hand: bool = False
    text: str = ""  # as published; measured numbers have four digits

    @property
    def shown(self) -> str:
        """The number, or the reason why there is none."""
        if self.value is None:
            return self.why or "none"
        return self.text or number(self.value)

    @property
    def extra(self) -> str:
        """Interval or spread, count, and the value on the common clips."""
        if self.value is None:
            return ""
        parts = []
        if self.low is not None and self.high is not None:
            parts.append(f"[{number(self.low)}, {number(self.high)}]")
        elif self.spread is not None:
            parts.append(f"± {number(self.spread)}")
        if self.n is not None:
            whole = self.pictures == self.of_pictures
            lost = "" if whole else f" clips, {self.pictures} of {self.of_pictures} pictures"
            parts.append(f"({self.n} of {self.of}{lost})")
        parts += [f"({mark})" for mark in self.marks]
        if self.n is not None and self.rank_value is not None and self.rank_value != self.value:
            parts.append(f"common clips {number(self.rank_value)}")
        return " ".join(parts)


@dataclass(frozen=True)
class Column:
    """Heading, direction (None = no direction) and the variant it was made with (empty for published numbers)."""

    title: str
    higher: bool | None
    variant: str = ""
    tiny: bool = False

    @property
    def heading(self) -> str:
        """Title, `(tiny)` for the small bundled networks, and an arrow to the better side."""
        arrow = "" if self.higher is None else " ↑" if self.higher else " ↓"
        return f"{self.title}{' (tiny)' if self.tiny else ''}{arrow}"


@dataclass(frozen=True)
class Line:
    """One row; `cells[c][d]` is column c on data set d; `marks` say how it was made (floatbench.reports.marks)."""

    name: str
    dagger: bool
    cells: tuple[tuple[TableNumber, ...], ...]
    marks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name, dagger and marks, as tables print them."""
        return self.name + (" †" if self.dagger else "") + (f" ({', '.join(self.marks)})" if self.marks else "")


@dataclass(frozen=True)
class TableBlock:
    """Rows that may be compared with each other."""

    title: str
    datasets: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class PaperTable:
    """Our rows and the paper's, in blocks of their own, with notes."""

    number: int
    title: str
    ours: TableBlock
    controls: TableBlock
    paper: TableBlock
    notes: list[str] = field(default_factory=list)

    @property
    def blocks(self) -> dict[str, TableBlock]:
        """Origin -> block, without empty ones."""
        found = {"measured": self.ours, "control": self.controls, "published": self.paper}
        return {origin: block for origin, block in found.items() if block.lines}


def build_table(table: int, runs: Sequence[RecordedRun], variants: Sequence[str] = ()) -> PaperTable:
    """Lays runs out as Table 1, 2 or 3 of the paper.

    Args:
        variants: metric variants to show; by default those of the runs' protocols.

    Raises:
        UsageError: an unknown table, no run, or numbers that may not share a column; names both runs.
    """
    if table not in COLUMNS:
        raise UsageError(f"there is no table {table}", fix="--table 1|2|3")
    if not runs:
        raise UsageError("no run was given", fix="floatbench report RUN --table 1")
    groups = by_dataset(runs)
    chosen = {column: _variant(column, runs, variants) for column in COLUMNS[table]}
    columns = tuple(_column(column, chosen[column], runs) for column in COLUMNS[table])
    labels = tuple(DATASETS.get(name, name) for name in groups)
    systems = _lines(groups, columns, list(dict.fromkeys(name for run in runs for name in run.systems)))
    judged = [judge(group) for group in groups.values()]
    ours = placed(TableBlock("measured", labels, columns, systems), judged)
    names = list(dict.fromkeys(n for run in runs for n in run.scores.methods if n not in run.systems))
    controls = TableBlock("controls, not ranked", labels, columns, _lines(groups, columns, names))
    return PaperTable(
        table, TITLES[table], ours, controls, paper_block(table), [*_decisions(ours, judged), *_notes(runs, columns)]
    )


def _lines(groups: dict[str, list[RecordedRun]], columns: Sequence[Column], names: Sequence[str]) -> tuple[Line, ...]:
    runs = [run for group in groups.values() for run in group]
    return tuple(
        Line(
            name,
            any(_is_256(run, name) for run in runs),
            tuple(tuple(_measured(group, name, column) for group in groups.values()) for column in columns),
            tuple(dict.fromkeys(mark for run in runs for mark in method_marks(run.scores.methods.get(name, {})))),
        )
        for name in names
    )


def _variant(column: str, runs: Sequence[RecordedRun], wanted: Sequence[str]) -> str:
    """The one variant that fills a column; empty when no run has one."""
    if column == "NFE":
        return ""
    found = {v: record for run in runs for v, record in run.scores.metrics.items() if _fills(record, column)}
    named = [v for v in wanted if v in found]
    listed = [v for run in runs for v in run.info.protocol.metrics if v in found]
    choice = list(dict.fromkeys(named or listed or found))
    if len(choice) > 1:
        raise UsageError(
            f"the column {column} cannot hold {' and '.join(choice)} ({', '.join(str(run.folder) for run in runs)})",
            fix=f"choose one with --metrics {choice[0]}",
        )
    if not choice:
        return ""
    having = [run for run in runs if choice[0] in run.scores.metrics]
    for run in having[1:]:
        refuse_other_variant(having[0], run, choice[0])
    return choice[0]


def _fills(record: MetricRecord, column: str) -> bool:
    return record.column == column or record.column.startswith(f"{column} (")


def _column(column: str, variant: str, runs: Sequence[RecordedRun]) -> Column:
    record = next((run.scores.metrics[variant] for run in runs if variant in run.scores.metrics), None)
    if record is None:
        return Column(column, None if column == "NFE" else column in HIGHER)
    return Column(record.column, record.higher_is_better, variant, record.tiny)


def _is_256(run: RecordedRun, method: str) -> bool:
    """True when every video of the method came as 256 x 256, which is what the paper's dagger says."""
    sizes = {(row.width, row.height) for row in run.rows.values() if row.method == method and row.status == "ok"}
    return sizes == {(256, 256)}


def _measured(group: Sequence[RecordedRun], method: str, column: Column) -> TableNumber:
    run = next((run for run in group if method in run.scores.methods), None)
    if run is None:
        return TableNumber(None, why="not run")
    if column.title == "NFE":
        return _evaluations(run, method)
    cell = run.cell(method, column.variant) if column.variant else None
    if cell is None:
        return TableNumber(None, why="not run")
    if cell.void or cell.value is None:
        return TableNumber(None, n=cell.n, of=cell.n_available, why=f"void ({counts(cell)})")
    interval = cell.interval or {}
    return TableNumber(
        cell.value,
        low=interval.get("low"),
        high=interval.get("high"),
        spread=cell.replicate_spread,
        n=cell.n,
        of=cell.n_available,
        pictures=cell.pictures,
        of_pictures=cell.of_pictures,
        marks=tuple(mark.partition(":")[0] for mark in cell.marks),
        ranked=run.scores.ranked and run.scores.methods[method].get("ranked", True),
        rank_value=cell.value if cell.common_value is None else cell.common_value,
    )


def _evaluations(run: RecordedRun, method: str) -> TableNumber:
    """Network evaluations a window, as the paper counts them; the median over clips."""
    found = run.evaluations(method)
    return TableNumber(statistics.median(found)) if found else TableNumber(None, why="not counted")


def placed(block: TableBlock, judged: Sequence[Comparisons]) -> TableBlock:
    """The block with the places of its ranked rows, by the comparisons of each data set."""
    found: dict[tuple[int, int, int], Place] = {}
    for c, column in enumerate(block.columns):
        for d, comparisons in enumerate(judged):
            ranked = {line.name: i for i, line in enumerate(block.lines) if line.cells[c][d].ranked and column.variant}
            places = comparisons.places(column.variant, ranked)
            found |= {(i, c, d): places[name] for name, i in ranked.items()}
    return replace(block, lines=tuple(_placed(line, i, found) for i, line in enumerate(block.lines)))


def _placed(line: Line, i: int, places: dict[tuple[int, int, int], Place]) -> Line:
    def one(c: int, d: int, part: TableNumber) -> TableNumber:
        place = places.get((i, c, d), Place(None))
        return replace(part, place=place.rank, tied=place.tied, mark=place.mark)

    cells = tuple(tuple(one(c, d, part) for d, part in enumerate(parts)) for c, parts in enumerate(line.cells))
    return replace(line, cells=cells)


def _decisions(block: TableBlock, judged: Sequence[Comparisons]) -> list[str]:
    """What bold and underlined mean, how many comparisons there were, and where nothing is decided."""
    count = sum(comparisons.count for comparisons in judged)
    if len(block.lines) < 2:
        return []
    if not count:
        reasons = dict.fromkeys(v.why for comparisons in judged for v in comparisons.verdicts if v.why)
        return ["Nothing is bold: no pair of systems could be tested.", *(f"No test: {why}." for why in reasons)]
    found = [
        "Bold: no system is better; underlined: the next place. Better is what the paired test on the same clips says "
        f"(p adjusted for {count} comparisons, floatbench compare); what is not decided shares a place."
    ]
    undecided = [
        column.title if len(block.datasets) == 1 else f"{column.title} ({block.datasets[d]})"
        for c, column in enumerate(block.columns)
        for d in range(len(block.datasets))
        if sum(line.cells[c][d].ranked for line in block.lines) > 1
        and not any(line.cells[c][d].mark for line in block.lines)
    ]
    return [*found, f"Nothing is decided in {', '.join(undecided)}."] if undecided else found


def mark_published(block: TableBlock) -> TableBlock:
    """Best and second best of the paper's own numbers, as it prints them; equal values share a mark."""
    marks: dict[tuple[int, int, int], Mark] = {}
    for c, column in enumerate(block.columns):
        if column.higher is None:
            continue
        for d in range(len(block.datasets)):
            entries = [(i, line.cells[c][d]) for i, line in enumerate(block.lines)]
            values = {i: part.rank_value for i, part in entries if part.ranked and part.rank_value is not None}
            order = sorted(set(values.values()), reverse=column.higher)
            names: tuple[Mark, Mark] = ("best", "second")
            for value, name in zip(order, names, strict=False):
                marks |= {(i, c, d): name for i, own in values.items() if own == value}
    return replace(block, lines=tuple(_marked(line, i, marks) for i, line in enumerate(block.lines)))


def _marked(line: Line, i: int, marks: dict[tuple[int, int, int], Mark]) -> Line:
    cells = tuple(
        tuple(replace(part, mark=marks.get((i, c, d), "")) for d, part in enumerate(parts))
        for c, parts in enumerate(line.cells)
    )
    return replace(line, cells=cells)


def paper_block(table: int) -> TableBlock:
    """The paper's rows with the marks that follow from its own numbers."""
    cells = table_cells(table)
    datasets = tuple(dict.fromkeys(cell.dataset for cell in cells))
    found = {(cell.row, cell.column, cell.dataset): cell for cell in cells}
    columns = tuple(Column(name, None if name == "NFE" else name in HIGHER) for name in COLUMNS[table])
    lines = []
    for row in dict.fromkeys(cell.row for cell in cells):
        mine = [cell for cell in cells if cell.row == row]
        parts = []
        for column in columns:
            entries = [found[row, column.title, dataset] for dataset in datasets]
            parts.append(
                tuple(
                    TableNumber(
                        cell.value,
                        ranked=cell.value is not None,
                        rank_value=cell.value,
                        why="unknown",
                        second_hand=cell.status == "second-hand",
                        text=cell.text,
                    )
                    for cell in entries
                )
            )
        lines.append(Line(mine[0].name, mine[0].size == 256, tuple(parts)))
    return mark_published(
        TableBlock(f"as published ({SOURCE})", tuple(DATASETS[d] for d in datasets), columns, tuple(lines))
    )


def _notes(runs: Sequence[RecordedRun], columns: Sequence[Column]) -> list[str]:
    notes = [
        "Measured and published rows were made on other clips and are not ranked together.",
        "† scored on raw 256 x 256 output. ‡ second-hand, not read in the paper itself.",
    ]
    for run in runs:
        clips = f"{run.scores.n_available} of {run.scores.n_clips} clips"
        note = f"{run.name}: {run.scores.label}, {clips}, seed {run.info.seed}"
        if run.scores.unranked_because:
            note += f"; not ranked: {'; '.join(run.scores.unranked_because)}"
        notes.append(note + ".")
        notes += [f"{run.name}: {note}." for note in (*run.scores.notes, *run.scores.blind_controls.values())]
        notes += [
            f"{run.name}: FLAG {c.metric} breaks the rule '{c.rule}' ({c.detail})."
            for c in run.scores.controls
            if not c.held
        ]
    shown = {column.variant for column in columns}
    cells = [cell for run in runs for cell in run.scores.scores if cell.metric in shown and cell.value is not None]
    reasons = dict.fromkeys(cell.no_interval for cell in cells if cell.interval is None and cell.no_interval)
    notes += [f"{note}." for note in interval_notes(cells)] + [f"No interval: {reason}." for reason in reasons]
    tiny = [column.variant for column in columns if column.tiny]
    if tiny:
        notes.append(f"{', '.join(tiny)}: {TINY_NOTE}.")
    used = {v: run.scores.metrics[v] for run in runs for v in (c.variant for c in columns) if v in run.scores.metrics}
    for variant, record in used.items():
        if record.licences:
            listed = ", ".join(f"{name} ({licence})" for name, licence in sorted(record.licences.items()))
            notes.append(f"Weights behind {variant}: {listed}.")
    return notes
