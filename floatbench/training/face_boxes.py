"""Where mouth and eyes of a real clip are, from MediaPipe's face landmarks, for the component terms of phase 1.

Boxes and lips are those of `floatbench.training.losses.components`. Every frame is looked at on its own; what was seen
is kept in the cache folder by the clip's pictures and the landmarker's SHA-256, so that a clip is looked at once.
T frames. A seen face is (13, 4): the boxes of mouth, left and right eye, then the 20 points of the lips, two a row.
"""

from __future__ import annotations

import hashlib
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from floatbench import weights
from floatbench.errors import ClipError
from floatbench.files import atomic_path, file_sha256
from floatbench.media.boxes import LOST_IN_A_ROW, LOST_SHARE
from floatbench.metrics.landmarker import close_landmarker, face_mesh, open_landmarker
from floatbench.paths import cache_dir
from floatbench.processes import silenced_stderr
from floatbench.types import ClipMedia

WEIGHT = "mediapipe-face-landmarker"
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
"""Outer edge of the lips in the mesh."""
LEFT_RING = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Edge of the eye at the left of the picture, which is the person's right one."""
RIGHT_RING = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
MOUTH_MARGIN = 0.1
"""Of the mouth's width, on all sides."""
EYE_MARGIN = 0.25
"""Of the eye's width, on all sides: the box is 1.5 eyes wide, and a closed eye keeps its lids inside."""


def boxes_of(mesh: np.ndarray) -> np.ndarray:
    """Mesh (P, 2) as fractions of the side -> (3, 4) float32: mouth, left eye, right eye."""
    parts = ((LIPS, MOUTH_MARGIN), (LEFT_RING, EYE_MARGIN), (RIGHT_RING, EYE_MARGIN))
    boxes = np.empty((3, 4), np.float32)
    for row, (ring, margin) in zip(boxes, parts, strict=True):
        low, high = mesh[list(ring)].min(0), mesh[list(ring)].max(0)
        room = margin * (high[0] - low[0])
        row[:2], row[2:] = low - room, high + room
    return boxes


def seen_in(mesh: np.ndarray) -> np.ndarray:
    """Mesh (P, 2) as fractions of the side -> (13, 4) float32, what is kept of a face."""
    return np.concatenate([boxes_of(mesh), mesh[list(LIPS)].reshape(-1, 4)]).astype(np.float32)


def lips_in(seen: np.ndarray) -> np.ndarray:
    """Faces (T, 13, 4) -> the outer edge of the lips (T, 20, 2), in the order of `LIPS`."""
    return np.ascontiguousarray(seen[:, 3:]).reshape(len(seen), len(LIPS), 2)


def parts_of(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Faces (T, 13 or 0, 4) -> boxes (T, 3, 4), zeros where none were wanted, and lips (T, 20, 2)."""
    if not faces.shape[1]:
        return np.zeros((len(faces), 3, 4), np.float32), None
    return faces[:, :3], lips_in(faces)


def without_gaps(seen: np.ndarray) -> np.ndarray:
    """Rows (T, K, 4), NaN where no face was seen -> the same with those frames drawn from their neighbours.

    Between two seen frames boxes move evenly; before the first and after the last one they stay.

    Raises:
        ClipError: `no_face`, or `face_lost` under the rule by which clips are prepared.
    """
    found = ~np.isnan(seen).any((1, 2))
    at = np.flatnonzero(found)
    if not len(at):
        raise ClipError("no_face", "no face in any frame")
    longest = int(np.diff(at, prepend=-1, append=len(seen)).max()) - 1
    missed = len(seen) - len(at)
    if missed > LOST_SHARE * len(seen) or longest > LOST_IN_A_ROW:
        raise ClipError("face_lost", f"{missed} of {len(seen)} frames without a face, {longest} in a row")
    columns = [np.interp(np.arange(len(seen)), at, values) for values in seen[at].reshape(len(at), -1).T]
    return np.stack(columns, 1).reshape(seen.shape).astype(np.float32)


class FaceBoxes:
    """Boxes of mouth and eyes of whole clips.

    Args:
        model: another `.task` file than the registry's, for tests.

    Raises:
        DataError: the landmarker is missing, with the command that fetches it.
    """

    def __init__(self, model: Path | None = None) -> None:
        self._model = model or weights.path(WEIGHT)
        self._sha256 = file_sha256(model) if model else weights.sha256(WEIGHT)
        self._landmarker: Any = None

    @property
    def sha256(self) -> str:
        """Of the landmarker."""
        return self._sha256

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process, which opens a landmarker of its own."""
        return self.__dict__ | {"_landmarker": None}

    def of(self, media: ClipMedia) -> np.ndarray:
        """Faces (T, 13, 4) float32 of a clip, of frames without a face too.

        Raises:
            ClipError: no face in too many frames. DependencyError: mediapipe is missing.
        """
        return without_gaps(self.seen(media))

    def seen(self, media: ClipMedia) -> np.ndarray:
        """Faces (T, 13, 4) float32, NaN where none is seen."""
        file = self._cached(media)
        seen = _read(file, media.n_frames)
        if seen is None:
            seen = self._look(media.frames)
            with atomic_path(file) as partial_file, partial_file.open("wb") as out:
                np.save(out, seen)
        return seen

    def _cached(self, media: ClipMedia) -> Path:
        digest = hashlib.sha256(f"{self._sha256} {media.pixels_sha256}".encode())
        return cache_dir() / "training" / "face-boxes-2" / f"{digest.hexdigest()[:32]}.npy"

    def _look(self, frames: np.ndarray) -> np.ndarray:
        """(T, 13, 4) float32, NaN where no face is seen."""
        if self._landmarker is None:
            self._landmarker = open_landmarker(self._model)
            weakref.finalize(self, close_landmarker, self._landmarker)
        seen = np.full((len(frames), 13, 4), np.nan, np.float32)
        with silenced_stderr():
            for row, frame in zip(seen, frames, strict=True):
                mesh = face_mesh(self._landmarker, frame)
                if mesh is not None:
                    row[:] = seen_in(mesh)
        return seen


def _read(file: Path, frames: int) -> np.ndarray | None:
    """What was seen before; None when nothing was or the file is damaged."""
    if not file.is_file():
        return None
    try:
        seen = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return seen if seen.shape == (frames, 13, 4) else None
