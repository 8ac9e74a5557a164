"""Writes the leaderboard's CSV and Markdown from its entries; equal entries give equal bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from floatbench.files import write_bytes
from floatbench.reports.leaderboard import Placed, entries, place
from floatbench.reports.marks import method_marks
from floatbench.reports.table import COLUMN_ORDER, TINY_NOTE, counts, escape, number


def build(board: Path) -> tuple[Path, Path]:
    """Writes `leaderboard.csv` and `leaderboard.md` beside the board's folder; returns both paths."""
    placed = place(entries(board))
    table, page = board.parent / "leaderboard.csv", board.parent / "leaderboard.md"
    write_bytes(table, to_csv(placed).encode("utf-8", "replace"))
    write_bytes(page, to_markdown(placed).encode("utf-8", "replace"))
    return table, page


def to_csv(placed: Sequence[Placed]) -> str:
    """One line per number, superseded ones too."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["protocol", "protocol_hash", "metric", "column", "tiny", "rank", "tied", "system", "version", "value", "low",
         "high", "n", "n_available", "n_protocol", "pictures", "of_pictures", "superseded", "entry", "marks",
         "networks"]
    )  # fmt: skip
    for item in placed:
        entry, cell = item.entry, item.cell
        interval = cell.interval or {}
        writer.writerow(
            [entry.scores.label, entry.scores.protocol_hash, cell.metric, cell.column,
             entry.scores.metrics[cell.metric].tiny, item.rank, item.tied, entry.system, entry.version, cell.value,
             interval.get("low"), interval.get("high"), cell.n, cell.n_available, cell.n_protocol, cell.pictures,
             cell.of_pictures, item.superseded, entry.id, ";".join([*_marks(item), *cell.marks]),
             ";".join(f"{name}:{digest[:12]}" for name, digest in _networks(item))]
        )  # fmt: skip
    return stream.getvalue()


def to_markdown(placed: Sequence[Placed]) -> str:
    """A table for each protocol; `=2` is a shared second place."""
    lines = ["# Leaderboard", ""]
    lines += ["Made by `floatbench leaderboard build` from the entries in `leaderboard/entries`.", ""]
    if not placed:
        lines.append("There are no entries yet: `floatbench leaderboard submit RUN --method NAME`.")
    lines += [
        "A place is 1 + the number of systems that are better by the paired test on the same clips (p adjusted for all "
        "comparisons of the protocol); what is not decided shares one (`=`). `untested`: no test with another entry "
        "was possible. `~`: no interval.",
    ]
    for label, group in groupby(placed, key=lambda item: item.entry.scores.label):
        items = list(group)
        lines += ["", *_protocol(label, items), *_notes(items)]
    return "\n".join(lines) + "\n"


Networks = tuple[tuple[str, str], ...]


def _networks(item: Placed) -> Networks:
    """Names and hashes of the weight files that a number was made with."""
    return tuple(sorted(item.entry.scores.metrics[item.cell.metric].weights.items()))


def _protocol(label: str, placed: Sequence[Placed]) -> list[str]:
    in_use = {(item.cell.metric, _networks(item)) for item in placed if not item.superseded}

    def order(item: Placed) -> tuple[int, str, bool, Networks]:
        column, networks = item.cell.column, _networks(item)
        place = COLUMN_ORDER.index(column) if column in COLUMN_ORDER else len(COLUMN_ORDER)
        return (place, item.cell.metric, (item.cell.metric, networks) not in in_use, networks)

    lines = [f"## {escape(label)}"]
    seen: set[str] = set()
    for _, group in groupby(sorted(placed, key=order), key=order):
        items = list(group)
        first = items[0]
        record = first.entry.scores.metrics[first.cell.metric]
        arrow = "↑" if record.higher_is_better else "↓"
        lines += ["", f"### {record.column} {arrow} `{record.id}`{' (tiny)' if record.tiny else ''}"]
        lines[-1] += ", other networks" if record.id in seen else ""
        lines.append("")
        if record.id in seen:
            made_with = ", ".join(f"`{name}` {digest[:12]}" for name, digest in _networks(first))
            lines += [f"Made with {made_with}: another scale than the table above, never to be compared with it.", ""]
        seen.add(record.id)
        if record.tiny:
            lines += [f"{TINY_NOTE[0].upper()}{TINY_NOTE[1:]}.", ""]
        lines += ["| place | system | value | clips | entry |", "|---|---|---|---|---|"]
        lines += [_line(item) for item in items]
        lines += _controls(first)
    return lines


def _controls(item: Placed) -> list[str]:
    """The controls that ran with the entry, never ranked: how far the metric reaches."""
    scores = item.entry.scores
    values = {cell.method: cell.value for cell in scores.scores if cell.metric == item.cell.metric}
    found = [(name, value) for name in scores.control_methods() if (value := values.get(name)) is not None]
    shown = ", ".join(f"{escape(name)} {number(value)}" for name, value in found)
    return ["", f"Controls of `{item.entry.id}`: {shown}."] if found else []


def _notes(placed: Sequence[Placed]) -> list[str]:
    """What the runs of the entries said of the clips and systems, and what their submitters did; each once."""
    standing = list({item.entry.id: item.entry for item in placed if not item.superseded}.values())
    found = [note for entry in standing for note in entry.scores.notes]
    found += [f"{entry.system}: {entry.notes}" for entry in standing if entry.notes]
    found += [f"{item.entry.system}: {item.cell.metric} is {mark}" for item in placed for mark in item.cell.marks]
    return ["", *(f"- {escape(note[:1].upper() + note[1:])}" for note in dict.fromkeys(found))] if found else []


def _marks(item: Placed) -> tuple[str, ...]:
    """What must be known about how the ranked system's videos were made."""
    return method_marks(item.entry.scores.methods.get(item.entry.method, {}))


def _line(item: Placed) -> str:
    cell = item.cell
    rank = "superseded" if item.superseded else "untested" if item.rank is None else f"{'=' * item.tied}{item.rank}"
    value = "none" if cell.value is None else number(cell.value)
    if cell.interval:
        value += f" [{number(cell.interval['low'])}, {number(cell.interval['high'])}]"
    else:
        value += " ~"
    marks = _marks(item)
    name = escape(f"{item.entry.system} v{item.entry.version}" + (f" ({', '.join(marks)})" if marks else ""))
    value += "".join(f" ({mark.partition(':')[0]})" for mark in cell.marks)
    return f"| {rank} | {name} | {value} | {counts(cell)} | `{item.entry.id}` |"
