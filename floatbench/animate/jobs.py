"""Generating one video or a table of them: what `floatbench generate` runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from floatbench.animate.pipeline import FLOAT, Video
from floatbench.errors import ClipError, DataError, FloatbenchError, UsageError
from floatbench.media import probe, read_audio
from floatbench.media.backends import box_backend
from floatbench.media.boxes import BoxBackend
from floatbench.progress import Progress
from floatbench.sampling.animator import Direction, Dtype
from floatbench.sampling.clock import StageClock
from floatbench.sampling.control import Control, check_controls, parse_emotion
from floatbench.sampling.options import SamplingOptions

COLUMNS = ("image", "audio", "out", "seed", "emotion")


@dataclass(frozen=True)
class Job:
    """One video to make; empty seed and emotion take those of the plan."""

    image: Path
    audio: Path
    out: Path
    seed: int | None = None
    emotion: str = ""


@dataclass(frozen=True)
class Plan:
    """What all jobs of a call share; see the options of `floatbench generate`."""

    options: SamplingOptions
    weights: str = "float"
    device: str = "cpu"
    dtype: str = "float32"
    impl: str = "fast"
    compile: bool = False
    preset: str = "default"
    crop: str = "s3fd"
    boxes: Path | None = None
    emotion: str = "speech"
    seed: int = 0
    project: bool = False
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a video, nothing (it was already made with these settings), or an error."""

    out: Path
    video: Video | None = None
    error: str = ""
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """JSON types."""
        if self.error:
            return {"path": str(self.out), "state": "failed", "error": self.error}
        if self.video is None:
            return {"path": str(self.out), "state": "unchanged"}
        return {"state": "made"} | self.video.record()


def single(image: Path | None, audio: Path | None, out: Path) -> Job:
    """The job of a call without a table."""
    if image is None or audio is None:
        raise UsageError("--image and --audio are needed, or --jobs", fix="floatbench generate --help")
    return Job(image, audio, out)


def read_jobs(path: Path) -> list[Job]:
    """Reads a table of jobs; relative paths are relative to the table's folder.

    Raises:
        DataError: the file is missing or cannot be read. UsageError: a bad column, row, or an output named twice.
    """
    if not path.is_file():
        raise DataError(f"the job table {path} does not exist", fix="write a CSV file with the columns image,audio,out")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True, skipinitialspace=True)
            columns = reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the job table {path} cannot be read: {error}", fix="save it as UTF-8 CSV") from error
    if missing := [name for name in COLUMNS[:3] if name not in columns]:
        raise UsageError(f"the job table {path} has no column {missing[0]!r}", fix=f"columns: {', '.join(COLUMNS)}")
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise UsageError(
            f"the job table {path} has an unknown column {unknown[0]!r}", fix=f"columns: {', '.join(COLUMNS)}"
        )
    if not rows:
        raise UsageError(f"the job table {path} has no row")
    jobs = [_job(path, number, row) for number, row in enumerate(rows, start=2)]
    seen: set[Path] = set()
    for job in jobs:
        place = job.out.parent.resolve() / job.out.name
        if place in seen:
            raise UsageError(f"the job table {path} names the output {job.out} twice")
        seen.add(place)
    return jobs


def _job(table: Path, number: int, row: dict[str, Any]) -> Job:
    where = f"the job table {table}, line {number}"
    if None in row or any(value is None for value in row.values()):
        raise UsageError(f"{where}: the number of cells differs from the header")
    if empty := [name for name in COLUMNS[:3] if not row[name].strip()]:
        raise UsageError(f"{where}: {empty[0]} is empty")
    seed = (row.get("seed") or "").strip()
    if seed and not (seed.isdecimal() and int(seed) < 2**63):
        raise UsageError(f"{where}: seed {seed!r} is not a whole number from 0 on")
    emotion = (row.get("emotion") or "").strip()
    parse_emotion(emotion)
    image, audio, out = (table.parent / row[name].strip() for name in COLUMNS[:3])
    return Job(image, audio, out, int(seed) if seed else None, emotion)


def run(plan: Plan, jobs: Sequence[Job], progress: Progress, stop_at_first: bool = False) -> list[Outcome]:
    """Makes the videos one after another with one loaded model.

    Args:
        stop_at_first: raise the first error instead of carrying on (a call without a table).

    Raises:
        FloatbenchError: what concerns all jobs: weights, device, options.
    """
    parse_emotion(plan.emotion)
    _check_outputs(jobs, [Path(plan.weights), *([plan.boxes] if plan.boxes else [])])
    model = FLOAT.from_pretrained(
        plan.weights, device=plan.device, dtype=cast(Dtype, plan.dtype), impl=cast(Any, plan.impl), compile=plan.compile
    )
    check_controls(plan.controls, model.network.config.dim_m)
    if model.origin.fabricated:
        progress.note("the weights are random stand-ins: the video shows noise and cannot be scored")
    backend = None if plan.crop == "none" else box_backend(plan.crop, file=plan.boxes, device=plan.device)
    outcomes = []
    for job in jobs:
        try:
            outcomes.append(_make(model, plan, job, backend, progress, resume=not stop_at_first))
        except FloatbenchError as error:
            error = _located(error, job)
            if stop_at_first or error.exit_code in (3, 130):  # a full disk will not be emptier for the next row
                raise error from None
            outcomes.append(Outcome(job.out, error=error.what))
            progress.note(f"{job.out.name}: failed: {error.what}")
    return outcomes


def _check_outputs(jobs: Sequence[Job], shared: Sequence[Path]) -> None:
    """Refuses outputs that cannot be written and those that are an input of any job, under whatever name."""
    inputs = {_identity(path): path for path in (*shared, *(path for job in jobs for path in (job.image, job.audio)))}
    for job in jobs:
        if (given := inputs.get(_identity(job.out))) is not None:
            raise UsageError(f"the output {job.out} is the input {given}", fix="choose another output")
        if job.out.suffix.lower() not in (".mp4", ".mkv"):
            raise UsageError(f"the output must end in .mp4 or .mkv, not {job.out.suffix or job.out.name!r}")
        if job.out.is_dir():
            raise UsageError(f"{job.out} is a folder", fix="choose another output")


def _identity(path: Path) -> object:
    """Equal for two names of one file: links and other spellings; the whole path of what does not exist yet."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino


def _located(error: FloatbenchError, job: Job) -> FloatbenchError:
    """A clip's error as one of its input file, which is damaged or unusable data (exit code 4)."""
    if not isinstance(error, ClipError):
        return error
    return DataError(f"{error.reason}: {error.what} ({job.image.name} with {job.audio.name})")


def _make(model: FLOAT, plan: Plan, job: Job, backend: BoxBackend | None, progress: Progress, resume: bool) -> Outcome:
    options, clock = model.fit(plan.options), StageClock(model.device)
    direction = Direction(job.emotion or plan.emotion, plan.controls, plan.project)
    seed = plan.seed if job.seed is None else job.seed
    with clock("crop"):
        picture, notes = model.picture(job.image, backend, options)
    pcm = read_audio(job.audio)
    if resume and _same(job.out, model.settings(options, direction, seed, plan.preset, picture, pcm, plan.crop)):
        return Outcome(job.out)
    video = model.animate(
        picture, pcm, job.out, options=options, direction=direction, seed=seed, preset=plan.preset,
        crop=plan.crop, notes=notes, clock=clock, progress=progress,
    )  # fmt: skip
    for note in video.notes:
        progress.note(f"{job.out.name}: {note}")
    return Outcome(job.out, video)


def _same(out: Path, settings: dict[str, Any]) -> bool:
    """True when a finished video says that it was made with exactly these settings."""
    if not out.is_file():
        return False
    try:
        recorded = json.loads(probe(out).metadata.get("floatbench", "null"))
    except (ClipError, ValueError):
        return False
    return recorded == json.loads(json.dumps(settings))
