"""Loading a FLOAT model by name or file, and remembering where its weights came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from floatbench import weights
from floatbench.errors import DataError, UsageError
from floatbench.model import checkpoint
from floatbench.model.config import FLOAT_512, FloatConfig
from floatbench.model.float import FloatModel
from floatbench.model.layers import set_impl
from floatbench.sampling.domain import Domain
from floatbench.sampling.options import SamplingOptions, preset
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.text import near
from floatbench.weights import lockfile

BUNDLED = {"float-tiny": "float-tiny.safetensors"}
"""Models inside the package, by file name in floatbench/assets."""


DIRECTIONS = {"float-tiny": (*POSE, *EXPRESSION)}
"""Names of the motion directions of models whose files do not hold them; other models' are in their files' notes."""


@dataclass(frozen=True)
class Origin:
    """Where weights come from.

    Attributes:
        name: of the model. files: weight name -> SHA-256. licence: of the weights.
        fabricated: True when any file holds seeded random weights: what it makes cannot be scored.
    """

    name: str
    files: dict[str, str]
    licence: str = ""
    fabricated: bool = False

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return {"name": self.name, "files": self.files, "licence": self.licence, "fabricated": self.fabricated}


def origin_of(name_or_path: str | Path) -> Origin:
    """Where the weights of a model come from, without loading it; an unchanged file is hashed once on a machine.

    Raises:
        DataError: they are missing, with the command that fetches them.
    """
    name, entries = str(name_or_path), entries_of(name_or_path)
    if len(absent := [entry for entry in entries if not weights.available(entry)]) > 1:
        terms = [
            f"; licence of {each}: {row.licence}" for each in absent if not (row := weights.entry(each)).commercial
        ]
        what = f"weights {', '.join(map(repr, absent))} are not on this machine{''.join(terms)}"
        accept = " --accept-license" if terms else ""
        raise DataError(what, fix=f"floatbench weights fetch {' '.join(absent)}{accept}")
    files: dict[str, str] = {}
    licences = [weights.entry(entry).licence for entry in entries]
    if name != "float":
        file = checkpoint_file(name_or_path)
        files[file.name] = lockfile.hashed(file)
        licences.insert(0, checkpoint.read_metadata(file).licence or "not stated")
    return Origin(
        name if name == "float" or name in BUNDLED else Path(name).stem,
        files | {entry: weights.sha256(entry) for entry in entries},
        "; ".join(dict.fromkeys(licences)),
        any(weights.is_fabricated(entry) for entry in entries),
    )


def entries_of(name_or_path: str | Path) -> tuple[str, ...]:
    """Registry entries that a model is loaded from."""
    if str(name_or_path) == "float":
        return ("float", *weights.SPEECH)
    return weights.SPEECH if _needs_speech(name_or_path) else ()


def checkpoint_file(name_or_path: str | Path) -> Path:
    """The file of a bundled model or of a checkpoint given by path; raises DataError when there is none."""
    if bundled := BUNDLED.get(str(name_or_path)):
        file = Path(str(resources.files("floatbench"))) / "assets" / bundled
        if not file.is_file():
            raise DataError(f"this copy of floatbench has no {bundled}", fix="train it: docs/training.md")
        return file
    file = Path(name_or_path)
    if not file.is_file():
        names = ("float", *BUNDLED)
        raise DataError(f"{name_or_path} is neither one of {', '.join(names)} nor a checkpoint file",
                        fix=near(str(name_or_path), names, "--weights NAME|FILE"))  # fmt: skip
    return file


def config_of(name_or_path: str | Path) -> FloatConfig | None:
    """The configuration of a model without loading it; None where its file is not here."""
    if str(name_or_path) == "float":
        return FLOAT_512
    try:
        return checkpoint.read_metadata(checkpoint_file(name_or_path)).config
    except DataError:
        return None


@dataclass(frozen=True)
class ModelCard:
    """What a model says about its inputs.

    Attributes:
        directions: names of the motion directions, in order; empty where they have none.
        pose: mean and spread (6,) of the head poses it was trained with.
        domain: the people it knows; None where nobody told.
        sampling: the sampling options that it chooses for itself where the preset is `default`.
    """

    directions: tuple[str, ...] = ()
    pose: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0,) * 6, (1.0,) * 6)
    domain: Domain | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def preset(self, name: str = "default", **changes: Any) -> SamplingOptions:
        """The options of a preset for this model, see `floatbench.sampling.options.preset`."""
        return preset(name, self.sampling, **changes)

    def standardised(self, pose: np.ndarray) -> np.ndarray:
        """Head poses (T, 6) as the network takes them."""
        mean, spread = (np.array(part, np.float32) for part in self.pose)
        return (pose - mean) / spread


def card_of(name_or_path: str | Path) -> ModelCard:
    """The card of a model, from its file's notes, without loading it; an empty one where the file is not here.

    Raises:
        DataError: the file asks for a sampling that does not exist.
    """
    config = config_of(name_or_path)
    if config is None or str(name_or_path) == "float":
        return ModelCard()
    file = checkpoint_file(name_or_path)
    notes = json.loads(checkpoint.read_metadata(file).notes or "{}")
    names = tuple(notes.get("directions", DIRECTIONS.get(str(name_or_path), ())))
    scale = notes.get("pose", {"mean": ModelCard.pose[0], "std": ModelCard.pose[1]})
    domain = Domain.from_record(notes["domain"]) if "domain" in notes else None
    directions, pose = names if len(names) == config.dim_m else (), (tuple(scale["mean"]), tuple(scale["std"]))
    card = ModelCard(directions, pose, domain, notes.get("sampling", {}))
    try:
        card.preset()
    except UsageError as error:
        raise DataError(f"{file}: its notes ask for a sampling that cannot be: {error.what}") from None
    return card


def load_model(name_or_path: str | Path, impl: Literal["plain", "fast"] = "fast") -> tuple[FloatModel, Origin]:
    """A model in evaluation mode on the CPU, float32, and where it came from.

    Args:
        name_or_path: `float`, a name of `BUNDLED`, or a checkpoint file; a `.pth` of the release without its speech
            networks takes these from the registry.

    Raises:
        DataError: missing or damaged weights, a pickle with code in it, NaN; see `floatbench.model.checkpoint`.
    """
    origin = origin_of(name_or_path)
    file = weights.path("float") if str(name_or_path) == "float" else checkpoint_file(name_or_path)
    speech, emotion = (weights.path(name) for name in weights.SPEECH) if _needs_speech(name_or_path) else (None, None)
    model = checkpoint.load(file, speech, emotion)
    set_impl(model, impl)
    return model.requires_grad_(False), origin


def _needs_speech(name_or_path: str | Path) -> bool:
    """Whether the speech networks come from the registry, as the release's own file holds none.

    A pickle given by path is read for that: a converted one may be whole, and one with code in it is refused here.
    """
    if str(name_or_path) == "float":
        return True
    file = checkpoint_file(name_or_path)
    return file.suffix != ".safetensors" and not _holds_speech(file, lockfile.hashed(file))


@cache
def _holds_speech(file: Path, sha256: str) -> bool:
    """Whether a pickle of that content holds the speech networks: it is read once, however often it is described."""
    return any(key.startswith(checkpoint.AUDIO_PREFIX) for key in checkpoint.read_tensors(file))
