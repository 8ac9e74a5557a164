"""What can be chosen on the page, and what is missing for it with its size and the command that gets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from floatbench import weights
from floatbench.animate.cropping import DETECTORS
from floatbench.errors import DataError
from floatbench.model.config import FLOAT_512
from floatbench.sampling.loading import BUNDLED, card_of, checkpoint_file, config_of
from floatbench.sampling.options import SamplingOptions
from floatbench.web.wish import NO_CROP

OFFICIAL = "float"


@dataclass(frozen=True)
class MissingWeight:
    """A weight file that is not on this machine."""

    name: str
    size: int | None
    licence: str
    command: str


def models(further: tuple[str, ...] = ()) -> list[str]:
    """The models to choose from: the official release, the bundled ones, and checkpoint files.

    Raises:
        DataError: a checkpoint file that does not exist.
    """
    for name in further:
        if name != OFFICIAL:
            checkpoint_file(name)
    return list(dict.fromkeys((OFFICIAL, *BUNDLED, *further)))


def first_choice(offered: list[str]) -> str:
    """What is chosen at the beginning: the official release where it can run, else the first that can."""
    return next((name for name in offered if not missing_weights(name)), offered[0])


def missing_weights(model: str) -> list[MissingWeight]:
    """The weights that a model or a face detector lacks on this machine."""
    wanted = (OFFICIAL, *weights.SPEECH) if model == OFFICIAL else (DETECTORS[model],) if model in DETECTORS else ()
    rows = [weights.entry(name) for name in wanted if not weights.available(name)]
    return [MissingWeight(row.name, row.size, row.licence, weights.mend(row.name)) for row in rows]


def check_weights(model: str, crop: str) -> None:
    """Raises DataError that names everything a model and a face detector lack, with one command for all of it."""
    lacking = [*missing_weights(model), *missing_weights(crop)]
    if lacking:
        told = ", ".join(f"{row.name} ({size(row.size)})" for row in lacking)
        raise DataError(f"weights are not on this machine: {told}", fix=fetch_command(lacking))


def fetch_command(lacking: list[MissingWeight]) -> str:
    """One command that fetches all of them."""
    accept = any("--accept-license" in row.command for row in lacking)
    words = ["floatbench weights fetch", *(row.name for row in lacking), *(["--accept-license"] if accept else [])]
    return " ".join(words)


def size(count: int | None) -> str:
    """Bytes for people."""
    return "size not known" if count is None else f"{count / 1e6:.0f} MB" if count >= 1e6 else "below 1 MB"


def detectors() -> list[tuple[str, str]]:
    """(label, name) of the ways to find the face."""
    return [*((f"find the face ({name})", name) for name in DETECTORS), ("the picture is a face already", NO_CROP)]


def first_detector() -> str:
    """The first face detector that is installed, else none."""
    return next((name for name in DETECTORS if not missing_weights(name)), NO_CROP)


def directions(model: str) -> tuple[str, ...]:
    """The labels of a model's motion directions, in order, without loading it."""
    names, config = card_of(model).directions, config_of(model) or FLOAT_512
    return tuple(names) or tuple(f"direction {number}" for number in range(config.dim_m))


def own_sampling(model: str) -> SamplingOptions:
    """How a model is sampled unless told otherwise, without loading it."""
    return card_of(model).preset()


def label(model: str) -> str:
    """A model's name; of a checkpoint file without its folder."""
    return model if model in (OFFICIAL, *BUNDLED) else Path(model).name
