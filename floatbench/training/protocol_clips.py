"""The prepared clips of a protocol as training clips. T frames, R pixels."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import numpy as np

from floatbench.bench.dataset import Dataset
from floatbench.bench.protocol import Clip, dataset_for, load_protocol
from floatbench.errors import ClipError, DataError
from floatbench.progress import NullProgress, Progress
from floatbench.synthetic.dataset import SyntheticDataset
from floatbench.synthetic.expression import EMOTIONS
from floatbench.training.clips import NO_EMOTION, ClipSet, TrainingClip, component_boxes, side_by_side
from floatbench.training.face_boxes import FaceBoxes
from floatbench.types import ClipMedia


class ProtocolClips(ClipSet):
    """The prepared clips of a protocol (`hdtf-train`, `ravdess-train`, `folder:DIR`, `synthetic`).

    Args:
        size: R.
        boxes: whether clips know where mouth and eyes are: synthetic ones do by themselves, others are looked at by the
            face landmarker, once. Without it boxes are zeros.
        workers: processes that prepare clips and look at them.

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
    ) -> None:
        protocol = load_protocol(protocol_name)
        self.size, self.dataset, self.wants_boxes = size, dataset_for(protocol), boxes
        self._face_boxes = FaceBoxes() if boxes and not isinstance(self.dataset, SyntheticDataset) else None
        if self.dataset.auto_prepare:
            self.dataset.prepare(progress or NullProgress(), workers)
        states = self.dataset.availability()
        ready = {state.clip_id for state in states if state.state == "ready"}
        self.clips = [clip for clip in protocol.clips if clip.id in ready]
        self.absent = len(protocol.clips) - len(self.clips)
        if not self.clips:
            fix = next((state.fix for state in states if state.fix), None)
            raise DataError(f"{protocol_name} has no prepared clip to train on", fix=fix)
        if self._face_boxes is not None and workers > 1:
            self._look_at_all(progress or NullProgress(), workers)

    def __len__(self) -> int:
        return len(self.clips)

    def _look_at_all(self, progress: Progress, workers: int) -> None:
        """Fills the cache of boxes side by side; what is wrong with a clip is told when it is loaded."""
        with progress.task("faces", len(self.clips), "clip") as task, side_by_side(workers, "looks for faces") as pool:
            for _ in pool.map(partial(_look_at, self.dataset), self.clips):
                task.advance()

    def load(self, index: int) -> TrainingClip:
        clip = self.clips[index]
        reference = self.dataset.load(clip)
        media = reference.media
        if media.audio is None:
            raise ClipError("no_audio", f"{clip.id} has no sound to train on")
        frames = np.stack([resized(frame, self.size) for frame in media.frames])
        boxes = self._boxes(clip, media)
        label = clip.labels.get("emotion", "")
        emotion = EMOTIONS.index(label) if label in EMOTIONS else NO_EMOTION
        return TrainingClip(clip.id, clip.identity, frames, media.audio, boxes, emotion, dict(reference.truth or {}))

    def _boxes(self, clip: Clip, media: ClipMedia) -> np.ndarray:
        """(T, 3, 4); looked for in the clip's own pictures, before they are brought to R."""
        if self._face_boxes is not None:
            return self._face_boxes.of(media)
        if self.wants_boxes and isinstance(self.dataset, SyntheticDataset):
            return component_boxes(self.dataset.spec(clip))
        return np.zeros((media.n_frames, 3, 4), np.float32)


def _look_at(dataset: Dataset, clip: Clip) -> None:
    with suppress(ClipError):
        FaceBoxes().of(dataset.load(clip).media)


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    """A square picture at R x R."""
    if frame.shape[0] == size:
        return frame
    import cv2

    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA if frame.shape[0] > size else cv2.INTER_CUBIC)
