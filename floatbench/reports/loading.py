"""Reads finished run folders for reports, and refuses what is still running, half done or not comparable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from floatbench.engine.records import Row, RowFile, RunInfo, ScoreFile, ScoreRow
from floatbench.errors import DataError, UsageError
from floatbench.methods.evaluations import evaluations_a_window
from floatbench.records import read_record

Key = tuple[str, str, int]


@dataclass(frozen=True)
class RecordedRun:
    """The records of one finished run folder."""

    folder: Path
    info: RunInfo
    scores: ScoreFile
    rows: dict[Key, Row]

    @property
    def name(self) -> str:
        """The folder's name, as people know the run."""
        return self.folder.resolve().name

    @property
    def dataset(self) -> str:
        return self.info.protocol.dataset

    @property
    def systems(self) -> list[str]:
        """Methods that are no control, in the order they were run."""
        return self.scores.systems()

    def evaluations(self, method: str) -> list[float]:
        """Network evaluations a window of each clip of a method that counted them."""
        rows = [row for row in self.rows.values() if row.method == method and row.status == "ok"]
        described = self.scores.methods.get(method, {})
        found = (evaluations_a_window(row.details, described, row.n_frames) for row in rows)
        return [value for value in found if value is not None]

    def cell(self, method: str, metric: str) -> ScoreRow | None:
        """One cell of the table, or None when it was not scored."""
        return next((c for c in self.scores.scores if (c.method, c.metric) == (method, metric)), None)


def load_run(folder: Path) -> RecordedRun:
    """Reads a finished run.

    Raises:
        DataError: no run folder, a run that is going on, or one that has not finished.
        UsageError: a record of a newer schema.
    """
    info = read_record(folder / "run.json", RunInfo)
    if _running(folder):
        raise DataError(f"{folder}: the run is still going on", fix="wait for it to end")
    if not (folder / "scores.json").exists():
        raise DataError(f"{folder}: the run has not finished, there are no scores", fix="run the same command again")
    scores = read_record(folder / "scores.json", ScoreFile)
    if scores.protocol_hash != info.protocol_hash:
        raise DataError(f"{folder}: scores.json belongs to another protocol than run.json", fix="run it again")
    rows = RowFile(folder / "rows.jsonl").read()
    wanted = [(m, c, r) for m in scores.methods for c in info.available for r in range(info.replicates)]
    open_rows = sum(key not in rows for key in wanted)
    if open_rows:
        raise DataError(
            f"{folder}: half a run, {open_rows} of {len(wanted)} rows are missing", fix="run the same command again"
        )
    return RecordedRun(folder, info, scores, rows)


def _running(folder: Path) -> bool:
    """True when another process holds the run's lock; a folder without a lock file was moved here or is read-only."""
    if not (folder / ".lock").exists():
        return False
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False  # a read-only folder has no writer
    lock.release()
    return False


def by_dataset(runs: Sequence[RecordedRun]) -> dict[str, list[RecordedRun]]:
    """Groups runs by data set, `hdtf` and `ravdess` first, and checks that the runs of one group fit together."""
    groups: dict[str, list[RecordedRun]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    for group in groups.values():
        for run in group[1:]:
            refuse_unequal(group[0], run)
        _refuse_clashes(group)
    order = ("hdtf", "ravdess")
    return dict(sorted(groups.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def refuse_unequal(first: RecordedRun, second: RecordedRun) -> None:
    """UsageError naming both runs when their numbers may not stand in one column."""
    names = f"{first.folder} and {second.folder} cannot share a column"
    if first.info.protocol_hash != second.info.protocol_hash:
        raise UsageError(
            f"{names}: protocol {first.scores.label} against {second.scores.label}", fix="run both with one protocol"
        )
    if set(first.info.available) != set(second.info.available):
        raise UsageError(
            f"{names}: other clips ({first.scores.n_available} against {second.scores.n_available})",
            fix="run both on the same clips",
        )
    if first.info.replicates != second.info.replicates:
        raise UsageError(f"{names}: {first.info.replicates} against {second.info.replicates} replicates")
    if first.info.seed != second.info.seed:
        raise UsageError(f"{names}: run seed {first.info.seed} against {second.info.seed}")


def _refuse_clashes(group: Sequence[RecordedRun]) -> None:
    owner: dict[str, RecordedRun] = {}
    for run in group:
        for method in run.systems:
            if method in owner:
                raise UsageError(
                    f"{owner[method].folder} and {run.folder} both have the method {method}",
                    fix=f"floatbench merge {owner[method].folder} {run.folder} --out RUN",
                )
            owner[method] = run


def refuse_other_variant(first: RecordedRun, second: RecordedRun, variant: str) -> None:
    """UsageError when two runs made one variant with other backbones, weights, or unequal coverage of its clips."""
    a, b = first.scores.metrics[variant], second.scores.metrics[variant]
    names = f"{first.folder} and {second.folder} cannot share the column {variant}"
    if a.backbones != b.backbones or a.weights != b.weights:
        raise UsageError(
            f"{names}: made with other weights, settings, code, libraries or device",
            fix="floatbench explain shows which",
        )
    if first.dataset != second.dataset:
        return
    failed = [_failed(run, variant) for run in (first, second)]
    if failed[0] != failed[1]:
        raise UsageError(
            f"{names}: other coverage ({len(failed[0])} against {len(failed[1])} failed clips)",
            fix=f"floatbench merge {first.folder} {second.folder} --out RUN  (it scores the common clips)",
        )


def _failed(run: RecordedRun, variant: str) -> set[str]:
    cells = [cell for method in run.systems if (cell := run.cell(method, variant))]
    return {clip for cell in cells for clip in cell.failures}
