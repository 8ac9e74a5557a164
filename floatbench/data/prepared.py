"""The prepared store: one folder per clip, made by `pp1` from a raw file, or a note of why the clip was rejected."""

from __future__ import annotations

import hashlib
import json
import shutil
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from filelock import FileLock

from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.errors import TRANSIENT_REASONS, ClipError, DataError, FloatbenchError
from floatbench.files import write_error
from floatbench.folders import visible
from floatbench.paths import data_dir
from floatbench.processes import Death, as_finished
from floatbench.progress import Progress, Task
from floatbench.protocol.protocol import Clip, Preprocessing
from floatbench.records import RecordFile, read_record, write_record
from floatbench.text import printable
from floatbench.types import FPS
from floatbench.weights.file_hashes import FileHashes

if TYPE_CHECKING:
    from floatbench.media.crop import Cut
    from floatbench.media.manifest import ManifestRow

REJECTED = "rejected.json"
PREPARED = "clip.json"
WINDOW_SLACK_S = 0.08  # two pictures
STALE = "the raw file is another than the one that was prepared"


@dataclass(frozen=True)
class Raw:
    """The raw files of one clip; `audio` and `source` when they are files of their own."""

    video: Path
    audio: Path | None = None
    source: Path | None = None


@dataclass(frozen=True)
class PrepareTask:
    """All that is needed to prepare one clip in another process."""

    clip: Clip
    raw: Raw
    folder: Path
    dataset: str
    split: str
    preprocessing: Preprocessing
    boxes_file: Path | None = None


@dataclass(frozen=True)
class PrepareResult:
    """How preparing one clip ended: `ready`, or why not; `detail` of a ready one says what its window lacks."""

    clip_id: str
    state: Literal["ready", "rejected", "failed"]
    reason: str = ""
    detail: str = ""


class Rejection(RecordFile):
    """Why a raw file was refused: a code of floatbench.errors.REASONS and one line of detail."""

    noun: ClassVar[str] = "note of a rejection"

    clip_id: str
    reason: str
    detail: str


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

    def other_stores(self) -> list[str]:
        """Names of the stores of other preprocessings that hold clips of this protocol."""
        names = [self.folder(clip).name for clip in self.protocol.clips]
        stores = visible(self.store.parent) if self.store.parent.is_dir() else []
        return [
            store.name
            for store in stores
            if store != self.store and any((store / name / PREPARED).is_file() for name in names)
        ]

    def folder(self, clip: Clip) -> Path:
        """Folder of one prepared clip."""
        return self.store / clip.slug

    def availability(self) -> list[Availability]:
        hashes = FileHashes()
        states = [self._state(clip, hashes) for clip in self.protocol.clips]
        hashes.save()
        return states

    def _state(self, clip: Clip, hashes: FileHashes) -> Availability:
        folder = self.folder(clip)
        if (folder / PREPARED).is_file():
            if self.stale(clip, hashes):
                return Availability(clip.id, "unprepared", detail=STALE, fix=self.prepare_fix())
            return Availability(clip.id, "ready")
        if rejection := _rejection(folder):
            return Availability(clip.id, "rejected", reason=rejection.reason, detail=rejection.detail)
        if self.raw(clip) is None:
            return Availability(clip.id, "missing", detail="the raw file is absent", fix=self.missing_fix())
        return Availability(clip.id, "unprepared", detail="not prepared yet", fix=self.prepare_fix())

    def stale(self, clip: Clip, hashes: FileHashes) -> bool:
        """True for a prepared clip whose raw file is here and is another than the one it was prepared from."""
        raw = self.raw(clip)
        if raw is None:
            return False
        try:
            source = json.loads((self.folder(clip) / PREPARED).read_bytes())["source"]
            known = (source["sha256"], source.get("audio_sha256"))
        except (OSError, ValueError, KeyError, TypeError):
            return False  # a damaged note is said when the clip is loaded or verified
        now = [None if file is None else hashes.sha256(file) for file in (raw.video, raw.audio)]
        return tuple(now) != known

    def prepare(self, progress: Progress, workers: int = 1) -> None:
        self.prepare_clips(progress, workers)

    def prepare_clips(self, progress: Progress, workers: int = 1, retry: bool = False) -> list[PrepareResult]:
        """Prepares what is raw and not yet prepared or rejected; with `retry` also what was rejected before.

        Raises:
            DataError, DependencyError: a box back end or the disk is not usable; finished clips stay.
        """
        if not self._tasks(retry):
            return []
        try:
            self.store.mkdir(parents=True, exist_ok=True)
            with FileLock(self.store / ".lock"):  # a second process waits, then finds the work done
                tasks = self._tasks(retry)
                with progress.task(f"prepare {self.protocol.id}", len(tasks)) as bar:
                    return list(_reported(_run(tasks, workers), bar, progress))
        except OSError as error:
            raise write_error(error, self.store) from error

    def _tasks(self, retry: bool) -> list[PrepareTask]:
        tasks, hashes = [], FileHashes()
        pinned = (self.protocol.dataset, self.protocol.split, self.protocol.preprocessing)
        for clip in self.protocol.clips:
            folder = self.folder(clip)
            ready = (folder / PREPARED).is_file() and not self.stale(clip, hashes)
            if ready or (not retry and _rejection(folder)):
                continue
            if raw := self.raw(clip):
                tasks.append(PrepareTask(clip, raw, folder, *pinned, self.boxes_file()))
        hashes.save()
        return tasks

    def content_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Over the bytes of the prepared files; that they are what `clip.json` says is seen when they are decoded."""
        hashes, found = FileHashes(), {}
        for clip in clips:
            folder = self.folder(clip)
            files = [path for path in visible(folder) if path.is_file()] if folder.is_dir() else []
            parts = [f"{path.name} {hashes.sha256(path)}" for path in files]
            found[clip.id] = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        hashes.save()
        return found

    def load(self, clip: Clip) -> Reference:
        folder = self.folder(clip)
        if (folder / PREPARED).is_file():
            return _reference(folder)
        if rejection := _rejection(folder):
            raise ClipError(rejection.reason, rejection.detail)
        state = self._state(clip, FileHashes())
        raise DataError(f"the clip {clip.id!r} of {self.protocol.id} is absent: {state.detail}", fix=state.fix)

    def load_source(self, clip: Clip) -> tuple[np.ndarray, Cut | None]:
        from floatbench.media.image import read_image
        from floatbench.media.pp1 import SOURCE, cut_of, read_row

        folder = self.folder(clip)
        return read_image(folder / SOURCE), cut_of(read_row(folder))


def _reference(folder: Path) -> Reference:
    from floatbench.media.pp1 import cut_of, load_prepared

    media, source, row = load_prepared(folder)
    flags = (*row.flags, "fabricated_boxes") if row.backend.fabricated else row.flags
    return Reference(media, source, folder / "video.mkv", flags, cut=cut_of(row))


def _rejection(folder: Path) -> Rejection | None:
    """Why a clip was rejected; None when it was not, or when the note is damaged (it is then tried again)."""
    try:
        return read_record(folder / REJECTED, Rejection)
    except FloatbenchError:
        return None


def _reported(results: Iterable[PrepareResult], bar: Task, progress: Progress) -> Iterable[PrepareResult]:
    for result in results:
        refused = f" {result.state}: {result.reason}" if result.state == "rejected" else ""
        bar.advance(note=printable(result.clip_id) + refused)  # a run says each reason once, when all are known
        if result.state == "failed":
            progress.note(f"{result.state}: {printable(result.clip_id)}: {result.reason}: {result.detail}")
        elif result.state == "ready" and result.detail:
            progress.note(f"{printable(result.clip_id)}: {result.detail}")
        yield result


def _run(tasks: list[PrepareTask], workers: int) -> Iterable[PrepareResult]:
    """Results as they come; a clip that kills its process fails alone."""
    for index, result in as_finished(prepare_one, tasks, workers, _detectors):
        if isinstance(result, Death):
            result = PrepareResult(tasks[index].clip.id, "failed", result.reason, result.detail)
        yield result


@contextmanager
def _detectors() -> Iterator[None]:
    """Detectors stay open from clip to clip, and are closed before the threads they use are shut down."""
    from floatbench.data.face_in_region import close_backends

    try:
        yield
    finally:
        close_backends()


def prepare_one(task: PrepareTask) -> PrepareResult:
    """Prepares one clip whole or not at all; a rejection is written down, a failure of the machine is not."""
    clip = task.clip
    partial = task.folder.with_name(f".{task.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        row = _write(task, partial)
    except ClipError as error:
        shutil.rmtree(partial, ignore_errors=True)
        if error.reason in TRANSIENT_REASONS:
            return PrepareResult(clip.id, "failed", error.reason, error.what)
        shutil.rmtree(task.folder, ignore_errors=True)
        rejection = Rejection(clip_id=clip.id, reason=error.reason, detail=error.what)
        write_record(task.folder / REJECTED, rejection)
        return PrepareResult(clip.id, "rejected", error.reason, error.what)
    shutil.rmtree(task.folder, ignore_errors=True)
    partial.replace(task.folder)
    return PrepareResult(clip.id, "ready", detail=_lacking(clip, row.t0_s, row.t0_s + row.n_frames / FPS))


def _lacking(clip: Clip, begin: float, end: float) -> str:
    """What a window asks for and the file does not have, where that is more than two pictures (times in seconds)."""
    before = clip.start_s is not None and begin - clip.start_s > WINDOW_SLACK_S
    after = clip.end_s is not None and clip.end_s - end > WINDOW_SLACK_S
    if not (before or after):
        return ""
    asked = f"{clip.start_s or 0:g} to {'the end' if clip.end_s is None else f'{clip.end_s:g} s'}"
    return f"the window is {asked}; the file has {begin:.2f} to {end:.2f} s of it"


def _write(task: PrepareTask, folder: Path) -> ManifestRow:
    """The prepared files of one clip; a picture of its own replaces frame 0 as the source, cropped by the same rule."""
    from floatbench.data.face_in_region import FaceIn, cached_backend
    from floatbench.media.crop import crop_still
    from floatbench.media.image import read_image, write_image
    from floatbench.media.pp1 import SOURCE, prepare_clip

    clip, rule = task.clip, task.preprocessing
    boxes = cached_backend(rule.boxes, task.boxes_file)
    row = prepare_clip(
        task.raw.video,
        folder,
        audio=task.raw.audio,
        start=clip.start_s,
        end=clip.end_s,
        boxes=FaceIn(boxes, clip.face) if clip.face else boxes,
        dataset=task.dataset,
        clip_id=clip.id,
        identity=clip.identity,
        split=task.split,
        size=rule.size,
        spec=rule.spec if rule.spec == "pp2" else "pp1",
    )
    if task.raw.source:
        write_image(folder / SOURCE, crop_still(read_image(task.raw.source), boxes, rule.size))
    return row
