"""Features of faces that were drawn instead of found: a mesh of known shape and motion, no network."""

from __future__ import annotations

import numpy as np

from floatbench.metrics import face_points as points
from floatbench.metrics.base import Pair
from floatbench.metrics.landmarker import stack_measures

SIZE = (200, 400)
"""Height and width of the drawn pictures."""
EYES = 80.0
"""Pixels between the middles of the eyes."""


def mesh(frames: int, seed: int = 0) -> np.ndarray:
    """(T, 478, 2) pixels: points spread over a box of 120 x 120 around (200, 100), the eyes 80 pixels apart."""
    face = np.array([200, 100]) + np.random.default_rng(seed).uniform(-60, 60, (478, 2))
    for which, x in ((points.RIGHT_EYE, 160.0), (points.LEFT_EYE, 240.0)):
        face[list(which)] += (x, 80.0) - face[list(which)].mean(axis=0)
    return np.repeat(face[None], frames, axis=0)


def features(
    frames: int = 60,
    *,
    degrees: np.ndarray | None = None,
    shapes: dict[int, np.ndarray] | None = None,
    pixels: np.ndarray | None = None,
    size: tuple[int, int] = SIZE,
    missing: slice | None = None,
) -> dict[str, np.ndarray]:
    """What the landmarker would say: `degrees` (T, 3), blendshapes by index, a mesh in pixels of `size`."""
    made = {name: np.repeat(array, frames, axis=0) for name, array in stack_measures([None]).items()}
    made |= {"found": np.ones(frames, bool), "faces": np.ones(frames, np.int32), "size": np.array(size, np.int32)}
    if degrees is not None:
        made["rotation"] = np.radians(degrees).astype(np.float32)
    for index, values in (shapes or {}).items():
        made["blendshapes"][:, index] = values
    drawn = mesh(frames) if pixels is None else pixels
    made["mesh"] = (drawn / (size[1], size[0])).astype(np.float32)
    if missing is not None:
        made["found"][missing] = False
        for name in ("rotation", "blendshapes", "mesh"):
            made[name][missing] = 0
    return made


def pair(generated: dict[str, dict], reference: dict[str, dict] | None = None) -> Pair:
    """A clip whose sides have these features by backbone."""
    sides = {"generated": generated, "reference": reference or generated}
    return Pair("c", "p", lambda side, name: sides[side][name])
