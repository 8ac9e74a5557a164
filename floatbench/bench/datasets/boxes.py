"""Chooses the box back end that a protocol's preprocessing names; built once per process."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from floatbench.errors import UsageError
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection

Region = tuple[float, float, float, float]


@cache
def box_backend(name: str, boxes_file: Path | None) -> BoxBackend:
    """The back end `s3fd`, `mediapipe`, `given` (with its file) or `none`; DataError when weights are missing."""
    if name == "s3fd":
        from floatbench.media.boxes_s3fd import S3fdBoxes

        return S3fdBoxes()
    if name == "mediapipe":
        from floatbench.media.boxes_mediapipe import MediapipeBoxes

        return MediapipeBoxes()
    from floatbench.media.boxes_given import GivenBoxes, NoBoxes

    if name == "none":
        return NoBoxes()
    if boxes_file is None:
        raise UsageError(
            "the box back end 'given' needs a file boxes.csv beside the videos", fix="see docs/protocols.md"
        )
    return GivenBoxes(boxes_file)


class FaceIn(BoxBackend):
    """Starts a track only at faces whose centre lies in a region: a data set's own note of which face is meant.

    Args:
        inner: the detector.
        region: (x, y, width, height) as fractions of the picture's height.
    """

    def __init__(self, inner: BoxBackend, region: Region) -> None:
        self._inner, self._region = inner, region
        self.name = inner.name
        self.start_score, self.follow_score = inner.start_score, inner.follow_score
        self.whole_picture = inner.whole_picture

    def info(self) -> BackendInfo:
        return self._inner.info()

    def begin(self, clip_id: str) -> None:
        self._inner.begin(clip_id)

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        found = self._inner.detect(rgb, frame)
        return [face for face in found if self._inside(face.box, rgb.shape[0])] if frame == 0 else found

    def _inside(self, box: Box, height: int) -> bool:
        x, y, w, h = (height * value for value in self._region)
        centre_x, centre_y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        return x <= centre_x <= x + w and y <= centre_y <= y + h
