"""Which face detector crops a picture, settled before any network is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from floatbench import weights
from floatbench.errors import DataError, UsageError
from floatbench.text import near

DETECTORS = {"s3fd": "s3fd-face-alignment", "mediapipe": "mediapipe-face-landmarker"}
"""Face detectors by the weights they need, the preferred one first."""
AUTO = "auto"
CROPS = (AUTO, *DETECTORS, "given", "none")
FETCH = f"floatbench weights fetch {next(iter(DETECTORS.values()))}"


@dataclass(frozen=True)
class Settled:
    """The box back end's name (`none`: the picture as it is), and what a user should know about the choice."""

    name: str
    notes: list[str] = field(default_factory=list)


def installed() -> str | None:
    """The first face detector whose weights are here."""
    return next((name for name, needed in DETECTORS.items() if weights.available(needed)), None)


def settle(crop: str | None, pictures: Sequence[Path | np.ndarray], side: int, given: bool = False) -> Settled:
    """What `crop` comes to: `auto` is the first detector that is installed.

    Arrays of the network's own size are finished crops, and so are files of that size where no detector is installed.

    Args:
        pictures: files or arrays; what cannot be read is left to whoever reads it.
        side: of the network's picture.
        given: the pictures came as arrays.

    Raises:
        UsageError: an unknown back end. DataError: a detector's weights are missing, and the command that fetches them.
    """
    if crop is None:
        return Settled("none")
    if crop not in CROPS:
        raise UsageError(f"unknown box back end {crop!r}", fix=near(str(crop), CROPS, f"one of {', '.join(CROPS)}"))
    if crop != AUTO:
        if crop in DETECTORS:
            weights.path(DETECTORS[crop])
        return Settled(crop)
    if given and all(_size(picture) == (side, side) for picture in pictures):
        return Settled("none")
    if found := installed():
        return Settled(found)
    shapes = [shape for shape in map(_size, pictures) if shape is not None]
    for shape in shapes:
        if shape != (side, side):
            what = f"{shape[0]} x {shape[1]}"
            if given:
                raise UsageError(f"without a face detector the picture must be cropped to {side} x {side} pixels, not "
                                 f"{what}", fix=f"{FETCH}, or crop=None")  # fmt: skip
            raise DataError(
                f"no face detector is installed, and a picture of {what} pixels is no finished crop ({side} x {side})",
                fix=f"{FETCH}, or --no-crop",
            )
    taken = f"no face detector is installed, the picture is taken for a finished crop: {FETCH}"
    return Settled("none", [taken] if shapes else [])


def _size(picture: Path | np.ndarray) -> tuple[int, int] | None:
    """Width and height, read from a file's header; None for what is no picture."""
    if isinstance(picture, np.ndarray):
        return picture.shape[1], picture.shape[0]
    try:
        with Image.open(picture) as opened:
            return opened.size
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
