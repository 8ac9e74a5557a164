"""The prepared clips of a protocol as training clips. T frames, R pixels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np

from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Dataset
from floatbench.data.prepared import PreparedDataset
from floatbench.data.rendered import SyntheticDataset
from floatbench.errors import ClipError, DataError
from floatbench.media.boxes import LOST_SHARE
from floatbench.media.frames import read_pictures
from floatbench.media.pp1 import VIDEO, load_sound, read_row
from floatbench.processes import in_order
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip
from floatbench.synthetic.expression import EMOTIONS
from floatbench.training.clips import NO_EMOTION, ClipSet, TrainingClip, component_boxes
from floatbench.training.face_boxes import FaceBoxes
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

MOST_FRAMES = 128
"""A longer clip is several training clips in phase 1, each a comb of so many of its frames at most."""


@dataclass(frozen=True)
class FrameComb:
    """Frames first, first + stride, ... of a clip of `frames` frames; `frames` is 0 for a clip that is taken whole."""

    clip: Clip
    first: int = 0
    stride: int = 1
    frames: int = 0

    @property
    def numbers(self) -> range:
        return range(self.first, self.frames, self.stride)


def combs_of(clips: Sequence[Clip], dataset: Dataset) -> list[FrameComb]:
    """Every clip's frames in combs that each span the whole clip: the first comb of each clip, then the second ones.

    Recordings of minutes do not fit into memory by the dozen, and pairs of frames far apart teach most. In this order
    neighbouring combs show many people.
    """
    if not isinstance(dataset, PreparedDataset):
        return [FrameComb(clip) for clip in clips]
    lengths = [read_row(dataset.folder(clip)).n_frames for clip in clips]
    strides = [ceil(frames / MOST_FRAMES) for frames in lengths]
    return [
        FrameComb(clip, first, stride, frames) if stride > 1 else FrameComb(clip)
        for first in range(max(strides))
        for clip, stride, frames in zip(clips, strides, lengths, strict=True)
        if first < stride
    ]


class ProtocolClips(ClipSet):
    """The prepared clips of a protocol (`hdtf-train`, `ravdess-train`, `folder:DIR`, `synthetic`).

    Args:
        size: R.
        boxes: whether clips know where mouth and eyes are: synthetic ones do by themselves, others are looked at by the
            face landmarker, once. Without it boxes are zeros.
        workers: processes that prepare clips and look at them.
        pairs: for phase 1: long clips in parts, see `combs_of`, without sound. Of them frames without a face are left
            out when boxes are wanted, and the first part of a clip says whether all are usable.

    Raises:
        DataError: no clip is ready, or the face landmarker is missing, with the command that mends it.
    """

    def __init__(
        self,
        protocol_name: str,
        size: int,
        progress: Progress | None = None,
        boxes: bool = False,
        workers: int = 1,
        pairs: bool = False,
    ) -> None:
        self.name, protocol = protocol_name, load_protocol(protocol_name)
        self.size, self.dataset, self.wants_boxes = size, dataset_for(protocol), boxes
        self._face_boxes = FaceBoxes() if boxes and not isinstance(self.dataset, SyntheticDataset) else None
        if self.dataset.auto_prepare:
            self.dataset.prepare(progress or NullProgress(), workers)
        states = self.dataset.availability()
        ready = {state.clip_id for state in states if state.state == "ready"}
        clips = [clip for clip in protocol.clips if clip.id in ready]
        self.absent = len(protocol.clips) - len(clips)
        if not clips:
            fix = next((state.fix for state in states if state.fix), None)
            raise DataError(f"{protocol_name} has no prepared clip to train on", fix=fix)
        self.pairs = pairs
        self.combs = combs_of(clips, self.dataset) if pairs else [FrameComb(clip) for clip in clips]
        self._checked: dict[str, ClipError | None] = {}
        if self._face_boxes is not None and workers > 1:
            self._look_at_all(progress or NullProgress(), workers)

    def __len__(self) -> int:
        return len(self.combs)

    def origin(self, index: int) -> tuple[str, str]:
        return self.name, self.combs[index].clip.identity

    def _look_at_all(self, progress: Progress, workers: int) -> None:
        """Fills the cache of boxes side by side; what is wrong with a clip is raised when it is loaded."""
        first = [comb for comb in self.combs if comb.first == 0]
        with progress.task("faces", len(first), "clip") as task:
            for _ in in_order(partial(_look_at, self.dataset), first, workers, "looks for faces"):
                task.advance()

    def check(self, index: int) -> int:
        comb = self.combs[index]
        if comb.stride == 1:
            return super().check(index) if self.pairs else len(self.heard(index).audio) // SAMPLES_PER_FRAME
        if comb.clip.id not in self._checked:
            self._checked[comb.clip.id] = self._problem(FrameComb(comb.clip, 0, comb.stride, comb.frames))
        if problem := self._checked[comb.clip.id]:
            raise problem
        return len(comb.numbers)

    def _problem(self, first: FrameComb) -> ClipError | None:
        wanted = len(first.numbers)
        try:
            frames = len(self._comb(first).frames)
        except ClipError as error:
            return error
        if wanted - frames > LOST_SHARE * wanted:
            return ClipError("face_lost", f"{wanted - frames} of {wanted} frames without a face")
        return None

    def load(self, index: int) -> TrainingClip:
        comb = self.combs[index]
        return self._whole(comb.clip) if comb.stride == 1 else self._comb(comb)

    def key(self, index: int) -> str:
        comb = self.combs[index]
        if self.pairs or not isinstance(self.dataset, PreparedDataset):
            return super().key(index)
        return f"{read_row(self.dataset.folder(comb.clip)).pixels_sha256}-{self.size}"

    def heard(self, index: int) -> TrainingClip:
        clip = self.combs[index].clip
        if self.pairs or not isinstance(self.dataset, PreparedDataset):
            return self.load(index)
        audio = load_sound(self.dataset.folder(clip))
        if audio is None:
            raise ClipError("no_audio", f"{clip.id} has no sound to train on")
        frames = np.zeros((0, self.size, self.size, 3), np.uint8)
        return TrainingClip(clip.id, clip.identity, frames, audio, np.zeros((0, 3, 4), np.float32), _emotion(clip), {})

    def _comb(self, comb: FrameComb) -> TrainingClip:
        media = _media(self.dataset, comb)
        boxes = np.zeros((media.n_frames, 3, 4), np.float32)
        frames = media.frames
        if self._face_boxes is not None:
            boxes = self._face_boxes.seen(media)
            found = ~np.isnan(boxes).any((1, 2))
            frames, boxes = frames[found], boxes[found]
            if not len(frames):
                raise ClipError("no_face", f"{comb.clip.id}: no face in frames {comb.first}, {comb.numbers[1]}, ...")
        frames = np.stack([resized(frame, self.size) for frame in frames])
        audio = np.zeros(SAMPLES_PER_FRAME * len(frames), np.int16)
        return TrainingClip(comb.clip.id, comb.clip.identity, frames, audio, boxes, _emotion(comb.clip), {})

    def _whole(self, clip: Clip) -> TrainingClip:
        reference = self.dataset.load(clip)
        media = reference.media
        audio = np.zeros(SAMPLES_PER_FRAME * media.n_frames, np.int16) if self.pairs else media.audio
        if audio is None:
            raise ClipError("no_audio", f"{clip.id} has no sound to train on")
        frames = np.stack([resized(frame, self.size) for frame in media.frames])
        boxes = self._boxes(clip, media)
        truth = dict(reference.truth or {})
        return TrainingClip(clip.id, clip.identity, frames, audio, boxes, _emotion(clip), truth)

    def _boxes(self, clip: Clip, media: ClipMedia) -> np.ndarray:
        """(T, 3, 4); looked for in the clip's own pictures, before they are brought to R."""
        if self._face_boxes is not None:
            return self._face_boxes.of(media)
        if self.wants_boxes and isinstance(self.dataset, SyntheticDataset):
            return component_boxes(self.dataset.spec(clip))
        return np.zeros((media.n_frames, 3, 4), np.float32)


def _emotion(clip: Clip) -> int:
    label = clip.labels.get("emotion", "")
    return EMOTIONS.index(label) if label in EMOTIONS else NO_EMOTION


def _media(dataset: Dataset, comb: FrameComb) -> ClipMedia:
    """The pictures of a part; a comb is read frame by frame, so that its pixels are not held to the clip's hash."""
    if comb.stride == 1:
        return dataset.load(comb.clip).media
    assert isinstance(dataset, PreparedDataset)
    return ClipMedia(read_pictures(dataset.folder(comb.clip) / VIDEO, comb.numbers))


def _look_at(dataset: Dataset, comb: FrameComb) -> None:
    with suppress(ClipError):
        FaceBoxes().seen(_media(dataset, comb))


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """A square picture at R x R."""
    if frame.shape[0] == size:
        return frame
    import cv2

    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if frame.shape[0] > size else cv2.INTER_CUBIC)
