"""MediaPipe Face Landmarker as a backbone: mesh, blendshapes, head pose and mouth opening of every frame.

Its one pass over a clip serves every metric that reads a mesh.

Each frame is measured on its own (IMAGE mode): VIDEO mode smooths over time, so that a result would depend on what came
before. The model is Apache-2.0, 3.8 MB, and runs on the CPU.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from floatbench.errors import DataError, DependencyError
from floatbench.metrics.base import Backbone
from floatbench.paths import quiet_third_parties
from floatbench.processes import silenced_stderr
from floatbench.types import ClipMedia, Features

BLENDSHAPES = 52
MESH = 478
"""Points of the mesh: 468 of the face, 5 of each iris."""
JAW_OPEN = 25
"""Index of `jawOpen` among the 52 blendshapes."""
UPPER_LIP, LOWER_LIP, FOREHEAD, CHIN = 13, 14, 10, 152
"""Mesh indices: middle of the inner upper and lower lip, top of the forehead, chin."""
MAX_FACES = 2
"""Faces looked for in a frame: the second is only counted."""


class FaceMeasure(NamedTuple):
    """What is measured on one frame.

    Attributes:
        blendshapes: (52,) in [0, 1].
        rotation: (3,) radians about x (pitch), y (yaw), z (roll).
        translation: (3,) centimetres in MediaPipe's camera space.
        mouth: gap between the inner lips over the height of the face.
        faces: faces found in the frame.
        mesh: (478, 2) points as fractions of width and height.
    """

    blendshapes: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    mouth: float
    faces: int
    mesh: np.ndarray


def euler_xyz(matrix: np.ndarray) -> np.ndarray:
    """Angles (x, y, z) in radians of a rotation R = Rz Ry Rx; (..., 3, 3) or (..., 4, 4) to (..., 3).

    A uniform scale in the matrix is taken out.
    """
    rotation = np.asarray(matrix, np.float64)[..., :3, :3]
    rotation = rotation / np.linalg.norm(rotation, axis=-2, keepdims=True)
    x = np.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    y = -np.arcsin(np.clip(rotation[..., 2, 0], -1, 1))
    z = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
    return np.stack([x, y, z], axis=-1)


def open_landmarker(model: Path) -> Any:
    """A MediaPipe FaceLandmarker in IMAGE mode; the caller closes it.

    Raises DependencyError without MediaPipe and DataError for a file that is no landmarker.
    """
    quiet_third_parties()
    try:
        with silenced_stderr():
            from mediapipe.tasks.python import BaseOptions, vision
    except ImportError as error:
        raise DependencyError(
            f"mediapipe cannot be imported: {error}", fix="pip install 'floatbench[metrics]'"
        ) from error
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)),
        running_mode=vision.RunningMode.IMAGE,
        num_faces=MAX_FACES,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    try:
        with silenced_stderr():
            return vision.FaceLandmarker.create_from_options(options)
    except (RuntimeError, ValueError) as error:
        fix = "floatbench weights fetch mediapipe-face-landmarker --force"
        raise DataError(f"{model} is no MediaPipe face landmarker", fix=fix) from error


def _faces(landmarker: Any, frame: np.ndarray) -> tuple[Any, list[np.ndarray], int]:
    """What MediaPipe says of one frame, the meshes (P, 2) of its faces in pixels, and which of them is the largest."""
    import mediapipe

    result = landmarker.detect(mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(frame)))
    side = (frame.shape[1], frame.shape[0])
    meshes = [np.array([(p.x, p.y) for p in face]) * side for face in result.face_landmarks]
    return result, meshes, int(np.argmax([np.prod(np.ptp(mesh, axis=0)) for mesh in meshes])) if meshes else -1


def face_mesh(landmarker: Any, frame: np.ndarray) -> np.ndarray | None:
    """Mesh (478, 2) of the largest face of one (H, W, 3) uint8 RGB frame, as fractions of width and height."""
    _, meshes, best = _faces(landmarker, frame)
    return meshes[best] / (frame.shape[1], frame.shape[0]) if meshes else None


def measure_face(landmarker: Any, frame: np.ndarray) -> FaceMeasure | None:
    """Measures the largest face of one (H, W, 3) uint8 RGB frame; None when there is none."""
    result, meshes, best = _faces(landmarker, frame)
    if not meshes:
        return None
    mesh = meshes[best]
    height = np.linalg.norm(mesh[FOREHEAD] - mesh[CHIN])
    matrix = np.asarray(result.facial_transformation_matrixes[best], np.float64)
    return FaceMeasure(
        blendshapes=np.array([shape.score for shape in result.face_blendshapes[best]], np.float32),
        rotation=euler_xyz(matrix),
        translation=matrix[:3, 3].copy(),
        mouth=float(np.linalg.norm(mesh[UPPER_LIP] - mesh[LOWER_LIP]) / max(height, 1e-9)),
        faces=len(meshes),
        mesh=np.array([(p.x, p.y) for p in result.face_landmarks[best]], np.float32),
    )


def close_landmarker(landmarker: Any) -> None:
    """Closes the landmarker; when the interpreter ends its thread pool is gone, and its destructor must not try."""
    try:
        landmarker.close()
    except RuntimeError:
        landmarker._handle = None


class FaceLandmarker(Backbone):
    """Face measures of every frame.

    Features (rows of frames without a face are 0): `found` (T,) bool; `faces` (T,) int32; `blendshapes` (T, 52) float32
    in [0, 1]; `rotation` (T, 3) float32 radians about x, y, z with R = Rz Ry Rx; `translation` (T, 3) float32
    centimetres; `mouth` (T,) float32, gap of the inner lips over face height; `mesh` (T, 478, 2) float32, x and y as
    fractions of width and height. Beside them `size` (2,) int32, height and width of the pictures. Of several faces the
    largest counts.
    """

    id = "mp-landmarker"
    weights = ("mediapipe-face-landmarker",)
    licence = "Apache-2.0"

    def __init__(self, model: Path | None = None) -> None:
        self._model = model
        self._landmarker: Any = None

    def settings(self) -> dict[str, Any]:
        return {"mode": "image", "max_faces": MAX_FACES, "version": 2}

    def load(self, device: str = "cpu") -> None:
        """Opens the model; MediaPipe runs on the CPU whatever the device."""
        if self._landmarker is not None:
            return
        if self._model is None:
            from floatbench import weights

            self._model = weights.path(self.weights[0])
        self._landmarker = open_landmarker(self._model)
        weakref.finalize(self, close_landmarker, self._landmarker)

    def extract(self, clip: ClipMedia) -> Features:
        self.load()
        with silenced_stderr():
            measures = [measure_face(self._landmarker, frame) for frame in clip.frames]
        return stack_measures(measures) | {"size": np.array(clip.frames.shape[1:3], np.int32)}


def stack_measures(measures: list[FaceMeasure | None]) -> Features:
    """The per-frame arrays of `FaceLandmarker` from per-frame measures (None = no face)."""
    nothing = np.zeros(3)
    empty = FaceMeasure(np.zeros(BLENDSHAPES, np.float32), nothing, nothing, 0.0, 0, np.zeros((MESH, 2), np.float32))
    rows = [measure or empty for measure in measures]
    return {
        "found": np.array([measure is not None for measure in measures]),
        "faces": np.array([row.faces for row in rows], np.int32),
        "blendshapes": np.stack([row.blendshapes for row in rows]),
        "rotation": np.stack([row.rotation for row in rows]).astype(np.float32),
        "translation": np.stack([row.translation for row in rows]).astype(np.float32),
        "mouth": np.array([row.mouth for row in rows], np.float32),
        "mesh": np.stack([row.mesh for row in rows]),
    }
