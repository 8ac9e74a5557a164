"""What is asked for on the page, and the command that asks for the same."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from floatbench.sampling.choices import read as read_choices
from floatbench.sampling.choices import unread
from floatbench.sampling.control import FROM_SPEECH, Control
from floatbench.sampling.loading import card_of, config_of
from floatbench.sampling.options import preset

PRESET = "default"
NO_CROP = "none"
DEFAULTS = preset(PRESET)


@dataclass(frozen=True)
class Upload:
    """A file that was dropped on the page: where it lies here, and what its owner calls it."""

    path: Path
    name: str


@dataclass(frozen=True)
class VideoWish:
    """The settings of one video.

    Attributes:
        weights: a model's name or checkpoint file. device: where it runs.
        crop: a face detector, or `none` for a picture that is cropped already.
        emotion: a label, or `speech`. a_cfg, e_cfg: guidance scales. nfe: evaluations a window. seed: of the noise.
        directions: (number of a motion direction, what is added to it) for those that are moved.
    """

    weights: str
    device: str = "cpu"
    crop: str = NO_CROP
    emotion: str = FROM_SPEECH
    a_cfg: float = DEFAULTS.a_cfg
    e_cfg: float = DEFAULTS.e_cfg
    nfe: int = DEFAULTS.nfe
    seed: int = 0
    directions: tuple[tuple[int, float], ...] = ()

    def typed(self) -> dict[str, str]:
        """The sampling options that the model reads, by name, as they are typed."""
        typed = {"a_cfg": number(self.a_cfg), "e_cfg": number(self.e_cfg), "nfe": str(self.nfe)}
        config = config_of(self.weights)
        idle = () if config is None else unread(config.prediction)
        return {name: text for name, text in typed.items() if name not in idle}

    def sampling(self) -> dict[str, Any]:
        """The sampling options by name, read as those of a command; raises UsageError for values that cannot be."""
        typed = self.typed()
        options = read_choices([*typed.items()], PRESET, card_of(self.weights)).options
        return {name: getattr(options, name) for name in typed}

    def controls(self) -> tuple[Control, ...]:
        """The moved directions, as the sampler takes them."""
        return tuple(Control(number, value) for number, value in self.directions)

    def command(self, image: str, audio: str, out: str) -> str:
        """The line for a shell that makes the same video; every setting is named, so that no default can change it."""
        words = ["floatbench", "generate", f"--image={image}", f"--audio={audio}", f"--out={out}"]
        words += ["--weights", self.weights, "--device", self.device]
        words += ["--no-crop"] if self.crop == NO_CROP else ["--crop", self.crop]
        words += ["--emotion", self.emotion]
        for name, text in self.typed().items():
            words += [f"--{name.replace('_', '-')}", text]
        words += ["--seed", str(self.seed)]
        for direction, value in self.directions:
            words += ["--control", f"{direction}={number(value)}"]
        return shlex.join(words)


def number(value: float) -> str:
    """A number in its shortest form that is read back as the same one."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def video_name(image: str, side: str = "") -> str:
    """The name of a portrait's video: `anna.jpg` gives `anna.mp4`, and `anna-a.mp4` on side `a` of a comparison."""
    return f"{Path(image).stem or 'portrait'}{'-' if side else ''}{side}.mp4"


CLIP = "clip"
"""The common name of the two videos of a pair, by which `floatbench score` matches them."""


def score_arguments(generated: str, reference: str, controls: bool) -> list[str]:
    """The words that score two folders with what is installed, after the program's name."""
    words = ["score", "--generated", generated, "--reference", reference, "--skip-unavailable"]
    return words if controls else [*words, "--no-controls"]


def score_command(generated: str, reference: str, controls: bool) -> str:
    """The lines for a shell that score the same two files: `score` compares folders and matches videos by name."""
    copies = [
        shlex.join(["cp", "--", name, f"{folder}/{CLIP}{Path(name).suffix}"])
        for folder, name in (("generated", generated), ("reference", reference))
    ]
    score = shlex.join(["floatbench", *score_arguments("generated", "reference", controls)])
    return "\n".join(["mkdir -p generated reference", *copies, score])
