"""The paper's tables as data: columns, rows, cells and marks, filled from runs and from the published numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

from floatbench.engine.records import MetricRecord
from floatbench.errors import UsageError
from floatbench.reports import theval_total
from floatbench.reports.column_groups import column_groups
from floatbench.reports.comparison import Comparisons, Place, judge
from floatbench.reports.loading import RecordedRun, by_dataset, refuse_other_variant
from floatbench.reports.marks import method_marks
from floatbench.reports.paper_rows import paper_block
from floatbench.reports.table import counts, ordered_metrics
from floatbench.reports.table_notes import decisions, notes_of
from floatbench.reports.table_parts import (
    COLUMNS,
    DATASETS,
    HIGHER,
    TITLES,
    Column,
    Line,
    PaperTable,
    TableBlock,
    TableChoices,
    TableNumber,
)

NOTHING = TableBlock("", (), (), ())


def build_table(
    table: int | None,
    runs: Sequence[RecordedRun],
    variants: Sequence[str] = (),
    choices: TableChoices = TableChoices(),
) -> PaperTable:
    """Lays runs out as Table 1, 2 or 3 of the paper, or with a column for each metric.

    Args:
        table: of the paper; None: all metrics of the runs.
        runs: none: the paper's rows alone.
        variants: metric variants to show; by default those of the runs' protocols.

    Raises:
        UsageError: an unknown table, metric or method, nothing to show, or numbers that may not share a column (names
            both runs).
    """
    if table is not None and table not in COLUMNS:
        raise UsageError(f"there is no table {table}", fix="--table 1|2|3")
    _check(runs, variants, choices)
    title = "Scores" if table is None else TITLES[table]
    paper = paper_block(table) if table is not None and choices.published else NOTHING
    if not runs:
        if not paper.lines:
            raise UsageError(
                "there is nothing to show without a run", fix="floatbench report RUN, or --table 1 for the paper's rows"
            )
        notes = ["No run was given: these are the paper's own rows.", *notes_of((), (), ())]
        return PaperTable(
            table, title, NOTHING, NOTHING, paper, notes, intervals=choices.intervals, label=choices.label
        )
    columns = _columns(table, runs, variants, choices.sets)
    judged = _judged(runs, choices)
    ours = placed(measured_block("measured", runs, columns, choices), judged)
    controls = _controls(runs, columns, choices) if choices.controls else NOTHING
    daggers = any(line.dagger for line in (*ours.lines, *controls.lines))
    told = replace(choices, published=bool(paper.lines))
    notes = [*decisions(ours, judged), *notes_of(runs, columns, variants if table is None else (), told, daggers)]
    notes += [f"{theval_total.NOTE}."] if any(column.title == theval_total.TITLE for column in columns) else []
    return PaperTable(
        table, title, renamed(ours, choices), renamed(controls, choices), paper, notes,
        intervals=choices.intervals, label=choices.label,
    )  # fmt: skip


def _check(runs: Sequence[RecordedRun], variants: Sequence[str], choices: TableChoices) -> None:
    """UsageError for a method or metric that no run has, and for two methods of one name."""
    methods = list(dict.fromkeys(name for run in runs for name in run.scores.methods))
    for name in (*choices.only, *choices.names):
        if name not in methods:
            raise UsageError(f"no run has the method {name}", fix=f"one of {', '.join(methods) or 'none'}")
    every = list(dict.fromkeys(variant for run in runs for variant in run.scores.metrics))
    for variant in variants:
        if variant not in every:
            raise UsageError(f"no run was scored with {variant}", fix=f"--metrics {','.join(every)}")
    printed = [choices.printed(name) for name in choices.only or methods]
    twice = next((name for name in printed if printed.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two rows would be called {twice}", fix="choose another --name")


def measured_block(
    title: str, runs: Sequence[RecordedRun], columns: Sequence[Column], choices: TableChoices
) -> TableBlock:
    """The systems that are chosen, without places."""
    groups = by_dataset(runs)
    names = dict.fromkeys(name for run in runs for name in run.systems if choices.shows(name))
    return TableBlock(title, _labels(groups), tuple(columns), _lines(groups, columns, list(names)))


def _judged(runs: Sequence[RecordedRun], choices: TableChoices) -> list[Comparisons]:
    """The comparisons of the chosen systems on each data set."""
    groups = by_dataset(runs).values()
    return [judge(group, [n for run in group for n in run.systems if choices.shows(n)]) for group in groups]


def _controls(runs: Sequence[RecordedRun], columns: Sequence[Column], choices: TableChoices) -> TableBlock:
    groups = by_dataset(runs)
    names = list(dict.fromkeys(n for run in runs for n in run.scores.methods if n not in run.systems))
    shown = [name for name in names if choices.shows(name)]
    return TableBlock("controls, not ranked", _labels(groups), tuple(columns), _lines(groups, columns, shown))


def renamed(block: TableBlock, choices: TableChoices) -> TableBlock:
    """The block with the names that are printed."""
    return replace(block, lines=tuple(replace(line, name=choices.printed(line.name)) for line in block.lines))


def _labels(groups: dict[str, list[RecordedRun]]) -> tuple[str, ...]:
    return tuple(DATASETS.get(name, name) for name in groups)


def _columns(
    table: int | None, runs: Sequence[RecordedRun], variants: Sequence[str], named: Sequence[str]
) -> tuple[Column, ...]:
    """The paper's columns with the variants that fill them, or one for each metric."""
    if table is not None:
        return tuple(_column(column, _variant(column, runs, variants), runs) for column in COLUMNS[table])
    chosen = variants or list(dict.fromkeys(variant for run in runs for variant in ordered_metrics(run.scores)))
    for variant in chosen:
        _refuse_unlike(runs, variant)
    columns = {variant: _column("", variant, runs) for variant in chosen}
    groups = column_groups({variant: column.title for variant, column in columns.items()}, named)
    found = [replace(columns[variant], group=heading) for heading, members in groups for variant in members]
    if set(theval_total.MEASURES) <= set(chosen) and any(theval_total.TRUTH in run.scores.methods for run in runs):
        last = max(i for i, column in enumerate(found) if column.variant in theval_total.MEASURES)
        found.insert(last + 1, Column(theval_total.TITLE, True, group=found[last].group))
    return tuple(found)


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
    _refuse_unlike(runs, choice[0])
    return choice[0]


def _refuse_unlike(runs: Sequence[RecordedRun], variant: str) -> None:
    having = [run for run in runs if variant in run.scores.metrics]
    for run in having[1:]:
        refuse_other_variant(having[0], run, variant)


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
    if column.title == theval_total.TITLE:
        return theval_total.theval_total(run, method)
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
