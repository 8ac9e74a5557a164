"""Joins partial runs of one protocol, made anywhere, into one run folder and scores it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from floatbench.engine.features import FeatureStore
from floatbench.engine.framing import joined_framing
from floatbench.engine.plan import Plan
from floatbench.engine.records import Row, RowFile, RunInfo, kind_of
from floatbench.engine.runner import RunResult, score_run
from floatbench.errors import DataError, UsageError
from floatbench.metrics import registry
from floatbench.progress import NullProgress, Progress
from floatbench.records import read_record, write_record

Rows = dict[tuple[str, str, int], Row]


def merge(runs: Sequence[Path], out: Path, progress: Progress | None = None) -> RunResult:
    """Merges run folders with the same protocol hash, seed and replicates; needs no weights, media or cache.

    Args:
        runs: finished or unfinished run folders; each row may be in several of them if it is the same.
        out: a new folder.

    Raises:
        UsageError: other protocol, seed or weights, contradicting rows, or `out` is in use.
        DataError: a folder is no run or lacks a feature file.
    """
    if len(runs) < 2:
        raise UsageError("merge needs at least two run folders", fix="floatbench merge RUN_A RUN_B --out RUN")
    if (out / "run.json").exists():
        raise UsageError(f"{out} is a run already", fix="choose a new folder with --out")
    infos = [read_record(folder / "run.json", RunInfo) for folder in runs]
    info = _join_infos(runs, infos)
    rows = _join_rows(runs)
    for folder, own in zip(runs, [RowFile(folder / "rows.jsonl").read() for folder in runs], strict=True):
        _take_files(folder, own, out)
    out.mkdir(parents=True, exist_ok=True)
    plan = plan_of(info)
    _check_features(plan, rows, FeatureStore(out, None))
    row_file = RowFile(out / "rows.jsonl")
    for key in sorted(rows):
        row_file.append(rows[key])
    write_record(out / "run.json", info)
    scores = score_run(out, plan, info, rows, progress or NullProgress())
    return RunResult(out, scores, rows, len(rows))


def plan_of(info: RunInfo) -> Plan:
    """The plan of a recorded run, for scoring without its data set and weights."""
    protocol = info.protocol
    chosen = set(info.subset) if info.subset is not None else {clip.id for clip in protocol.clips}
    clips = [clip for clip in protocol.clips if clip.id in chosen]
    available = set(info.available)
    return Plan(
        protocol=protocol,
        clips=tuple(clips),
        subset=info.subset,
        available=tuple(clip for clip in clips if clip.id in available),
        methods=info.methods,
        metrics={name: registry.metric(name, **protocol.settings.get(name, {})) for name in info.metrics},
        fingerprints={name: digest for record in info.metrics.values() for name, digest in record.backbones.items()},
        replicates=info.replicates,
        rejected=info.rejected,
    )


def _join_infos(runs: Sequence[Path], infos: Sequence[RunInfo]) -> RunInfo:
    first = infos[0]
    for folder, info in zip(runs, infos, strict=True):
        for name in ("protocol_hash", "seed", "replicates"):
            if getattr(info, name) != getattr(first, name):
                raise UsageError(f"{folder} has another {name.replace('_', ' ')} than {runs[0]}")
        for variant, record in info.metrics.items():
            known = first.metrics.get(variant, record)
            if known.backbones != record.backbones:
                raise UsageError(
                    f"{folder} scored {variant} with other weights, settings, code, libraries or device than {runs[0]}",
                    fix=f"floatbench explain {runs[0]} {folder} names them; the older one's command again mends it",
                )
    _refuse_two_of_one_name(runs, infos)
    every = {clip.id for clip in first.protocol.clips}
    covered = {clip for info in infos for clip in (every if info.subset is None else info.subset)}
    available = {clip for info in infos for clip in info.available}
    shared = set.intersection(*[set(info.metrics) for info in infos])
    if not shared:
        raise UsageError("the runs have no metric in common", fix="run them with the same --metrics")
    return first.model_copy(
        update={
            "subset": None if covered == every else [clip.id for clip in first.protocol.clips if clip.id in covered],
            "available": [clip.id for clip in first.protocol.clips if clip.id in available],
            "rejected": {clip: why for info in infos for clip, why in info.rejected.items() if clip not in available},
            "methods": {name: described for info in infos for name, described in info.methods.items()},
            "metrics": {name: record for name, record in first.metrics.items() if name in shared},
            "framing": joined_framing([info.framing for info in infos]),
            "environments": {name: one for info in infos for name, one in info.all_environments().items()},
            "parts": [],
        }
    )


def _refuse_two_of_one_name(runs: Sequence[Path], infos: Sequence[RunInfo]) -> None:
    """Finished videos without a name of their own are told apart by their folder, other methods by their kind."""
    first: dict[str, tuple[Path, tuple[Any, Any]]] = {}
    for folder, info in zip(runs, infos, strict=True):
        for name, record in info.methods.items():
            mine = (kind_of(record), record.get("place"))
            origin, known = first.setdefault(name, (folder, mine))
            if mine[0] != known[0] or (None not in (mine[1], known[1]) and mine[1] != known[1]):
                raise UsageError(
                    f"{origin} and {folder} each have a system {name!r}, and they are not known to be one",
                    fix="run them again as videos:DIR as NAME: one name where they are one, else two",
                )


def _join_rows(runs: Sequence[Path]) -> Rows:
    rows: Rows = {}
    made_with: dict[str, str] = {}
    for folder in runs:
        for key, row in RowFile(folder / "rows.jsonl").read().items():
            if row.status == "ok" and made_with.setdefault(row.method, row.method_key) != row.method_key:
                raise UsageError(f"{folder} ran {row.method} with other weights or another adapter than an earlier run")
            known = rows.get(key)
            if known is not None and known.status == row.status == "ok" and known.pixels_sha256 != row.pixels_sha256:
                raise UsageError(f"{folder}: {row.method} made another video of {row.clip} than an earlier run")
            if known is None or known.status == "failed":
                rows[key] = row
    return rows


def _kept(row: Row) -> list[str]:
    """Files of the run folder that belong to a row."""
    return [name for name in (row.video, row.sound, row.details.get("original", "")) if name]


def _take_files(folder: Path, rows: Rows, out: Path) -> None:
    """Hard-links (or copies) features, videos and sounds of one run."""
    keys = {key for row in rows.values() for side in row.features.values() for key in side.values()}
    source, target = FeatureStore(folder, None), FeatureStore(out, None)
    pairs = [(source.path(key), target.path(key)) for key in sorted(keys)]
    pairs += [(folder / name, out / name) for row in rows.values() for name in _kept(row)]
    for old, new in pairs:
        if new.exists() or not old.exists():
            continue
        new.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(old, new)
        except OSError:
            shutil.copyfile(old, new)


def _check_features(plan: Plan, rows: Rows, store: FeatureStore) -> None:
    for row in rows.values():
        for metric in plan.metrics.values():
            for side in metric.info.sides if row.status == "ok" else ():
                for backbone in metric.info.backbones:
                    key = row.features.get(side, {}).get(backbone)
                    if key is None or not store.has(key):
                        raise DataError(
                            f"{row.method} {row.clip}: the {backbone} features are missing from its run folder",
                            fix="run that part again, then merge",
                        )
