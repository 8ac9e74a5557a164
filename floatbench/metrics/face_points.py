"""Which points of MediaPipe's mesh and which blendshapes are what; small geometry that several metrics share."""

from __future__ import annotations

import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics.base import require_measured
from floatbench.types import Features

FACE = slice(0, 468)
"""The mesh without the irises."""
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)  # fmt: skip
"""Outer and inner rim of the lips, 40 points."""
INNER_UPPER = (191, 80, 81, 82, 13, 312, 311, 310)
INNER_LOWER = (95, 88, 178, 87, 14, 317, 402, 318)
"""The inner lips from corner to corner; those of one place in the two tuples face each other."""
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
BLINK = (9, 10)
"""Blendshapes `eyeBlinkLeft`, `eyeBlinkRight`."""
LOOK_LEFT, LOOK_RIGHT = (15, 14), (13, 16)
"""`eyeLookOutLeft` and `eyeLookInRight`; `eyeLookInLeft` and `eyeLookOutRight`."""
LOOK_UP, LOOK_DOWN = (17, 18), (11, 12)


def seen(features: Features, least: int = 2) -> np.ndarray:
    """(T,) bool: frames with a face.

    Raises:
        ClipError: `no_face`; `few_pictures` below the floor of all metrics; `too_short` below `least` frames.
    """
    found = features["found"].astype(bool)
    if not found.any():
        raise ClipError("no_face", f"no face in any of {len(found)} frames")
    require_measured(int(found.sum()), len(found))
    if found.sum() < least:
        raise ClipError("too_short", f"{int(found.sum())} frames with a face, {least} are needed")
    return found


def in_pixels(features: Features) -> np.ndarray:
    """(T, 478, 2) float64 mesh in pixels of the pictures."""
    height, width = (int(side) for side in features["size"])
    return features["mesh"].astype(np.float64) * (width, height)


def middle(points: np.ndarray, which: tuple[int, ...]) -> np.ndarray:
    """(T, 2) mean of some of (T, P, 2) points."""
    return points[:, which].mean(axis=1)


def eye_distance(points: np.ndarray, found: np.ndarray) -> float:
    """Median over the frames with a face of the distance of both eyes' middles, in the unit of (T, 478, 2) points."""
    apart = np.linalg.norm(middle(points, LEFT_EYE) - middle(points, RIGHT_EYE), axis=1)
    return max(float(np.median(apart[found])), 1e-9)


def differences(values: np.ndarray, found: np.ndarray, order: int = 1) -> np.ndarray:
    """(n, ...) differences of that order of (T, ...) values, where all `order + 1` frames in a row have a face.

    Raises ClipError `too_short` where there is none.
    """
    if len(values) > order:
        whole = np.lib.stride_tricks.sliding_window_view(found, order + 1).all(axis=1)
        steps = np.diff(values, n=order, axis=0)[whole]
        if len(steps):
            return steps
    raise ClipError("too_short", f"a face in {order + 1} frames in a row is needed")
