"""The run: plan, generate, extract, reduce; a folder that can be killed at any moment and continued."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from floatbench.data.dataset import Dataset
from floatbench.device import pick_device
from floatbench.engine import older_runs
from floatbench.engine.answers import first_use
from floatbench.engine.control_rules import check_controls
from floatbench.engine.environment import environment
from floatbench.engine.executor import Executor, InlineExecutor, LocalExecutor
from floatbench.engine.features import FeatureStore, shared_cache
from floatbench.engine.framing import check_crop, check_framing, refuse_other_framing
from floatbench.engine.inputs import refuse_own_outputs
from floatbench.engine.job import JobSettings
from floatbench.engine.keeping import refuse_lost_pictures
from floatbench.engine.local_folders import remember
from floatbench.engine.matching import say_what_matches_nothing
from floatbench.engine.missing import Unavailable, fix_of, things_of
from floatbench.engine.plan import Plan, choose_clips, make_plan, remaining_jobs
from floatbench.engine.records import Row, RowFile, RunInfo, ScoreFile, environment_id, kind_of
from floatbench.engine.reduction import Reducer, kept_scores
from floatbench.engine.rejections import say_rejections
from floatbench.engine.run_notes import run_notes
from floatbench.engine.same_film import blind_controls
from floatbench.engine.scoring import clip_values, metric_record, score_all, unranked_because
from floatbench.engine.worker_memory import chosen_workers, default_workers, keep_peak, share_of_clips
from floatbench.errors import DataError, DependencyError, FloatbenchError, Interrupted, UsageError
from floatbench.files import atomic_path
from floatbench.methods import catalogue
from floatbench.methods.controls import CONTROLS
from floatbench.methods.method import Method
from floatbench.methods.videos import VideosMethod, declared
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.protocol import Protocol
from floatbench.records import read_record, write_record


@dataclass(frozen=True)
class RunOptions:
    """What a user chooses about a run beside the protocol; defaults are those of `floatbench run`."""

    methods: Sequence[str | Method] = ()
    strip_suffixes: Sequence[str] = ()  # of finished videos
    metrics: Sequence[str] | None = None  # None: the protocol's own
    controls: bool = True
    limit: int | None = None
    clips: Sequence[str] | None = None
    out: Path | None = None
    workers: int | None = None  # None: as many as the machine carries; 0: in this process
    threads: int = 1
    executor: str = "local"
    address: str = "auto"
    device: str = "auto"
    replicates: int = 1
    seed: int | None = None  # None: the protocol's seed
    timeout: float | None = None
    skip_unavailable: bool = False
    skip_rejected: bool = False  # go on though most clips were refused
    retry_failed: bool = False
    keep_videos: bool = True
    crop_videos: str = "none"  # what is done to finished videos before they are scored
    trained_with: Mapping[str, Sequence[str]] = field(default_factory=dict)  # finished videos -> networks that taught
    dubbed: Sequence[str] = ()  # finished videos whose system was given the protocol's source video
    any_framing: bool = False  # finished videos are scored though they are framed differently from the reference

    def folder_of(self, protocol: Protocol) -> Path:
        """Where its run lies or will lie."""
        return self.out or default_folder(protocol, self)

    def all_methods(self) -> list[Method]:
        """The methods and, unless switched off, the controls; finished videos cropped. UsageError: unknown names."""
        named = [*self.methods, *(CONTROLS if self.controls else ())]
        chosen = declared(catalogue.resolve(named, self.strip_suffixes), self.trained_with, self.dubbed)
        if self.crop_videos == "none":
            return chosen
        return [method.cropped(self.crop_videos) if isinstance(method, VideosMethod) else method for method in chosen]


@dataclass
class RunResult:
    """A finished run: its folder, its scores and how much was new."""

    folder: Path
    scores: ScoreFile
    rows: dict[tuple[str, str, int], Row]
    new_rows: int
    skipped: list[str] = field(default_factory=list)

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows.values() if row.status == "failed"]

    @property
    def complete(self) -> bool:
        """True when no clip was rejected or failed in any metric and no score is void."""
        failed = self.failed or self.scores.rejected
        return not failed and not any(cell.void or cell.failures for cell in self.scores.scores)


def default_folder(protocol: Protocol, options: RunOptions) -> Path:
    """`runs/<protocol>-<hash>` with the subset in the name, so that the same command finds its folder again."""
    parts = [protocol.id, protocol.hash[:8]]
    if options.limit is not None:
        parts.append(f"limit{options.limit}")
    if options.clips:
        parts.append("clips" + hashlib.sha256("\n".join(sorted(options.clips)).encode()).hexdigest()[:6])
    if options.replicates != 1:
        parts.append(f"x{options.replicates}")
    if options.seed is not None:
        parts.append(f"seed{options.seed}")
    return Path("runs") / "-".join(parts)


def plan_run(protocol: Protocol, dataset: Dataset, options: RunOptions) -> Plan:
    """The plan without running anything; missing data and weights are listed in it."""
    protocol, dataset = older_runs.as_begun(protocol, dataset, options.folder_of)
    check_crop(protocol, options.crop_videos)
    return make_plan(
        protocol,
        dataset,
        older_runs.as_named(options.folder_of(protocol), options.all_methods()),
        options.metrics,
        options.limit,
        options.clips,
        options.replicates,
        pick_device(options.device),
    )


def run(protocol: Protocol, dataset: Dataset, options: RunOptions, progress: Progress | None = None) -> RunResult:
    """Runs what is not done yet and scores everything that is.

    Raises UsageError (unknown names, foreign run folder), DataError (missing data or weights, unless
    `skip_unavailable`; most clips refused, unless `skip_rejected`), DependencyError (disk, device, a run going on),
    Interrupted.
    """
    progress = progress or NullProgress()
    protocol, dataset = older_runs.as_begun(protocol, dataset, options.folder_of)
    device = pick_device(options.device)
    check_crop(protocol, options.crop_videos)
    chosen, _ = choose_clips(protocol, options.limit, options.clips)
    say_what_matches_nothing(options.all_methods(), protocol, chosen, progress, options.skip_unavailable)
    if dataset.auto_prepare:
        if not options.skip_unavailable and (missing := plan_run(protocol, dataset, options).missing):
            raise Unavailable(missing, protocol)  # before the work that would come first
        dataset.prepare(progress, default_workers("cpu") if options.workers is None else max(1, options.workers))
    plan = plan_run(protocol, dataset, options)
    if plan.missing and not options.skip_unavailable:
        raise Unavailable(plan.missing, protocol)
    if plan.missing:
        names = ", ".join(thing.name for thing in things_of(plan.missing))
        left_out = ", ".join(plan.skipped) or "clips"
        progress.note(f"left out: {left_out} (missing: {names}; {fix_of(plan.missing, protocol)})")
    first_use((name for backbone in plan.backbones.values() for name in backbone.weights), progress.note)
    if not plan.metrics or not plan.methods:
        raise DataError("nothing can be scored: every metric or method is unavailable", fix="floatbench doctor")
    folder = options.folder_of(protocol)
    refuse_own_outputs(folder, protocol, plan.resolved.values())
    if not options.keep_videos:
        refuse_lost_pictures(plan.resolved, plan.methods)
    record = folder / "run.json"
    accepted = read_record(record, RunInfo).rejected if record.exists() else {}
    say_rejections(plan, accepted, options.skip_rejected, progress)
    with _locked(folder):
        info = _open(folder, plan, options)
        remember(folder, plan.protocol, plan.resolved.values())
        rows, new_rows = _execute(folder, plan, dataset, info, options, progress)
        workers = default_workers("cpu") if options.workers is None else options.workers
        scores = score_run(folder, plan, info, rows, progress, None if new_rows else environment(device), workers)
    return RunResult(folder, scores, rows, new_rows, plan.skipped)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Refuses a second floatbench in the same run folder, and a folder that cannot be written."""
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise DependencyError(f"another floatbench is running in {folder}", fix="wait for it to end") from None
    except OSError as error:
        raise DependencyError(f"{folder} cannot be written: {error.strerror}", fix="choose another --out") from None
    try:
        yield
    finally:
        lock.release()


def _open(folder: Path, plan: Plan, options: RunOptions) -> RunInfo:
    """Starts the run folder, or checks that it belongs to this protocol, seed and subset."""
    seed = plan.protocol.seed if options.seed is None else options.seed
    path = folder / "run.json"
    info = RunInfo(
        protocol=plan.protocol.model_copy(update={"root": ""}),  # where the data lie is nobody's business
        protocol_hash=plan.protocol.hash,
        seed=seed,
        replicates=plan.replicates,
        subset=plan.subset,
    )
    if path.exists():
        before = read_record(path, RunInfo)
        for name in ("protocol_hash", "seed", "replicates", "subset"):
            if getattr(before, name) != getattr(info, name):
                raise UsageError(
                    f"{folder} holds a run with another {name.replace('_', ' ')}",
                    fix="choose another folder with --out",
                )
        _refuse_other_kind(folder, before, plan)
        info.methods, info.metrics = before.methods, before.metrics
        info.environment, info.environments = before.environment, before.all_environments()
        info.framing = before.framing
    info.available = [clip.id for clip in plan.available]
    info.rejected = plan.rejected
    info.methods |= plan.methods
    info.metrics |= {name: metric_record(metric, plan) for name, metric in plan.metrics.items()}
    shutil.rmtree(folder / "tmp", ignore_errors=True)  # scratch of a killed call
    return info


def _refuse_other_kind(folder: Path, before: RunInfo, plan: Plan) -> None:
    for name in before.methods.keys() & plan.methods.keys():
        if kind_of(before.methods[name]) != kind_of(plan.methods[name]):
            what = f"{folder} has another method called {name!r}"
            raise UsageError(what, fix="give it another name, or choose another folder with --out")


def _execute(
    folder: Path, plan: Plan, dataset: Dataset, info: RunInfo, options: RunOptions, progress: Progress
) -> tuple[dict[tuple[str, str, int], Row], int]:
    """Runs the open jobs, writing each row as it comes; returns all rows and how many are new.

    The record of the run names this call's environment only where it has something to do.
    """
    cache = shared_cache()
    store = FeatureStore(folder, cache)
    row_file = RowFile(folder / "rows.jsonl")
    row_file.repair()
    rows = row_file.read()
    jobs = remaining_jobs(plan, rows, store, options.retry_failed)
    begun = {item.method for job in jobs for item in job.items}
    done = {name: framing for name, framing in info.framing.items() if name not in begun}
    info.framing |= check_framing(plan.resolved, plan.available, dataset, done)
    if not options.any_framing:
        mine = {name: framing for name, framing in info.framing.items() if name in plan.methods}
        refuse_other_framing(mine, plan.protocol, options.crop_videos)
    if jobs or not info.environment:
        info.environment = environment(plan.device)
        info.environments = {**info.environments, environment_id(info.environment): info.environment}
    write_record(folder / "run.json", info)
    if not jobs:
        return rows, 0
    workers = _worker_count(plan, options, progress)
    settings = JobSettings(
        dataset=dataset,
        run=folder,
        cache=cache,
        seed=info.seed,
        methods=plan.resolved,
        backbones=plan.fingerprints,
        sides={name: tuple(sides) for name, sides in plan.sides.items()},
        device=plan.device,
        made_by=environment_id(info.environment),
        keep_videos=options.keep_videos,
        clips_per_worker=share_of_clips(len(plan.available) * plan.replicates, workers),
    )
    before = len(rows)
    total = sum(len(job.items) for job in jobs)
    made = 0
    with progress.task("clips x methods", total) as task:

        def on_row(row: Row) -> None:
            nonlocal made
            row_file.append(row)
            rows[row.key] = row
            made += 1
            task.advance(note=f"{row.method} {row.clip}" + (f" FAILED {row.reason}" if row.status == "failed" else ""))

        executor = _executor(options, workers, settings)
        try:
            executor.run(settings, jobs, on_row)
        except KeyboardInterrupt:
            raise Interrupted(
                f"interrupted after {before + made} rows; everything finished is in {folder}",
                fix="run the same command again to continue",
            ) from None
        finally:
            if isinstance(executor, LocalExecutor):
                keep_peak(plan, executor.peak)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    return rows, made


def _worker_count(plan: Plan, options: RunOptions, progress: Progress) -> int:
    if options.executor == "ray":  # a cluster has as many as it has
        return options.workers or 1
    return chosen_workers(plan, options.workers, progress.note)


def _executor(options: RunOptions, workers: int, settings: JobSettings) -> Executor:
    if options.executor == "ray":
        from floatbench.engine.ray_executor import RayExecutor

        return RayExecutor(options.address, options.workers or 0, options.threads, options.timeout)
    if options.executor != "local":
        raise UsageError(f"unknown executor {options.executor!r}", fix="--executor local|ray")
    if workers == 0:
        return InlineExecutor()
    for method in settings.methods.values():
        _check_portable(method)
    return LocalExecutor(workers, options.threads, options.timeout)


def _check_portable(method: Method) -> None:
    """A method is made once and handed to the worker processes before it is loaded."""
    try:
        pickle.dumps(method)
    except Exception as error:  # whatever a foreign object raises, it cannot travel
        what = f"method {method.name} cannot be handed to worker processes: {error}"
        raise UsageError(what, fix="keep it picklable until load(), or run with --workers 0") from error


def score_run(
    folder: Path,
    plan: Plan,
    info: RunInfo,
    rows: dict[tuple[str, str, int], Row],
    progress: Progress,
    scoring: dict[str, Any] | None = None,
    workers: int = 0,
) -> ScoreFile:
    """Reduces the features of a run folder and writes scores.json and the Parquet tables.

    Args:
        scoring: the environment of a call that made no row; it is named only where it gives other scores.
        workers: processes that reduce; 0: this one.
    """
    store = FeatureStore(folder, None)
    reducer = Reducer(store, kept_scores(), workers)
    with progress.task("scores", len(plan.methods) * len(plan.metrics), unit="score") as task:
        cells = score_all(plan, rows, store, lambda note: task.advance(note=note), reducer)
    records = {name: info.metrics[name] for name in plan.metrics}
    descriptions, notes = run_notes(info, plan.available, list(plan.methods), rows)
    reasons = unranked_because(plan, list(records.values()), descriptions, rows)
    blind = blind_controls(rows)
    scores = ScoreFile(
        protocol=plan.protocol.id,
        protocol_hash=plan.protocol.hash,
        label=plan.protocol.label,
        n_clips=len(plan.protocol.clips),
        n_run=len(plan.clips),
        n_available=len(plan.available),
        rejected=plan.rejected,
        ranked=not reasons,
        unranked_because=reasons,
        seed=info.seed,
        replicates=info.replicates,
        methods=descriptions,
        metrics=records,
        scores=cells,
        controls=check_controls(records, cells, blind),
        notes=notes,
        blind_controls=blind,
        environment=_named_environments(scoring or info.environment, info),
    )
    write_parquet(folder, plan, rows, store)
    kept = _unchanged(folder / "scores.json", scores) if scoring else None
    if kept is None:
        write_record(folder / "scores.json", scores)
    return kept or scores


def _named_environments(scoring: dict[str, Any], info: RunInfo) -> dict[str, Any]:
    """What scored, and as `parts` everything that made rows where that is not the same."""
    made = list(info.all_environments().values())
    return scoring if made in ([], [scoring]) else scoring | {"parts": made}


def _unchanged(path: Path, scores: ScoreFile) -> ScoreFile | None:
    """The scores that are written already, where they are the same but for the environment; else None."""
    try:
        before = read_record(path, ScoreFile)
    except FloatbenchError:
        return None
    same = before.model_dump(exclude={"environment"}) == scores.model_dump(exclude={"environment"})
    return before if same else None


def write_parquet(folder: Path, plan: Plan, rows: dict[tuple[str, str, int], Row], store: FeatureStore) -> None:
    """rows.parquet, clip_values.parquet and tracks.parquet: the run as flat tables for pandas or DuckDB."""
    import pandas as pd

    values, tracks = clip_values(plan, rows, store)
    flat = [_flat(rows[key]) for key in sorted(rows)]
    for name, records in (("rows", flat), ("clip_values", values), ("tracks", tracks)):
        frame = pd.DataFrame.from_records(records)
        with atomic_path(folder / f"{name}.parquet") as partial:
            frame.to_parquet(partial, index=False)


def _flat(row: Row) -> dict[str, Any]:
    """A row without nested objects: timings become `seconds_<stage>`, details one JSON text."""
    record = row.model_dump(mode="json", exclude={"features", "fingerprints", "timing", "details"})
    record |= {f"seconds_{stage}": seconds for stage, seconds in row.timing.items()}
    record["details"] = json.dumps(row.details, sort_keys=True)
    return record
