"""What a reader must know of a table, in sentences for under it."""

from __future__ import annotations

from collections.abc import Sequence

from floatbench.engine.judges import is_self_judged
from floatbench.engine.records import ScoreRow
from floatbench.reports.comparison import Comparisons, counted
from floatbench.reports.interval_notes import interval_notes
from floatbench.reports.loading import RecordedRun
from floatbench.reports.table import TINY_NOTE, ordered_metrics
from floatbench.reports.table_parts import Column, TableBlock, TableChoices


def decisions(block: TableBlock, judged: Sequence[Comparisons]) -> list[str]:
    """What bold and underlined mean, how many comparisons there were, and where nothing is decided."""
    count = sum(comparisons.count for comparisons in judged)
    if len(block.lines) < 2:
        return []
    if not count:
        reasons = dict.fromkeys(v.why for comparisons in judged for v in comparisons.verdicts if v.why)
        return ["Nothing is bold: no pair of systems could be tested.", *(f"No test: {why}." for why in reasons)]
    found = [
        "Bold: no system is better; underlined: the next place. Better is what the paired test on the same clips says "
        f"(p adjusted for {counted(count)}, floatbench compare); what is not decided shares a place."
    ]
    undecided = [
        column.title if len(block.datasets) == 1 else f"{column.title} ({block.datasets[d]})"
        for c, column in enumerate(block.columns)
        for d in range(len(block.datasets))
        if sum(line.cells[c][d].ranked for line in block.lines) > 1
        and not any(line.cells[c][d].mark for line in block.lines)
    ]
    return [*found, f"Nothing is decided in {', '.join(undecided)}."] if undecided else found


def notes_of(
    runs: Sequence[RecordedRun],
    columns: Sequence[Column],
    variants: Sequence[str],
    choices: TableChoices = TableChoices(),
    daggers: bool = False,
) -> list[str]:
    """All else: what the marks mean, how each run was made, what is odd about it, what is not shown.

    Args:
        variants: the metrics that were asked for, where others are left out on purpose.
        daggers: a measured row has one; some of the paper's have.
    """
    notes = ["Measured and published rows were made on other clips and are not ranked together."]
    notes.append("† scored on raw 256 x 256 output. ‡ second-hand, not read in the paper itself.")
    if not choices.published:
        notes = ["† scored on raw 256 x 256 output."] if daggers else []
    notes += [f"{printed} is {name} in the records." for name, printed in choices.names.items() if printed != name]
    if choices.intervals == "pm":
        notes.append("± is half the width of the interval, which need not lie evenly about the number.")
    notes += [] if variants else _not_shown(runs, columns)
    if any(column.title == "NFE" for column in columns):
        notes.append("NFE: network evaluations a window, as the paper counts; a speed file has those of a clip.")
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
    cells = [
        cell for run in runs for cell in run.scores.scores
        if cell.metric in shown and cell.value is not None and choices.shows(cell.method)
        and (choices.controls or not run.scores.is_control(cell.method))
    ]  # fmt: skip
    if choices.intervals != "none":
        notes += [f"{note}." for note in interval_notes(cells)] + without_interval(cells, choices)
    tiny = [column.variant for column in columns if column.tiny]
    if tiny:
        notes.append(f"{', '.join(tiny)}: {TINY_NOTE}.")
    taught = [(cell, mark) for cell in cells for mark in cell.marks if is_self_judged([mark])]
    notes += [f"{choices.printed(cell.method)}: {cell.metric} is {mark}." for cell, mark in taught]
    used = {v: run.scores.metrics[v] for run in runs for v in (c.variant for c in columns) if v in run.scores.metrics}
    behind: dict[str, list[str]] = {}
    for variant, record in used.items():
        listed = ", ".join(f"{name} ({licence})" for name, licence in sorted(record.licences.items()))
        behind.setdefault(listed, []).append(variant)
    notes += [f"Weights behind {', '.join(names)}: {listed}." for listed, names in behind.items() if listed]
    return notes


def without_interval(cells: Sequence[ScoreRow], choices: TableChoices, where: str = "") -> list[str]:
    """Why cells have no interval: one sentence a reason, which names its methods where it is not that of all.

    Args:
        where: which of the slices (` in yaw 0 to 15°`); empty for all clips.
    """
    methods = {cell.method for cell in cells}
    having: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.interval is None and cell.no_interval:
            having.setdefault(cell.no_interval, {})[cell.method] = None
    named = {
        reason: "" if own.keys() == methods else f" of {', '.join(choices.printed(name) for name in own)}"
        for reason, own in having.items()
    }
    return [f"No interval{of}{where}: {reason}." for reason, of in named.items()]


def _not_shown(runs: Sequence[RecordedRun], columns: Sequence[Column]) -> list[str]:
    """The metrics of the runs that have no column here."""
    shown = {column.variant for column in columns}
    left = {v: run.scores.metrics[v].column for run in runs for v in ordered_metrics(run.scores) if v not in shown}
    if not left:
        return []
    listed = ", ".join(f"{column} ({variant})" for variant, column in left.items())
    return [f"Measured, and without a column in this table: {listed}. floatbench report RUN shows all."]
