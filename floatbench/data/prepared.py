"""The prepared store: one folder per clip, made by `pp1` from a raw file, or a note of why the clip was rejected."""

from __future__ import annotations

import json
import shutil
from abc import abstractmethod
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Literal

from filelock import FileLock

from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.errors import TRANSIENT_REASONS, ClipError, DataError
from floatbench.files import write_error, write_json
from floatbench.paths import data_dir, quiet_third_parties
from floatbench.progress import Progress, Task
from floatbench.protocol.protocol import Clip, Preprocessing
from floatbench.text import printable

REJECTED = "rejected.json"
PREPARED = "clip.json"


@dataclass(frozen=True)
class Raw:
    """The raw files of one clip; `audio` and `source` when they are files of their own."""

    video: Path
    audio: Path | None = None
    source: Path | None = None


@dataclass(frozen=True)
class Job:
    """All that is needed to prepare one clip in another process."""

    clip: Clip
    raw: Raw
    folder: Path
    dataset: str
    split: str
    preprocessing: Preprocessing
    boxes_file: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """How preparing one clip ended: `ready`, or why not."""

    clip_id: str
    state: Literal["ready", "rejected", "failed"]
    reason: str = ""
    detail: str = ""


class PreparedDataset(Dataset):
    """A data set of real videos; subclasses say where the raw files of a clip lie and which command brings them."""

    @abstractmethod
    def raw(self, clip: Clip) -> Raw | None:
        """The raw files, None when they are not on this machine."""

    @abstractmethod
    def missing_fix(self) -> str:
        """The command that brings raw files."""

    def prepare_fix(self) -> str:
        """The command that prepares raw files."""
        return f"floatbench protocol prepare {self.protocol.origin or self.protocol.id}"

    def boxes_file(self) -> Path | None:
        """The file of one's own face boxes for `boxes = "given"`, None when there is none."""
        file = data_dir() / "raw" / self.protocol.dataset / "boxes.csv"
        return file if self.protocol.preprocessing.boxes == "given" and file.is_file() else None

    @property
    def store(self) -> Path:
        """Folder of this data set's prepared clips under the protocol's preprocessing."""
        return data_dir() / "prepared" / self.protocol.dataset / self.protocol.preprocessing.id

    def folder(self, clip: Clip) -> Path:
        """Folder of one prepared clip."""
        return self.store / clip.slug

    def availability(self) -> list[Availability]:
        return [self._state(clip) for clip in self.protocol.clips]

    def _state(self, clip: Clip) -> Availability:
        folder = self.folder(clip)
        if (folder / PREPARED).is_file():
            return Availability(clip.id, "ready")
        if rejection := _rejection(folder):
            return Availability(clip.id, "rejected", reason=rejection["reason"], detail=rejection["detail"])
        if self.raw(clip) is None:
            return Availability(clip.id, "missing", detail="the raw file is absent", fix=self.missing_fix())
        return Availability(clip.id, "unprepared", detail="not prepared yet", fix=self.prepare_fix())

    def prepare(self, progress: Progress, workers: int = 1) -> None:
        self.prepare_clips(progress, workers)

    def prepare_clips(self, progress: Progress, workers: int = 1, retry: bool = False) -> list[Outcome]:
        """Prepares what is raw and not yet prepared or rejected; with `retry` also what was rejected before.

        Raises:
            DataError, DependencyError: a box back end or the disk is not usable; finished clips stay.
        """
        if not self._jobs(retry):
            return []
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            with FileLock(self.store / ".lock"):  # a second process waits, then finds the work done
                jobs = self._jobs(retry)
                with progress.task(f"prepare {self.protocol.id}", len(jobs)) as bar:
                    return list(_reported(_run(jobs, workers), bar, progress))
        except OSError as error:
            raise write_error(error, self.store) from error

    def _jobs(self, retry: bool) -> list[Job]:
        jobs = []
        for clip in self.protocol.clips:
            folder = self.folder(clip)
            if (folder / PREPARED).is_file() or (not retry and _rejection(folder)):
                continue
            if raw := self.raw(clip):
                protocol = self.protocol
                jobs.append(
                    Job(clip, raw, folder, protocol.dataset, protocol.split, protocol.preprocessing, self.boxes_file())
                )
        return jobs

    def load(self, clip: Clip) -> Reference:
        folder = self.folder(clip)
        if (folder / PREPARED).is_file():
            return _reference(folder)
        if rejection := _rejection(folder):
            raise ClipError(rejection["reason"], rejection["detail"])
        state = self._state(clip)
        raise DataError(f"the clip {clip.id!r} of {self.protocol.id} is absent: {state.detail}", fix=state.fix)


def _reference(folder: Path) -> Reference:
    from floatbench.media.pp1 import load_prepared

    media, source, row = load_prepared(folder)
    flags = (*row.flags, "fabricated_boxes") if row.backend.fabricated else row.flags
    return Reference(media, source, folder / "video.mkv", flags)


def _rejection(folder: Path) -> dict[str, str] | None:
    """Why a clip was rejected; None when it was not, or when the note is damaged (it is then tried again)."""
    try:
        note = json.loads((folder / REJECTED).read_text("utf-8"))
        return {"reason": str(note["reason"]), "detail": str(note["detail"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _reported(outcomes: Iterable[Outcome], bar: Task, progress: Progress) -> Iterable[Outcome]:
    for outcome in outcomes:
        bar.advance(note=printable(outcome.clip_id))
        if outcome.state != "ready":
            progress.note(f"{outcome.state}: {printable(outcome.clip_id)}: {outcome.reason}: {outcome.detail}")
        yield outcome


def _run(jobs: list[Job], workers: int) -> Iterable[Outcome]:
    """Outcomes as they come; a clip that kills its process fails alone."""
    if workers <= 1 or len(jobs) == 1:
        try:
            yield from (prepare_one(job) for job in jobs)
        finally:
            _close()
        return
    left = dict(enumerate(jobs))
    with _pool(min(workers, len(jobs))) as pool:
        futures = {pool.submit(prepare_one, job): index for index, job in left.items()}
        try:
            for future in as_completed(futures):
                outcome = future.result()
                del left[futures[future]]
                yield outcome
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    for job in left.values():  # only after a crash: one process per clip tells which of them it was
        yield _alone(job)


def _close() -> None:
    from floatbench.data.face_in_region import close_backends

    close_backends()


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker)


def _begin_worker() -> None:
    quiet_third_parties()
    Finalize(None, _close, exitpriority=1)  # before the worker's threads are shut down


def _alone(job: Job) -> Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(prepare_one, job).result()
        except BrokenProcessPool:
            return Outcome(job.clip.id, "failed", "crashed", "the process that prepared it died")


def prepare_one(job: Job) -> Outcome:
    """Prepares one clip whole or not at all; a rejection is written down, a failure of the machine is not."""
    clip = job.clip
    partial = job.folder.with_name(f".{job.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _write(job, partial)
    except ClipError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.reason in TRANSIENT_REASONS:
            return Outcome(clip.id, "failed", error.reason, error.what)
        shutil.rmtree(job.folder, ignore_errors=True)
        write_json(job.folder / REJECTED, {"clip_id": clip.id, "reason": error.reason, "detail": error.what})
        return Outcome(clip.id, "rejected", error.reason, error.what)
    shutil.rmtree(job.folder, ignore_errors=True)
    partial.replace(job.folder)
    return Outcome(clip.id, "ready")


def _write(job: Job, folder: Path) -> None:
    """The prepared files of one clip; a picture of its own replaces frame 0 as the source, cropped by the same rule."""
    from floatbench.data.face_in_region import FaceIn, cached_backend
    from floatbench.media.crop import crop_still
    from floatbench.media.image import read_image, write_image
    from floatbench.media.pp1 import SOURCE, prepare_clip

    clip, rule = job.clip, job.preprocessing
    boxes = cached_backend(rule.boxes, job.boxes_file)
    prepare_clip(
        job.raw.video,
        folder,
        audio=job.raw.audio,
        start=clip.start_s,
        end=clip.end_s,
        boxes=FaceIn(boxes, clip.face) if clip.face else boxes,
        dataset=job.dataset,
        clip_id=clip.id,
        identity=clip.identity,
        split=job.split,
        size=rule.size,
    )
    if job.raw.source:
        write_image(folder / SOURCE, crop_still(read_image(job.raw.source), boxes, rule.size))
