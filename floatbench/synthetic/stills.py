"""Random single pictures of a person: any pose, any face, in other people's scenery."""

from __future__ import annotations

import numpy as np

from floatbench.seeds import derive_seed
from floatbench.synthetic.expression import EMOTION_FACES, EMOTIONS, EXPRESSION
from floatbench.synthetic.identity import make_identity
from floatbench.synthetic.renderer import Renderer

_SIGNED = ("lip_width", "gaze_x", "gaze_y")
_RARE = ("lip_press", "lip_bite", "sneer", "brow_knit", "brow_inner", "tongue")


def random_faces(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random pose (count, 6) and expression (count, E), wider than in clips and without their habits."""
    pose = rng.uniform(-1, 1, (count, 6)) * [0.5, 0.28, 0.2, 0.1, 0.08, 0.22]
    face = np.zeros((count, len(EXPRESSION)))
    for i, name in enumerate(EXPRESSION):
        value = rng.random(count)
        if name in _SIGNED or name == "smile":
            value = rng.uniform(-0.8, 0.9, count)
        if name in _RARE:
            value *= rng.random(count) < 0.4
        face[:, i] = value
    lids = EXPRESSION.index("lids")
    face[:, lids] = np.where(rng.random(count) < 0.25, rng.random(count), rng.uniform(-0.5, 0.3, count))
    for row in range(0, count, 2):  # every second face shows an emotion
        for name, value in EMOTION_FACES[EMOTIONS[int(rng.integers(len(EMOTIONS)))]].items():
            if name != "lids":
                face[row, EXPRESSION.index(name)] = value * rng.uniform(0.6, 1)
    return pose.astype(np.float32), face.astype(np.float32)


def random_stills(index: int, count: int, size: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """`count` pictures (count, size, size, 3) uint8 of one person, every one in other scenery.

    Background, light and shirt are those of somebody else, so that nothing but the head tells who it is.

    Returns:
        The pictures; identity (count, K) traits with those of the scenery, pose (count, 6), expression (count, E).
    """
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, f"synthetic/syn-{index}/stills")))
    pose, face = random_faces(rng, count)
    head = Renderer(make_identity(index, seed), size)
    pictures, traits = [], []
    for number, p, f in zip(rng.integers(10**6, size=count), pose, face, strict=True):
        here = head.before(make_identity(int(number), seed + 1))
        pictures.append(here.picture(p, f))
        traits.append(here.person.vector)
    return np.stack(pictures), {"identity": np.stack(traits), "pose": pose, "expression": face}
