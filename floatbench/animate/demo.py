"""One portrait talking with the best model that is installed here: what `floatbench demo` runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from floatbench import weights
from floatbench.animate.cropping import FETCH, installed
from floatbench.animate.pipeline import FLOAT, Video
from floatbench.errors import ClipError, DataError, OutOfMemory
from floatbench.progress import Progress
from floatbench.sampling.loading import BUNDLED, checkpoint_file
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip

OFFICIAL = ("float", *weights.SPEECH)
SECONDS = 4.0


@dataclass(frozen=True)
class Shown:
    """What was made, with what, and why not with something better."""

    video: Video
    model: str
    files: dict[str, str]
    licence: str
    crop: str
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return {"model": self.model, "weights": self.files, "licence": self.licence, "crop": self.crop} | (
            self.video.record() | {"notes": [*self.notes, *self.video.notes]}
        )


def choose_model() -> tuple[str, list[str]]:
    """`float` where all its weights are, else the bundled `float-tiny`, with a note on what is missing for the better.

    Raises:
        DataError: neither is there.
    """
    missing = [name for name in OFFICIAL if not weights.available(name)]
    if not missing:
        return "float", []
    fetch = f"floatbench weights fetch {' '.join(missing)}"
    try:
        checkpoint_file("float-tiny")
    except DataError as error:
        raise DataError(
            f"no model is installed: {', '.join(missing)} missing for float, and {BUNDLED['float-tiny']} not bundled",
            fix=f"{fetch} (or train float-tiny: docs/training.md)",
        ) from error
    note = f"float-tiny knows synthetic heads only and does not make real people look real; for float: {fetch}"
    return "float-tiny", [note]


def choose_crop() -> tuple[str | None, list[str]]:
    """The first face detector whose weights are there, else None (the whole picture), with a note."""
    if name := installed():
        return name, []
    return None, [f"no face detector is installed, the whole picture is used: {FETCH}"]


def show(image: Path | None, audio: Path | None, out: Path, seed: int, device: str, progress: Progress) -> Shown:
    """Animates a portrait with a sound; a synthetic person lends what is not given.

    Raises:
        DataError: no model is installed, or an unusable picture or sound.
    """
    name, notes = choose_model()
    crop, why = choose_crop() if image is not None else (None, [])
    model = FLOAT.from_pretrained(name, device=device)
    picture, sound = _inputs(model.size, image, audio)
    progress.note(f"weights: {name}")
    try:
        video = model.generate(picture, sound, out, crop=crop, seed=seed, progress=progress)
    except OutOfMemory:
        raise
    except ClipError as error:
        raise DataError(f"{error.reason}: {error.what}") from error
    if model.origin.fabricated:
        notes.append("the weights are random stand-ins: the video shows noise")
    return Shown(video, name, model.origin.files, model.origin.licence, crop or "none", [*notes, *why])


def _inputs(size: int, image: Path | None, audio: Path | None) -> tuple[Path | np.ndarray, Path | np.ndarray]:
    lender = SyntheticClip(TEST_FIRST, 0, SECONDS)
    picture = lender.frames(size, every=lender.n_frames)[0] if image is None else image
    return picture, lender.audio() if audio is None else audio
