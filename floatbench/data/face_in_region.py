"""Chooses the box back end that a protocol's preprocessing names; built once per process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from floatbench.media.backends import box_backend
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection

Region = tuple[float, float, float, float]


_LOADED: dict[tuple[str, Path | None], BoxBackend] = {}


def cached_backend(name: str, boxes_file: Path | None) -> BoxBackend:
    """The box back end, loaded once per process; see `floatbench.media.backends.box_backend`."""
    key = (name, boxes_file)
    if key not in _LOADED:
        _LOADED[key] = box_backend(name, file=boxes_file)
    return _LOADED[key]


def close_backends() -> None:
    """Closes what `cached_backend` loaded; MediaPipe complains when that is left to the end of the interpreter."""
    while _LOADED:
        _LOADED.popitem()[1].close()


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
