"""The prepared clips of a protocol as training clips. T frames, R pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Dataset
from floatbench.data.prepared import PreparedDataset
from floatbench.data.rendered import SyntheticDataset
from floatbench.errors import ClipError
from floatbench.media.boxes import LOST_SHARE
from floatbench.media.frames import read_pictures
from floatbench.media.pp1 import VIDEO, load_sound, read_row
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip
from floatbench.synthetic.expression import EMOTIONS
from floatbench.training.clip_facts import fact_key, known_facts, read_facts, write_facts
from floatbench.training.clips import NO_EMOTION, ClipSet, MissingClips, TrainingClip, component_boxes
from floatbench.training.face_boxes import FaceBoxes, parts_of, without_gaps
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia
from floatbench.weights.file_hashes import FileHashes

MOST_FRAMES = 128
"""A longer clip is several training clips in phase 1, each a comb of so many of its frames at most."""


HASHED_AT_ONCE = 8
"""Files whose content is read side by side at the first start."""


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

    @property
    def beginning(self) -> FrameComb:
        """The first part of the same clip."""
        return FrameComb(self.clip, 0, self.stride, self.frames)


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
        workers: processes that prepare clips.
        pairs: for phase 1: long clips in parts, see `combs_of`, without sound. Of them frames without a face are left
            out when boxes are wanted, and the first part of a clip says whether all are usable.
        prepared: what clips were prepared with where it is not what the protocol says, see `DataConfig.prepared`.

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
        prepared: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, protocol = protocol_name, load_protocol(protocol_name)
        if prepared and protocol.preprocessing.spec != "rendered":
            protocol = load_protocol(protocol_name, **prepared)
        self.size, self.dataset, self.wants_boxes = size, dataset_for(protocol), boxes
        self._face_boxes = FaceBoxes() if boxes and not isinstance(self.dataset, SyntheticDataset) else None
        if self.dataset.auto_prepare:
            self.dataset.prepare(progress or NullProgress(), workers)
        states = self.dataset.availability()
        ready = {state.clip_id for state in states if state.state == "ready"}
        clips = [clip for clip in protocol.clips if clip.id in ready]
        self.listed, self.absent = len(protocol.clips), len(protocol.clips) - len(clips)
        self.fix = next((state.fix for state in states if state.fix), None)
        if not clips:
            raise self._nothing_prepared()
        self.pairs = pairs
        self.combs = combs_of(clips, self.dataset) if pairs else [FrameComb(clip) for clip in clips]
        self._checked: dict[str, ClipError | None] = {}
        self._hashes: dict[str, str] = {}

    def _nothing_prepared(self) -> MissingClips:
        """The error for a protocol none of whose clips is ready; it names what else they were prepared with."""
        what, others = f"{self.name} has no prepared clip to train on", []
        if isinstance(self.dataset, PreparedDataset):
            others = self.dataset.other_stores()
        if not others:
            return MissingClips(what, fix=self.fix)
        wanted = self.dataset.protocol.preprocessing.id
        fix = f"name their boxes and size in [data], or {self.fix}"
        return MissingClips(f"{what}: wanted are clips of {wanted}, here are those of {', '.join(others)}", fix=fix)

    def __len__(self) -> int:
        return len(self.combs)

    def origin(self, index: int) -> tuple[str, str]:
        return self.name, self.combs[index].clip.identity

    def named(self, index: int) -> str:
        comb = self.combs[index]
        return f"{comb.clip.id}/{comb.first}/{comb.stride}"

    def check(self, index: int) -> int:
        comb = self.combs[index]
        if not isinstance(self.dataset, PreparedDataset):
            return super().check(index)
        if not self.pairs:
            return _heard_frames(self.dataset, comb.clip)
        if comb.stride == 1:
            return self.count(index)
        if comb.clip.id not in self._checked:
            self._checked[comb.clip.id] = self._problem(comb.beginning)
        if problem := self._checked[comb.clip.id]:
            raise problem
        return len(comb.numbers)

    def known(self, index: int) -> bool:
        comb = self.combs[index]
        if not self.pairs or not isinstance(self.dataset, PreparedDataset) or comb.first:
            return True  # the first part of a clip says what is to be said of the others
        return known_facts(self._fact_key(comb))

    def count(self, index: int) -> int:
        if not self.pairs or not isinstance(self.dataset, PreparedDataset):
            return super().count(index)
        return len(self._kept(self.combs[index])[0])

    def picked(self, index: int, numbers: Sequence[int]) -> TrainingClip:
        if not self.pairs or not isinstance(self.dataset, PreparedDataset):
            return super().picked(index, numbers)
        comb, chosen = self.combs[index], list(numbers)
        places, faces = self._kept(comb)
        wanted = [comb.first + comb.stride * int(places[i]) for i in chosen]
        frames = read_pictures(self.dataset.folder(comb.clip) / VIDEO, wanted)
        frames = np.stack([resized(frame, self.size) for frame in frames])
        boxes, lips = parts_of(faces[chosen])
        return TrainingClip(
            comb.clip.id, comb.clip.identity, frames, np.zeros(0, np.int16), boxes, _emotion(comb.clip), {}, lips
        )

    def beginning(self, index: int, frames: int) -> TrainingClip:
        if self.pairs or not isinstance(self.dataset, PreparedDataset):
            return super().beginning(index, frames)
        heard = self.heard(index)
        count = min(frames, len(heard.audio) // SAMPLES_PER_FRAME)
        whole = read_pictures(self.dataset.folder(self.combs[index].clip) / VIDEO, range(count))
        return replace(
            heard,
            frames=np.stack([resized(frame, self.size) for frame in whole]),
            audio=heard.audio[: count * SAMPLES_PER_FRAME],
        )

    def _kept(self, comb: FrameComb) -> tuple[np.ndarray, np.ndarray]:
        """Places (N,) in the comb of the frames that are used, and their faces (N, 13 or 0, 4); raises ClipError."""
        seen = self._seen(comb)
        if comb.stride == 1:
            return np.arange(len(seen)), without_gaps(seen) if seen.shape[1] else seen
        places = np.flatnonzero(~np.isnan(seen).any((1, 2)))
        if not len(places):
            raise ClipError("no_face", f"{comb.clip.id}: no face in frames {comb.first}, {comb.numbers[1]}, ...")
        return places, seen[places]

    def _seen(self, comb: FrameComb, media: ClipMedia | None = None) -> np.ndarray:
        """Faces (T, 13, 4) of a part, (T, 0, 4) where none are wanted; looked for once, and the pictures decoded once.

        Args:
            media: the part, where it is decoded already.
        """
        key = self._fact_key(comb)
        seen = read_facts(key)
        if seen is None:
            media = media or _media(self.dataset, comb)
            seen = np.zeros((media.n_frames, 0, 4), np.float32)
            if self._face_boxes is not None:
                seen = self._face_boxes.seen(media)
            write_facts(key, seen)
        return seen

    def _fact_key(self, comb: FrameComb) -> str:
        seen_by = "" if self._face_boxes is None else self._face_boxes.sha256
        return fact_key(self._pixels(comb.clip), comb.first, comb.stride, comb.frames, seen_by)

    def _pixels(self, clip: Clip) -> str:
        """SHA-256 of a clip's pictures as they lie on disk: a file is read once, see `FileHashes`."""
        assert isinstance(self.dataset, PreparedDataset)
        if not self._hashes:
            videos = {comb.clip.id: self.dataset.folder(comb.clip) / VIDEO for comb in self.combs}
            hashes = FileHashes()
            with ThreadPoolExecutor(HASHED_AT_ONCE) as threads:
                found = threads.map(hashes.sha256, videos.values())
                self._hashes = dict(zip(videos, found, strict=True))
            hashes.save()
        return self._hashes[clip.id]

    def _problem(self, first: FrameComb) -> ClipError | None:
        wanted = len(first.numbers)
        try:
            frames = len(self._kept(first)[0])
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
        self._seen(comb, media)
        places, faces = self._kept(comb)
        frames = np.stack([resized(media.frames[place], self.size) for place in places])
        audio = np.zeros(SAMPLES_PER_FRAME * len(frames), np.int16)
        boxes, lips = parts_of(faces)
        return TrainingClip(comb.clip.id, comb.clip.identity, frames, audio, boxes, _emotion(comb.clip), {}, lips)

    def _whole(self, clip: Clip) -> TrainingClip:
        reference = self.dataset.load(clip)
        media = reference.media
        audio = np.zeros(SAMPLES_PER_FRAME * media.n_frames, np.int16) if self.pairs else media.audio
        if audio is None:
            raise ClipError("no_audio", f"{clip.id} has no sound to train on")
        frames = np.stack([resized(frame, self.size) for frame in media.frames])
        boxes, lips = self._boxes(clip, media)
        truth = dict(reference.truth or {})
        return TrainingClip(clip.id, clip.identity, frames, audio, boxes, _emotion(clip), truth, lips)

    def _boxes(self, clip: Clip, media: ClipMedia) -> tuple[np.ndarray, np.ndarray | None]:
        """(T, 3, 4) and lips; looked for in the clip's own pictures, before they are brought to R."""
        if self._face_boxes is not None and isinstance(self.dataset, PreparedDataset) and self.pairs:
            self._seen(FrameComb(clip), media)
            return parts_of(self._kept(FrameComb(clip))[1])
        if self._face_boxes is not None:
            return parts_of(self._face_boxes.of(media))
        if self.wants_boxes and isinstance(self.dataset, SyntheticDataset):
            return component_boxes(self.dataset.spec(clip)), None
        return np.zeros((media.n_frames, 3, 4), np.float32), None


def _emotion(clip: Clip) -> int:
    """Position of the label in FLOAT's list; the table says which word of it its own one is (`fearful`: `fear`)."""
    exact = clip.labels.get("label_exact", "yes") == "yes"  # RAVDESS's `calm` is none of the seven
    label = clip.labels.get("float_label", clip.labels.get("emotion", "")) if exact else ""
    return EMOTIONS.index(label) if label in EMOTIONS else NO_EMOTION


def _media(dataset: Dataset, comb: FrameComb) -> ClipMedia:
    """The pictures of a part; a comb is read frame by frame, so that its pixels are not held to the clip's hash."""
    if comb.stride == 1:
        return dataset.load(comb.clip).media
    assert isinstance(dataset, PreparedDataset)
    return ClipMedia(read_pictures(dataset.folder(comb.clip) / VIDEO, comb.numbers))


def _heard_frames(dataset: PreparedDataset, clip: Clip) -> int:
    """Frames of a clip with sound, by its note; that the sound is whole is seen when it is read."""
    row = read_row(dataset.folder(clip))
    if not row.pcm_sha256 or "silent" in row.flags:
        raise ClipError("no_audio", f"{clip.id} has no sound to train on")
    return row.n_frames


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """A square picture at R x R."""
    if frame.shape[0] == size:
        return frame
    import cv2

    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if frame.shape[0] > size else cv2.INTER_CUBIC)
