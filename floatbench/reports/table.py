"""The table of a run, as Markdown and CSV, made from scores.json only."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from floatbench.engine.records import ScoreFile, ScoreRow
from floatbench.files import write_bytes
from floatbench.reports.column_groups import column_groups
from floatbench.reports.interval_notes import interval_notes
from floatbench.reports.marks import marked_name, method_marks

COLUMN_ORDER = ("FID", "FVD", "CSIM", "E-FID", "P-FID", "LSE-D", "LSE-C", "AVCORR", "PSNR", "SSIM", "LPIPS")
TINY_NOTE = (
    "made with the small bundled networks, trained on synthetic data only: comparable inside this table, "
    "never with published numbers"
)


def ordered_metrics(scores: ScoreFile) -> list[str]:
    """Metric variants in the order of the field's tables, those it has no order for as they were asked for."""
    return in_order([scores])


def in_order(files: Sequence[ScoreFile]) -> list[str]:
    """The same for several runs; the cells of a run stand as its metrics were asked for."""
    metrics = {variant: record for scores in files for variant, record in scores.metrics.items()}
    asked = dict.fromkeys(cell.metric for scores in files for cell in scores.scores) | dict.fromkeys(metrics)

    def place(variant: str) -> int:
        column = metrics[variant].column.partition(" (")[0]
        return COLUMN_ORDER.index(column) if column in COLUMN_ORDER else len(COLUMN_ORDER)

    return sorted(asked, key=place)


def format_cell(cell: ScoreRow | None) -> str:
    """`value [low, high] (n of N clips, p of P pictures)`; counts are left out where nothing is missing."""
    if cell is None:
        return "not run"
    if cell.value is None:
        return "none"
    if cell.void:
        return f"void ({counts(cell)})"
    text = number(cell.value)
    if cell.interval:
        text += f" [{number(cell.interval['low'])}, {number(cell.interval['high'])}]"
    elif cell.replicate_spread is not None:
        text += f" ± {number(cell.replicate_spread)}"
    marks = "".join(f" ({mark.partition(':')[0]})" for mark in cell.marks)
    complete = (cell.n, cell.pictures) == (cell.n_available, cell.of_pictures)
    return f"{text}{marks}" if complete else f"{text} ({counts(cell)}){marks}"


def counts(cell: ScoreRow) -> str:
    """`n of N`: clips; where pictures of the clips that entered were not measured, `n of N clips, p of P pictures`."""
    clips = f"{cell.n} of {cell.n_available}"
    return (
        clips if cell.pictures == cell.of_pictures else f"{clips} clips, {cell.pictures} of {cell.of_pictures} pictures"
    )


def number(value: float) -> str:
    """Four significant digits, without an exponent in the usual range."""
    if value == 0 or abs(value) < 1e-6:
        return "0"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def markdown(scores: ScoreFile) -> str:
    """The whole table with its label, controls, footnotes and flags."""
    variants = ordered_metrics(scores)
    cells = {(cell.method, cell.metric): cell for cell in scores.scores}
    lines = [f"**{scores.label}**: {scores.n_available} of {scores.n_clips} {_clips(scores)}, seed {scores.seed}", ""]
    for heading, shown in column_groups({v: scores.metrics[v].column for v in variants}):
        lines += [f"**{heading}**", ""] if heading else []
        lines += [*_table(scores, cells, shown), ""]
    lines.pop()
    return "\n".join([*lines, "", *_notes(scores, variants)]) + "\n"


def _table(scores: ScoreFile, cells: Mapping[tuple[str, str], ScoreRow], variants: Sequence[str]) -> list[str]:
    """The lines of one table: systems, then controls."""
    header = ["method", *(_heading(scores, variant) for variant in variants)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    systems, controls = scores.systems(), scores.control_methods()
    for name in systems:
        lines.append(
            _line(marked_name(name, scores.methods[name]), [cells.get((name, variant)) for variant in variants])
        )
    if systems and controls:
        lines.append(f"| *controls, not ranked* |{' |' * len(variants)}")
    lines += [_line(name, [cells.get((name, variant)) for variant in variants]) for name in controls]
    return lines


def _clips(scores: ScoreFile) -> str:
    """`clips (900 pictures)`: the pictures that the metrics of single pictures looked at."""
    pictures = max((cell.of_pictures for cell in scores.scores), default=0) // max(scores.replicates, 1)
    return f"clips ({pictures} pictures)" if pictures else "clips"


def _heading(scores: ScoreFile, variant: str) -> str:
    record = scores.metrics[variant]
    mark = " (tiny)" if record.tiny else ""
    return f"{record.column} {'↑' if record.higher_is_better else '↓'}{mark}<br>`{variant}`"


def _line(name: str, cells: Sequence[ScoreRow | None]) -> str:
    return "| " + " | ".join([escape(name), *(format_cell(cell) for cell in cells)]) + " |"


def escape(text: str) -> str:
    """A name inside a Markdown table: no column breaks, no line breaks, no HTML."""
    for old, new in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("\n", " "), ("`", "'")):
        text = text.replace(old, new)
    return text


def _notes(scores: ScoreFile, variants: Sequence[str]) -> list[str]:
    notes = []
    if scores.unranked_because:
        notes.append(f"- Not ranked: {'; '.join(scores.unranked_because)}.")
    tiny = [variant for variant in variants if scores.metrics[variant].tiny]
    if tiny:
        notes.append(f"- (tiny) {', '.join(tiny)}: {TINY_NOTE}.")
    for check in scores.controls:
        if not check.held:
            notes.append(f'- FLAG {check.metric}: does not keep the rule "{check.rule}" ({check.detail}).')
    notes += [f"- {escape(note[:1].upper() + note[1:])}." for note in (*scores.notes, *scores.blind_controls.values())]
    notes += [f"- {note}." for note in interval_notes(scores.scores)]
    marked: dict[tuple[str, str], list[str]] = {}
    for cell in scores.scores:
        for mark in cell.marks:
            marked.setdefault((cell.metric, mark), []).append(escape(cell.method))
    for (metric, mark), methods in marked.items():
        names = "all methods" if len(methods) == len(scores.methods) else ", ".join(methods)
        notes.append(f"- {metric}: {escape(mark)}: {names}.")
    for clip, why in sorted(scores.rejected.items()):
        notes.append(f"- Rejected by preprocessing: {escape(clip)}, {escape(why)}.")
    said: dict[tuple[str, str], list[str]] = {}
    for method, failures in _failures(scores).items():
        for clips, reason in failures:
            said.setdefault((clips, reason), []).append(method)
    for (clips, reason), methods in said.items():
        names = "all methods" if len(methods) == len(scores.methods) else ", ".join(map(escape, methods))
        notes.append(f"- {clips} failed, {escape(reason)}: {names}.")
    return notes


def _failures(scores: ScoreFile) -> dict[str, list[tuple[str, str]]]:
    """Per method, failed clips grouped by what was said, with the metrics they concern."""
    grouped: dict[str, dict[tuple[str, str], list[str]]] = {}
    for cell in scores.scores:
        for clip, reason in cell.failures.items():
            grouped.setdefault(cell.method, {}).setdefault((clip, reason), []).append(cell.metric)
    result: dict[str, list[tuple[str, str]]] = {}
    for method, entries in grouped.items():
        by_reason: dict[tuple[str, str], list[str]] = {}
        for (clip, reason), metrics in entries.items():
            concerned = "all metrics" if len(metrics) == len(scores.metrics) else ", ".join(sorted(metrics))
            by_reason.setdefault((reason, concerned), []).append(clip)
        result[method] = [(_some(clips), f"{reason} ({concerned})") for (reason, concerned), clips in by_reason.items()]
    return result


def _some(clips: Sequence[str]) -> str:
    shown = ", ".join(escape(clip) for clip in sorted(clips)[:3])
    return shown if len(clips) <= 3 else f"{shown} and {len(clips) - 3} more"


def to_csv(scores: ScoreFile) -> str:
    """One line per method and metric, with interval, counts, hashes and licences."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["label", "protocol_hash", "method", "control", "metric", "column", "value", "low", "high", "interval_method",
         "n", "n_available", "n_protocol", "pictures", "of_pictures", "void", "ranked", "replicates", "spread",
         "weights", "licences", "marks"]
    )  # fmt: skip
    for cell in scores.scores:
        record = scores.metrics[cell.metric]
        interval, described = cell.interval or {}, scores.methods.get(cell.method, {})
        ranked = scores.ranked and described.get("ranked", True)
        writer.writerow(
            [scores.label, scores.protocol_hash, cell.method, scores.is_control(cell.method), cell.metric, cell.column,
             cell.value, interval.get("low"), interval.get("high"), interval.get("method"), cell.n, cell.n_available,
             cell.n_protocol, cell.pictures, cell.of_pictures, cell.void, ranked, scores.replicates,
             cell.replicate_spread,
             ";".join(f"{name}={digest}" for name, digest in sorted(record.weights.items())),
             ";".join(f"{name}={licence}" for name, licence in sorted(record.licences.items())),
             ";".join([*method_marks(described), *cell.marks])]
        )  # fmt: skip
    return stream.getvalue()


def write_tables(folder: Path, scores: ScoreFile) -> None:
    """Writes table.md and table.csv into a run folder."""
    write_bytes(folder / "table.md", markdown(scores).encode("utf-8", "replace"))
    write_bytes(folder / "table.csv", to_csv(scores).encode("utf-8", "replace"))
