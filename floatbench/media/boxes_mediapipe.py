"""Face boxes from MediaPipe's face landmarker: an approximation of the S3FD box, labelled `pp1-mp`."""

from __future__ import annotations

import importlib.metadata
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.errors import DependencyError
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection
from floatbench.paths import quiet_third_parties
from floatbench.processes import silenced_stderr

WEIGHT = "mediapipe-face-landmarker"
SIDE = 1.11  # of the longer side of the landmark box
RISE = 0.061  # of its height
MOST_FACES = 8


class MediapipeBoxes(BoxBackend):
    """Face landmarker in image mode: no smoothing over time, so a frame's box depends on that frame alone.

    The box is a square of 1.11 times the longer side of the landmark box, its centre 0.061 of the box's height higher.

    Args:
        model: another `.task` file than the registry's, for tests.
    """

    name = "mediapipe"

    def __init__(self, model: Path | None = None) -> None:
        from floatbench import weights
        from floatbench.files import file_sha256

        file = Path(model) if model else weights.path(WEIGHT)
        self._sha256 = file_sha256(file) if model else weights.sha256(WEIGHT)
        self._landmarker, self._image = _build(file)
        # MediaPipe's own destructor fails when the interpreter is already being taken down
        self._close = weakref.finalize(self, self._landmarker.close)

    def info(self) -> BackendInfo:
        return BackendInfo(self.name, f"mediapipe {importlib.metadata.version('mediapipe')}", {WEIGHT: self._sha256})

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        """All faces of the picture; MediaPipe gives no score for the landmarks."""
        with silenced_stderr():
            result = self._landmarker.detect(self._image(rgb))
        height, width = rgb.shape[:2]
        points = [np.array([(p.x * width, p.y * height) for p in face]) for face in result.face_landmarks]
        return [Detection(square_box(face)) for face in points]

    def close(self) -> None:
        self._close()


def square_box(points: np.ndarray) -> Box:
    """The box made of (P, 2) landmarks in pixels."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = SIDE * float(max(high - low)) / 2
    x, y = (low + high) / 2
    y -= RISE * (high - low)[1]
    return Box(int(x - half), int(y - half), int(x + half), int(y + half))


def _build(file: Path) -> tuple[Any, Any]:
    quiet_third_parties()
    try:
        with silenced_stderr():
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise DependencyError(
            "face boxes with mediapipe need the package mediapipe", fix="uv pip install -e '.[metrics]'"
        ) from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=file.read_bytes()),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=MOST_FACES,
    )

    def image(rgb: np.ndarray) -> Any:
        return mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))

    with silenced_stderr():
        detector = vision.FaceLandmarker.create_from_options(options)
        detector.detect(image(np.zeros((64, 64, 3), np.uint8)))  # the first call says more than a run should
    return detector, image
