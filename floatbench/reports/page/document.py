"""What the page shows, as plain data: methods, metrics, cells with their provenance, values of every clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from floatbench.engine.records import Row, ScoreRow
from floatbench.errors import DataError, UsageError
from floatbench.methods.controls import CONTROLS
from floatbench.reports.column_groups import column_groups
from floatbench.reports.comparison import Comparisons, Verdict, judge
from floatbench.reports.comparison_text import shown_difference, shown_p
from floatbench.reports.interval_notes import interval_notes
from floatbench.reports.layout import build_table
from floatbench.reports.licences import licences
from floatbench.reports.loading import RecordedRun, by_dataset, refuse_other_variant
from floatbench.reports.marks import method_marks
from floatbench.reports.page.tracks import RecordedTracks
from floatbench.reports.render import render
from floatbench.reports.table import in_order, number
from floatbench.reports.table_parts import TableChoices

SCHEMA_VERSION = 1


class PageRuns:
    """The runs of one page: same protocol, clips and seed; each method belongs to exactly one of them.

    Raises:
        UsageError: several data sets, runs that may not share a column, or two that have the same method.
    """

    def __init__(self, runs: Sequence[RecordedRun]) -> None:
        groups = by_dataset(runs)
        if len(groups) != 1:
            raise UsageError(f"a page shows one data set, not {' and '.join(groups)}", fix="one page for each of them")
        self.runs = list(runs)
        first = self.runs[0]
        for run in self.runs[1:]:
            for variant in sorted({*first.scores.metrics} & {*run.scores.metrics}):
                refuse_other_variant(first, run, variant)
        self.owner: dict[str, RecordedRun] = {}
        for run in self.runs:
            self.owner |= dict.fromkeys(run.systems, run)
        for run in self.runs:
            controls = sorted(run.scores.control_methods(), key=_place_of_control)
            self.owner |= {name: run for name in controls if name not in self.owner}
        self.clips = [clip for clip in first.info.protocol.clips if clip.id in set(first.info.available)]
        self.metrics = {v: record for run in self.runs for v, record in run.scores.metrics.items()}
        self.tracks = {id(run): RecordedTracks(run) for run in self.runs}

    @property
    def methods(self) -> list[str]:
        """Systems first, then controls."""
        return list(self.owner)

    def tracks_of(self, method: str) -> RecordedTracks:
        return self.tracks[id(self.owner[method])]

    def row(self, method: str, clip: str) -> Row:
        """The first replicate's row."""
        return self.owner[method].rows[method, clip, 0]


def _place_of_control(name: str) -> tuple[int, str]:
    return (CONTROLS.index(name) if name in CONTROLS else len(CONTROLS), name)


def ordered_variants(page: PageRuns) -> list[str]:
    """Metric variants as tables order them, those of a group side by side."""
    return [variant for _, members in _groups(page) for variant in members]


def _groups(page: PageRuns) -> list[tuple[str, list[str]]]:
    order = in_order([run.scores for run in page.runs])
    return column_groups({variant: page.metrics[variant].column for variant in order})


def document(page: PageRuns, matrix: dict[str, Any] | None) -> dict[str, Any]:
    """Everything but media and tracks; `matrix` is the response matrix of `floatbench metrics check`."""
    variants, judged = ordered_variants(page), judge(page.runs)
    return {
        "schema": SCHEMA_VERSION,
        "runs": [_run(run) for run in page.runs],
        "metrics": [_metric(page, variant) for variant in variants],
        "groups": [{"name": name, "metrics": [variants.index(v) for v in members]} for name, members in _groups(page)],
        "methods": [_method(page, name) for name in page.methods],
        "clips": [
            {"id": clip.id, "identity": clip.identity, "file": clip.slug, "labels": dict(clip.labels)}
            for clip in page.clips
        ],
        "cells": [[_cell(page, name, variant) for variant in variants] for name in page.methods],
        "places": _places(page, variants, judged),
        "verdicts": _verdicts(page, variants, judged),
        "copies": _copies(page, variants),
        "values": [
            [
                [_short(page.tracks_of(name).value(name, clip.id, variant)) for clip in page.clips]
                for variant in variants
            ]
            for name in page.methods
        ],
        "states": [[_state(page.row(name, clip.id)) for clip in page.clips] for name in page.methods],
        "matrix": matrix,
    }


def _run(run: RecordedRun) -> dict[str, Any]:
    scores = run.scores
    return {
        "name": run.name,
        "label": scores.label,
        "protocol": scores.protocol,
        "protocol_hash": scores.protocol_hash,
        "clips": scores.n_clips,
        "available": scores.n_available,
        "rejected": scores.rejected,
        "seed": scores.seed,
        "replicates": scores.replicates,
        "ranked": scores.ranked,
        "unranked_because": scores.unranked_because,
        "notes": [*scores.notes, *scores.blind_controls.values()],
        "interval_notes": interval_notes(scores.scores),
        "environment": scores.environment,
        "controls": [check.model_dump() for check in scores.controls],
        "licences": [
            {"used_by": item.used_by, "weights": item.weights, "licence": item.licence, "commercial": item.commercial}
            for item in licences(run)
        ],
    }


def _metric(page: PageRuns, variant: str) -> dict[str, Any]:
    record = page.metrics[variant]
    return {
        "id": variant,
        "column": record.column,
        "higher": record.higher_is_better,
        "level": record.level,
        "tiny": record.tiny,
        "backbones": record.backbones,
        "weights": record.weights,
        "licences": record.licences,
        "fabricated": record.fabricated,
    }


def _method(page: PageRuns, name: str) -> dict[str, Any]:
    run = page.owner[name]
    rows = [row for row in run.rows.values() if row.method == name and row.replicate == 0]
    return {
        "name": name,
        "control": run.scores.is_control(name),
        "run": page.runs.index(run),
        "described": run.scores.methods[name],
        "marks": method_marks(run.scores.methods[name]),
        "failed": sum(row.status == "failed" for row in rows),
    }


def _cell(page: PageRuns, method: str, variant: str) -> dict[str, Any] | None:
    cell: ScoreRow | None = page.owner[method].cell(method, variant)
    if cell is None:
        return None
    kept = cell.model_dump(exclude={"method", "metric", "column", "details", "folds", "common_folds"})
    found = {name: value for name, value in kept.items() if value not in (None, "", [], {})}
    interval, spread = cell.interval or {}, cell.replicate_spread
    reach = f"± {number(spread)}" if spread else ""
    if interval:
        reach = f"[{number(interval['low'])}, {number(interval['high'])}]"
    return found | {"value": cell.value, "shown": "none" if cell.value is None else number(cell.value), "range": reach}


def _verdicts(page: PageRuns, variants: Sequence[str], judged: Comparisons) -> list[list[dict[str, Any]]]:
    """For each metric what `floatbench compare` says of each two systems, by their places in `methods`."""

    def one(verdict: Verdict) -> dict[str, Any]:
        found = {"a": page.methods.index(verdict.a), "b": page.methods.index(verdict.b), "word": verdict.word}
        if verdict.p is None:
            return found | {"why": verdict.why}
        both = {"difference": shown_difference(verdict), "reversed": shown_difference(verdict, -1)}
        return found | both | {"p": shown_p(verdict)}

    return [[one(verdict) for verdict in judged.verdicts if verdict.metric == variant] for variant in variants]


def _copies(page: PageRuns, variants: Sequence[str]) -> dict[str, str]:
    """The table as `floatbench report` writes it, to be copied: the systems, or the controls where there are none."""
    systems = any(run.systems for run in page.runs)
    table = build_table(None, page.runs, variants, TableChoices(controls=not systems))
    return {"LaTeX": render(table, "latex"), "CSV": render(table, "csv")}


def _places(page: PageRuns, variants: Sequence[str], judged: Comparisons) -> list[list[dict[str, Any] | None]]:
    """The place of every ranked system under every metric, by the paired test; None for all others."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for variant in variants:
        ranked = [name for name in page.methods if _ranked(page, name, variant)]
        found |= {(name, variant): asdict(place) for name, place in judged.places(variant, ranked).items()}
    return [[found.get((name, variant)) for variant in variants] for name in page.methods]


def _ranked(page: PageRuns, name: str, variant: str) -> bool:
    scores, cell = page.owner[name].scores, page.owner[name].cell(name, variant)
    allowed = scores.ranked and scores.methods[name].get("ranked", True) and not scores.is_control(name)
    return allowed and cell is not None and not cell.void and cell.value is not None


def _state(row: Row) -> str:
    """Empty for a clip that was measured, else why it failed."""
    return "" if row.status == "ok" else f"{row.reason}: {row.detail}"


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def read_matrix(path: Path) -> dict[str, Any]:
    """The response matrix that `floatbench metrics check` wrote, without what the page does not show.

    Raises:
        DataError: no such file, or another kind of file.
    """
    fix = "floatbench metrics check --out DIR, then --matrix DIR/matrix.json"
    try:
        found = json.loads(path.read_bytes())
        responses = [
            {name: item[name] for name in ("metric", "damage", "share", "direction", "monotonicity", "clean", "scores",
                                           "strengths")}
            for item in found["responses"]
        ]  # fmt: skip
        kept = {name: found[name] for name in ("protocol", "clips", "frames")}
        shifts = [{"metric": s["metric"], "largest_error": s["largest_error"]} for s in found.get("shifts", ())]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", fix=fix) from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is no response matrix", fix=fix) from None
    return {**kept, "responses": responses, "shifts": shifts}
