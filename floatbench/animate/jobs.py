"""Generating one video or a table of them: what `floatbench generate` runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from floatbench import weights
from floatbench.animate.cropping import AUTO, Settled, settle
from floatbench.animate.outputs import check_outputs, place
from floatbench.animate.pipeline import FLOAT, Prepared, Video
from floatbench.device import pick_device, ran_out_of_memory
from floatbench.errors import ClipError, DataError, DependencyError, FloatbenchError, UsageError
from floatbench.media import probe, read_audio, usable_encoder
from floatbench.media.backends import box_backend
from floatbench.media.boxes import BoxBackend
from floatbench.model.config import FLOAT_512
from floatbench.progress import Progress
from floatbench.protocol.tables import TableRow, read_spreadsheet
from floatbench.sampling.animator import Direction
from floatbench.sampling.choices import ModelChoices, check_against_model
from floatbench.sampling.clock import StageClock
from floatbench.sampling.control import check_controls, parse_emotion, read_pose
from floatbench.sampling.loading import config_of, entries_of
from floatbench.sampling.windows import n_frames
from floatbench.settings import Whole, settings, whole

NEEDED = ("image", "audio", "out")
COLUMNS = (*NEEDED, "seed", "emotion")
AT_ONCE = 8
"""Videos that are solved as one batch on CUDA."""


@dataclass(frozen=True)
class VideoJob:
    """One video to make; without seed and emotion it takes those of the settings."""

    image: Path
    audio: Path
    out: Path
    seed: int | None = None
    emotion: str = ""


@settings
class GenerateSettings:
    """What all jobs of a call share; see the options of `floatbench generate`."""

    weights: str = "float"
    choices: ModelChoices = field(default_factory=ModelChoices)
    device: str = "auto"
    crop: str = AUTO
    boxes: Path | None = None
    seed: Whole = 0
    encoder: str = "x264"

    def __post_init__(self) -> None:
        if self.boxes is not None and self.crop != "given":
            raise UsageError(f"the boxes {self.boxes} are read with --crop given alone", fix="add --crop given")


@dataclass(frozen=True)
class VideoOutcome:
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


def single(image: Path | None, audio: Path | None, out: Path) -> VideoJob:
    """The job of a call without a table."""
    if image is None or audio is None:
        raise UsageError("--image and --audio are needed, or --jobs", fix="floatbench generate --help")
    return VideoJob(image, audio, out)


def read_jobs(path: Path) -> list[VideoJob]:
    """Reads a table of jobs; relative paths are relative to the table's folder.

    Raises:
        DataError: the file is missing. UsageError: a bad column or row, or an output named twice.
    """
    if not path.is_file():
        raise DataError(f"the job table {path} does not exist", fix="write a CSV file with the columns image,audio,out")
    jobs = [_job(row) for row in read_spreadsheet(path, NEEDED, COLUMNS).rows]
    if not jobs:
        raise UsageError(f"the job table {path} has no row")
    seen: set[Path] = set()
    for job in jobs:
        if place(job.out) in seen:
            raise UsageError(f"the job table {path} names the output {job.out} twice")
        seen.add(place(job.out))
    return jobs


def _job(row: TableRow) -> VideoJob:
    given = row.values
    for name in NEEDED:
        if not given[name]:
            raise row.error(name, "is empty")
    seed = given.get("seed", "")
    if seed and not (seed.isdecimal() and int(seed) < 2**63):
        raise row.error("seed", f"{seed!r} is not a whole number from 0 on")
    emotion = given.get("emotion", "")
    try:
        parse_emotion(emotion)
    except UsageError as error:
        raise row.error("emotion", error.what.removeprefix("emotion "), error.fix) from None
    image, audio, out = (row.file.parent / given[name] for name in NEEDED)
    return VideoJob(image, audio, out, int(seed) if seed else None, emotion)


def run(
    common: GenerateSettings,
    jobs: Sequence[VideoJob],
    progress: Progress,
    stop_at_first: bool = False,
    at_once: int | None = None,
) -> list[VideoOutcome]:
    """Makes the videos with one loaded model.

    Args:
        stop_at_first: raise the first error instead of carrying on (a call without a table).
        at_once: videos whose motion is solved as one batch; None is 8 on CUDA and 1 on a CPU, where it hardly pays.

    Raises:
        FloatbenchError: what concerns all jobs: weights, device, options.
    """
    chosen = common.choices
    at_once = None if at_once is None else whole("at_once", at_once, least=1)
    check_against_model(chosen, common.weights)
    encoder, fallback = usable_encoder(common.encoder)
    shared = [Path(common.weights), *([common.boxes] if common.boxes else [])]
    check_outputs([job.out for job in jobs], [*shared, *(path for job in jobs for path in (job.image, job.audio))])
    crop = _settled_crop(common, [job.image for job in jobs])
    backend = None
    if crop.name != "none":
        backend = box_backend(crop.name, file=common.boxes, device=pick_device(common.device))
    model = FLOAT.from_pretrained(
        Path(common.weights), device=common.device, dtype=chosen.dtype, impl=chosen.impl, compile=chosen.compile,
        graphs=chosen.graphs,
    )  # fmt: skip
    check_controls(chosen.controls, model.network.config.dim_m)
    if model.origin.fabricated:
        progress.note("the weights are random stand-ins: the video shows noise and cannot be scored")
    model.encoder = encoder
    for note in [*crop.notes, *([fallback] if fallback else [])]:
        progress.note(note)
    outcomes, at_once = [], at_once or (AT_ONCE if model.device.type == "cuda" else 1)
    for start in range(0, len(jobs), at_once):
        part, clock = jobs[start : start + at_once], StageClock(model.device)
        found = [_prepared(model, common, job, backend, crop.name, clock, resume=not stop_at_first) for job in part]
        made = _made(model, found, [job.out for job in part], progress)
        outcomes += [_told(job, video, progress, stop_at_first) for job, video in zip(part, made, strict=True)]
    return outcomes


def _settled_crop(common: GenerateSettings, pictures: Sequence[Path]) -> Settled:
    """The face detector; an unknown model is told first, and weights that are missing beside the detector's with them.

    Raises:
        DataError: what is not here, and the command that fetches it.
    """
    absent = [entry for entry in entries_of(common.weights) if not weights.available(entry)]
    config = config_of(common.weights)
    try:
        return settle(common.crop, pictures, config.image_size if config else FLOAT_512.image_size)
    except DataError as error:
        if not absent:
            raise
        fix = f"{error.fix}; then floatbench weights fetch {' '.join(absent)}"
        raise DataError(f"{error.what}; nor are the weights {', '.join(absent)} on this machine", fix=fix) from None


def _told(
    job: VideoJob, found: Video | FloatbenchError | None, progress: Progress, stop_at_first: bool
) -> VideoOutcome:
    """What became of a job, its notes and errors told; raises an error that ends the call."""
    if isinstance(found, FloatbenchError):
        error = _located(found, job)
        if stop_at_first or error.exit_code in (3, 130):  # a full disk will not be emptier for the next row
            raise error from None
        progress.note(f"{job.out.name}: failed: {error.what}")
        return VideoOutcome(job.out, error=error.what)
    for note in found.notes if found else ():
        progress.note(f"{job.out.name}: {note}")
    return VideoOutcome(job.out, found)


def _located(error: FloatbenchError, job: VideoJob) -> FloatbenchError:
    """A clip's error as one of its input file, which is damaged or unusable data (exit code 4)."""
    if not isinstance(error, ClipError):
        return error
    if error.reason == "out_of_memory":
        return DependencyError(
            f"{error.reason}: {error.what} ({job.image.name} with {job.audio.name})",
            fix="--audio-context window, --dtype bfloat16 or --device cpu",
        )
    return DataError(f"{error.reason}: {error.what} ({job.image.name} with {job.audio.name})")


def _prepared(
    model: FLOAT, common: GenerateSettings, job: VideoJob, backend: BoxBackend | None, crop: str, clock: StageClock,
    resume: bool,
) -> Prepared | FloatbenchError | None:  # fmt: skip
    """Picture and sound read and everything settled; or why not; or None when it was made so before."""
    chosen = common.choices
    options, preset = model.fit(chosen.options), chosen.preset
    seed = common.seed if job.seed is None else job.seed
    try:
        with clock("crop"):
            picture, notes = model.picture(job.image, backend, options)
        pcm, pose = read_audio(job.audio), None
        if chosen.pose is not None:
            pose = model.card.standardised(read_pose(chosen.pose, n_frames(len(pcm))))
        direction = Direction(job.emotion or chosen.emotion, chosen.controls, chosen.project, pose)
    except FloatbenchError as error:
        return error
    if resume and _same(job.out, model.settings(options, direction, seed, preset, picture, pcm, crop)):
        return None
    return Prepared(picture, pcm, options, direction, seed, preset, crop, notes, clock)


def _made(
    model: FLOAT, found: Sequence[Prepared | FloatbenchError | None], outs: Sequence[Path], progress: Progress
) -> list[Video | FloatbenchError | None]:
    """The videos of those that are prepared, solved as one batch; one that cannot be in it costs none of the others."""
    made: list[Video | FloatbenchError | None] = [None if isinstance(one, Prepared) else one for one in found]
    ready = [index for index, one in enumerate(found) if isinstance(one, Prepared)]
    together = {index: one for index in ready if isinstance(one := found[index], Prepared)}
    videos: list[Video | FloatbenchError] = []
    if len(ready) > 1:
        try:
            videos = model.finish_together([*together.values()], [outs[index] for index in ready], progress)
        except (FloatbenchError, RuntimeError, MemoryError) as error:
            if not isinstance(error, FloatbenchError) and not ran_out_of_memory(error):
                raise
            together = {index: replace(one, clock=StageClock(model.device)) for index, one in together.items()}
    for number, index in enumerate(ready):
        made[index] = videos[number] if videos else _alone(model, together[index], outs[index], progress)
    return made


def _alone(model: FLOAT, one: Prepared, out: Path, progress: Progress) -> Video | FloatbenchError:
    try:
        return model.finish(one, out, progress)
    except FloatbenchError as error:
        return error


def _same(out: Path, settings: dict[str, Any]) -> bool:
    """True when a finished video says that it was made with exactly these settings."""
    if not out.is_file():
        return False
    try:
        recorded = json.loads(probe(out).metadata.get("floatbench", "null"))
    except (ClipError, ValueError):
        return False
    return recorded == json.loads(json.dumps(settings))
