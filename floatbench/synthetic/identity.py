"""Who a synthetic person is: a named vector of shape, skin, hair, eyes, extras, light, background and voice."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from floatbench.errors import UsageError
from floatbench.seeds import derive_seed

TRAITS = (
    "head_width",
    "face_length",
    "jaw_width",
    "chin",
    "cheeks",
    "brow_ridge",
    "nose_length",
    "nose_width",
    "nose_depth",
    "eye_spacing",
    "eye_size",
    "eye_tilt",
    "eye_height",
    "brow_thickness",
    "brow_arch",
    "mouth_width",
    "lip_fullness",
    "mouth_height",
    "ears",
    "skin_tone",
    "skin_warmth",
    "freckles",
    "blush",
    "lip_colour",
    "iris_hue",
    "iris_light",
    "hair_dark",
    "hair_warm",
    "hair_grey",
    "hairline",
    "hair_volume",
    "hair_length",
    "fringe",
    "beard",
    "glasses",
    "light_side",
    "light_height",
    "light_warmth",
    "back_hue",
    "back_light",
    "shirt_hue",
    "shirt_light",
    "femininity",
    "voice_pitch",
    "voice_tract",
)
"""Names of the identity vector, in its order; every entry lies in [-1, 1]."""

_INDEX = {name: i for i, name in enumerate(TRAITS)}


@dataclass(frozen=True)
class Identity:
    """One synthetic person.

    Attributes:
        index: number of the person; equal numbers and seeds give equal people on every machine.
        seed: data set seed.
        vector: (len(TRAITS),) float32 in [-1, 1].
    """

    index: int
    seed: int
    vector: np.ndarray

    def __getitem__(self, trait: str) -> float:
        return float(self.vector[_INDEX[trait]])

    @property
    def name(self) -> str:
        """The identity's name in protocols, e.g. ``syn-12``."""
        return f"syn-{self.index}"

    def in_scenery(self, other: Identity) -> Identity:
        """This person with the light, background and shirt of another one; both stay as they are."""
        theirs = [name.startswith(("light_", "back_", "shirt_")) for name in TRAITS]
        return replace(self, vector=np.where(theirs, other.vector, self.vector))

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator for one part of this person (skin noise, hair, background); parts do not disturb each other."""
        return np.random.Generator(np.random.PCG64(derive_seed(self.seed, f"synthetic/{self.name}/{purpose}")))


def make_identity(index: int, seed: int = 0) -> Identity:
    """Draws the person with the given number.

    Traits are uniform except those that go together: femininity shifts voice, jaw, brows, beard and hair length, and a
    person is bearded or wears glasses only now and then. Raises UsageError for a negative number.
    """
    if index < 0:
        raise UsageError(f"identity numbers start at 0, got {index}")
    rng = np.random.Generator(np.random.PCG64(derive_seed(seed, f"synthetic/syn-{index}/traits")))
    vector = rng.uniform(-1, 1, len(TRAITS)).astype(np.float32)

    def put(name: str, value: float) -> None:
        vector[_INDEX[name]] = np.float32(np.clip(value, -1, 1))

    def get(name: str) -> float:
        return float(vector[_INDEX[name]])

    feminine = 1.0 if get("femininity") > 0 else -1.0
    put("femininity", 0.6 * feminine + 0.4 * get("femininity"))
    for name, pull in (("jaw_width", -0.4), ("brow_thickness", -0.45), ("brow_ridge", -0.5), ("lip_fullness", 0.3)):
        put(name, 0.6 * get(name) + pull * feminine)
    put("hair_length", 0.55 * get("hair_length") + 0.5 * feminine)
    put("voice_pitch", 0.5 * get("voice_pitch") + 0.5 * feminine)
    put("voice_tract", 0.5 * get("voice_tract") - 0.5 * feminine)
    put("beard", get("beard") if feminine < 0 else -1.0)
    put("hair_grey", 2.2 * get("hair_grey") - 1.6)
    put("freckles", 1.6 * get("freckles") - 0.8)
    put("hairline", 0.7 * get("hairline") - 0.2 * feminine)
    return Identity(index=index, seed=seed, vector=vector)
