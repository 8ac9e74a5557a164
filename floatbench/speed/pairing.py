"""Ties a speed row to the run that scored the same configuration: speed without quality is not a result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatbench.engine.records import RunInfo, ScoreFile, kind_of
from floatbench.files import file_sha256
from floatbench.records import read_record
from floatbench.sampling.choices import canonical_name
from floatbench.speed.record import Quality, SpeedRow, plain


@dataclass(frozen=True)
class FinishedRun:
    """A run folder whose scores are written."""

    folder: Path
    info: RunInfo
    scores: ScoreFile


def finished_run(folder: Path) -> FinishedRun:
    """Reads the records of a run; raises DataError for a folder that is no run, or one that has not finished."""
    return FinishedRun(
        folder, read_record(folder / "run.json", RunInfo), read_record(folder / "scores.json", ScoreFile)
    )


def pair(rows: list[SpeedRow], run: FinishedRun | None) -> None:
    """Fills in `quality`, or `unpaired_because`, of every measured row.

    A row and a run belong together when the run scored a method of that name, however its choices are ordered, whose
    description (settings, weights, versions) is the same, and neither used fabricated weights.
    """
    for row in rows:
        if row.status != "ok":
            continue
        if run is None:
            row.unpaired_because = "no --run was given"
            continue
        row.method = _as_scored(row.method, run.info.methods)
        row.unpaired_because = _difference(row, run.info.methods) or _unscored(row, run.scores)
        if not row.unpaired_because:
            row.quality = _quality(row, run)


def _as_scored(name: str, known: dict[str, dict[str, Any]]) -> str:
    """The name under which a run has a method: older runs wrote its choices in the order they were typed."""
    return name if name in known else next((other for other in known if canonical_name(other) == name), name)


def _difference(row: SpeedRow, known: dict[str, dict[str, Any]]) -> str:
    """What keeps the row's configuration from being the run's; empty when nothing does."""
    if row.fabricated:
        return f"made with fabricated weights: {', '.join(row.fabricated)}"
    if row.method not in known:
        return f"the run has no method {row.method}"
    there = {**plain(known[row.method]), "kind": kind_of(known[row.method])}  # the first version's runs kept none
    here = {"kind": there["kind"], **row.configuration}
    changed = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
    return f"the run used another configuration: {', '.join(changed)}" if changed else ""


def _valid(row: SpeedRow, scores: ScoreFile) -> list[Any]:
    real = {name for name, metric in scores.metrics.items() if not metric.fabricated}
    return [
        s for s in scores.scores if s.method == row.method and s.metric in real and s.value is not None and not s.void
    ]


def _unscored(row: SpeedRow, scores: ScoreFile) -> str:
    return "" if _valid(row, scores) else "the run has no valid score of it"


def _quality(row: SpeedRow, run: FinishedRun) -> Quality:
    valid = _valid(row, run.scores)
    return Quality(
        run=run.folder.resolve().name,
        run_sha256=file_sha256(run.folder / "run.json"),
        label=run.scores.label,
        protocol_hash=run.info.protocol_hash,
        ranked=run.scores.ranked,
        scores={score.metric: score.value for score in valid},
        n={score.metric: score.n for score in valid},
    )
