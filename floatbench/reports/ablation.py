"""The table of an ablation: our rows with their training budget, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from floatbench.engine.records import ScoreFile
from floatbench.metrics import registry
from floatbench.reports.column_groups import column_groups
from floatbench.reports.published import sweep_cells, table_cells
from floatbench.reports.table import TINY_NOTE, escape, format_cell, number, ordered_metrics

if TYPE_CHECKING:
    from floatbench.training.component_losses import ComponentScores

PAPER_COLUMNS = ("FID", "FVD", "E-FID", "P-FID", "LSE-D", "NFE", "FPS")

Published = dict[tuple[str, str], str]
"""(row, column) -> the paper's text, HDTF / RAVDESS."""


def published_table(number: int) -> Published:
    """Table 2 or 3 of the paper."""
    return _joined((cell.row, cell.dataset, cell.column, cell.text or "unknown") for cell in table_cells(number))


def published_sweep(sweep: str) -> Published:
    """The supplement's sweep over `nfe` or `guidance`."""
    return _joined((cell.row, cell.dataset, cell.column, cell.text) for cell in sweep_cells(sweep))


def _joined(cells: Any) -> Published:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row, dataset, column, text in cells:
        found.setdefault((row, column), {})[dataset] = text
    return {
        key: " / ".join(values[name] for name in ("hdtf", "ravdess") if name in values) for key, values in found.items()
    }


def markdown(
    title: str,
    rows: Sequence[tuple[str, str, str, str]],
    scores: ScoreFile | None,
    paper: Published,
) -> str:
    """One table.

    Args:
        rows: (key in the paper, name, training budget, method of the run or "" when it has no checkpoint).
        scores: of the run that held the methods; None when nothing could be run.
        paper: see `published_table`.
    """
    variants = ordered_metrics(scores) if scores is not None else []
    titles = {v: scores.metrics[v].column for v in variants} if scores is not None else {}
    columns = [column for column in PAPER_COLUMNS if any(key[1] == column for key in paper)]
    lines = [f"**{title}**"]
    for heading, shown in column_groups(titles):
        lines += ["", *([f"**{heading}**", ""] if heading else [])]
        lines += _table(rows, scores, shown, paper, columns)
        columns = []  # beside the first of several tables
    notes = ["The paper's columns are HDTF / RAVDESS where it has both; ours are of the protocol that was run."]
    if scores is not None and any(record.tiny for record in scores.metrics.values()):
        notes.append(f"Ours: {TINY_NOTE}.")
    return "\n".join([*lines, "", *notes]) + "\n"


def _table(
    rows: Sequence[tuple[str, str, str, str]],
    scores: ScoreFile | None,
    variants: Sequence[str],
    paper: Published,
    columns: Sequence[str],
) -> list[str]:
    """The lines of one table: our metrics, then some columns of the paper."""
    ours = [f"{scores.metrics[v].column}<br>`{v}`" for v in variants] if scores is not None else []
    header = ["row", "budget", *ours, *(f"paper: {column}" for column in columns)]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for key, name, budget, method in rows:
        cells = _cells(scores, method, variants) if method else ["no checkpoint"] * len(variants)
        lines.append(_line([escape(name), budget or "-", *cells, *(paper.get((key, c), "-") for c in columns)]))
    for control in _controls(scores):
        lines.append(_line([f"*{control}*", "-", *_cells(scores, control, variants), *(["-"] * len(columns))]))
    return lines


def _cells(scores: ScoreFile | None, method: str, variants: Sequence[str]) -> list[str]:
    assert scores is not None
    cells = {cell.metric: cell for cell in scores.scores if cell.method == method}
    return [format_cell(cells.get(variant)) for variant in variants]


def _controls(scores: ScoreFile | None) -> list[str]:
    return [] if scores is None else scores.control_methods()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def record(rows: Sequence[tuple[str, str, str, str]], scores: ScoreFile | None, paper: Published) -> Mapping[str, Any]:
    """The same for JSON."""
    values = {} if scores is None else {(cell.method, cell.metric): cell.value for cell in scores.scores}
    return {
        name: {
            "budget": budget,
            "method": method,
            "ours": {metric: value for (found, metric), value in values.items() if found == method},
            "paper": {column: text for (row, column), text in paper.items() if row == key},
        }
        for key, name, budget, method in rows
    }


def components_markdown(title: str, found: ComponentScores) -> str:
    """The table of phase 1's component losses; the paper shows pictures of it and prints no number."""
    infos = [registry.metric(name).info for name in found.metrics]
    header = ["row", "budget", *(f"{info.column}<br>`{info.id}`" for info in infos)]
    lines = [f"**{title}**", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in found.rows:
        cells = [_score(row.scores[name]) if row.scores else "no checkpoint" for name in found.metrics]
        control = row.scores and not row.autoencoder
        lines.append(_line([f"*{row.name}*" if control else escape(row.name), row.budget or "-", *cells]))
    notes = [f"Phase 1 alone, on {len(found.clips)} held-out clips; the paper prints no number beside its pictures."]
    if any(info.tiny for info in infos):
        notes.append(f"Ours: {TINY_NOTE}.")
    return "\n".join([*lines, "", *notes]) + "\n"


def _score(value: float | None) -> str:
    return "none" if value is None else number(value)


def components_record(found: ComponentScores) -> Mapping[str, Any]:
    """The same for JSON."""
    return {
        row.name: {"budget": row.budget, "autoencoder": row.autoencoder, "ours": dict(row.scores)} for row in found.rows
    }
