"""What synthetic clips know of their own motion, as targets of phase 1 for models that are small and trained briefly.

The true numbers of pose and face (T, M = 20), and where points of the head's surface lie in every picture. The paper
has neither: its auto-encoder finds both by itself in 460,000 steps. T frames, P points.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from floatbench.synthetic.camera import project, rotation
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.synthetic.identity import make_identity
from floatbench.synthetic.paint import JAW_DROP
from floatbench.synthetic.shape import anatomy, directions, radius_map
from floatbench.synthetic.skin import step

MOTION_NAMES = (*POSE, *EXPRESSION)
"""Order of the true motion, M = 20."""
_POSE_SPREAD = (0.18, 0.09, 0.06, 0.045, 0.032, 0.09)
_FACE_SPREAD = (0.18, 0.31, 0.27, 0.28, 0.23, 0.34, 0.19, 0.35, 0.31, 0.32, 0.22, 0.34, 0.29, 0.28)
SPREAD = np.array((*_POSE_SPREAD, *_FACE_SPREAD), np.float32)
"""Standard deviations over 60 training clips: the targets have about unit spread."""
MIRRORED = np.array([-1 if name in ("yaw", "roll", "x", "gaze_x") else 1 for name in MOTION_NAMES], np.float32)
"""Signs of the motion of a mirrored picture."""

TRACK_GRID = 18
FACING = 0.3
"""A point counts when its direction turns towards the camera by at least this cosine."""


def true_motion(pose: np.ndarray, expression: np.ndarray) -> np.ndarray:
    """(T, 6) and (T, 14) -> (T, 20) float32 of about unit spread."""
    return (np.concatenate([pose, expression], axis=1) / SPREAD).astype(np.float32)


@lru_cache(maxsize=4)
def _surface(identity: int, seed: int) -> np.ndarray:
    """(P, 3) points of a person's resting skin, dense on the face."""
    person = make_identity(identity, seed)
    way, radius = directions(TRACK_GRID), radius_map(person, TRACK_GRID)
    return (way * radius[..., None]).reshape(-1, 3)[way[..., 2].ravel() > 0]


def surface_tracks(clip: SyntheticClip) -> np.ndarray:
    """(T, P, 3) float16: x and y of surface points in [-1, 1] as `grid_sample` counts, and 1 where they are visible.

    The jaw takes the points below the mouth along; smaller deformations are left out.
    """
    points, a = _surface(clip.identity, clip.seed), anatomy(clip.person)
    x, y, z = points.T
    hangs = step(0.0, 0.36, a.mouth_y + 0.02 - y) * step(0.9, 0.35, np.abs(x)) * step(-0.1, 0.25, z)
    way = points / np.linalg.norm(points, axis=1, keepdims=True)
    jaw = clip.expression[:, EXPRESSION.index("jaw")]
    tracks = np.empty((clip.n_frames, len(points), 3), np.float16)
    for t, pose in enumerate(clip.pose):
        turn = rotation(*(float(v) for v in pose[:3]))
        moved = points.copy()
        moved[:, 1] -= JAW_DROP * hangs * jaw[t]
        at = project(moved, turn, np.asarray(pose[3:], np.float32), 1000)
        tracks[t, :, :2] = (at + 0.5) / 500 - 1
        tracks[t, :, 2] = ((way @ turn.T)[:, 2] > FACING) & (np.abs(tracks[t, :, :2]) < 1).all(1)
    return tracks


def mirror_tracks(tracks: np.ndarray) -> np.ndarray:
    """Tracks (..., 3) of the mirrored picture."""
    return tracks * np.array([-1, 1, 1], tracks.dtype)
