"""Face boxes: what a back end gives, and following one face through a clip."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np

from floatbench.errors import ClipError

LEAST_IOU = 0.25
LOST_SHARE = 0.05
LOST_IN_A_ROW = 12


class Box(NamedTuple):
    """A face box in whole pixels of the upright picture, truncated toward zero as FLOAT does; it may stick out."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def longer(self) -> int:
        return max(self.right - self.left, self.bottom - self.top)

    @property
    def area(self) -> int:
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)


class Detection(NamedTuple):
    """A box and the detector's score (1.0 where it has none)."""

    box: Box
    score: float = 1.0


@dataclass(frozen=True)
class BackendInfo:
    """What the manifest records about a back end; `models` maps file name to SHA-256.

    `fabricated` is True for random weights: what they prepare is not a result.
    """

    name: str
    version: str
    models: dict[str, str] = field(default_factory=dict)
    fabricated: bool = False


class BoxBackend(ABC):
    """Finds faces in single pictures.

    Class attributes:
        name: as in a protocol's `preprocessing.boxes`.
        start_score, follow_score: scores a face must exceed to start a track and to carry it on.
        whole_picture: True when there is no detection and the crop is the centre square of the picture.
    """

    name: str
    start_score: float = 0.0
    follow_score: float = 0.0
    whole_picture: bool = False

    @abstractmethod
    def info(self) -> BackendInfo:
        """Name, version and model hashes."""

    def begin(self, clip_id: str) -> None:  # noqa: B027 - detectors look at pictures only
        """Called before the first picture of a clip."""

    @abstractmethod
    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        """All faces of one upright (H, W, 3) uint8 RGB picture; `frame` is its number in the 25 fps clip."""

    def close(self) -> None:  # noqa: B027 - most have nothing to free
        """Frees the network."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes; 0 when both are empty."""
    width = min(a.right, b.right) - max(a.left, b.left)
    height = min(a.bottom, b.bottom) - max(a.top, b.top)
    common = max(width, 0) * max(height, 0)
    union = a.area + b.area - common
    return common / union if union > 0 else 0.0


class FaceFollower:
    """Follows the face that is largest in frame 0 by best overlap with its last box (pp1, item 5).

    Args:
        n_frames: length of the clip; more than 5 % of it without the face is `face_lost`.
        start_score, follow_score: see `BoxBackend`.
    """

    def __init__(self, n_frames: int, start_score: float = 0.0, follow_score: float = 0.0) -> None:
        self._allowed = LOST_SHARE * n_frames
        self._start_score, self._follow_score = start_score, follow_score
        self.boxes: list[Box | None] = []
        self._first: Box | None = None
        self._last: Box | None = None
        self._missed = 0
        self._missed_in_a_row = 0

    def add(self, detections: list[Detection]) -> None:
        """Adds the next frame; raises ClipError `no_face`, `face_lost` or `moved` as soon as that is certain."""
        if self._first is None or self._last is None:
            able = [d.box for d in detections if d.score > self._start_score and d.box.area > 0]
            if not able:
                raise ClipError("no_face", "no face in the first frame")
            self._first = self._last = max(able, key=lambda box: box.area)
            self.boxes.append(self._first)
            return
        last = self._last
        able = [d.box for d in detections if d.score > self._follow_score]
        best = max(able, key=lambda box: iou(box, last), default=None)
        if best is None or iou(best, last) <= LEAST_IOU:
            self._miss()
            return
        if iou(best, self._first) <= LEAST_IOU:
            raise ClipError("moved", f"frame {len(self.boxes)}: the face left its first box")
        self._last, self._missed_in_a_row = best, 0
        self.boxes.append(best)

    def _miss(self) -> None:
        self._missed += 1
        self._missed_in_a_row += 1
        if self._missed > self._allowed or self._missed_in_a_row > LOST_IN_A_ROW:
            raise ClipError(
                "face_lost",
                f"frame {len(self.boxes)}: {self._missed} frames without the face, {self._missed_in_a_row} in a row",
            )
        self.boxes.append(None)
