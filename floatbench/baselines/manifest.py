"""What is declared about a baseline: source, licences, weights, environments, inputs, limits, presets, proofs.

One `manifest.toml` a system, read into `Manifest`. Built-in systems are folders of this package; others register a
folder through the entry-point group `floatbench.baselines` or the search path `FLOATBENCH_BASELINES`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import tomllib
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from floatbench.errors import UsageError
from floatbench.files import file_sha256
from floatbench.paths import shipped
from floatbench.records import Frozen, validated
from floatbench.text import near

Judge = Literal["syncnet", "arcface", "reconnet", "mediapipe", "inception", "i3d", "hsemotion"]
ExtraInput = Literal["source_video"]
MARKER = "FABRICATED.json"


class SourceCode(Frozen):
    """The official repository: `owner/name` on GitHub or an address, the pinned commit and its tree."""

    repo: str
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    tree_sha: str = Field(default="", pattern=r"^([0-9a-f]{40})?$")
    override_env: str = ""  # a variable that names a local clone
    sparse: tuple[str, ...] = ()  # folders and files that are not needed
    python_path: tuple[str, ...] = (".",)  # folders of the checkout that its scripts import from

    @property
    def url(self) -> str:
        return self.repo if "://" in self.repo or self.repo.startswith("/") else f"https://github.com/{self.repo}.git"


class SystemLicences(Frozen):
    """Shown once before the download and printed in reports."""

    code: str
    weights: str
    parts: tuple[str, ...] = ()
    accept: bool = True  # must be acknowledged
    commercial: bool = False


class Weight(Frozen):
    """One file of the weights, by its path inside the checkout."""

    path: str
    origins: tuple[str, ...] = ()  # https://, hf://owner/repo@revision/path, gdrive://id; in order
    bytes: int | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    required_for: tuple[str, ...] = ()  # presets; empty: all
    optional: bool = False
    note: str = ""


class Profile(Frozen):
    """One environment: interpreter, hashed lock, cards it has code for, the monkey patches it needs."""

    python: str
    lock: str
    sm_min: float = 0.0
    sm_max: float = 0.0  # 0: no code for any card
    cpu_ok: bool = True
    shims: tuple[str, ...] = ()
    env: dict[str, str] = {}
    tool: Literal["uv"] = "uv"
    uv_options: tuple[str, ...] = ()  # e.g. --no-build-isolation-package NAME
    apt: tuple[str, ...] = ()  # packages of a container that the wheels do not bring


class Inputs(Frozen):
    image: str = "square RGB PNG"
    audio: str = "16 kHz mono WAV"
    extra: str = "none"


class Limits(Frozen):
    """Lengths that the system is known to survive; refused before it is asked."""

    min_audio_s: float = 0.0
    max_audio_s: float = 120.0
    forbidden_frames: tuple[int, ...] = ()

    @property
    def min_frames(self) -> int:
        """The fewest frames, at 25 a second, that are not too short."""
        return next(n for n in itertools.count(math.floor(self.min_audio_s * 25)) if n / 25 >= self.min_audio_s)


class Produced(Frozen):
    fps: float = 25.0
    size: str = ""  # "256x256", in words where it depends on the input
    frames: str = "n"  # rule, for readers
    tolerance: int = 2


class Preset(Frozen):
    """A list of settings for the driver, and whether a row made with it may be ranked."""

    flags: dict[str, Any] = {}
    note: str = ""
    rank: bool = True
    marks: tuple[str, ...] = ()  # "re-cropped", "oracle": printed beside the row
    fps: float = 25.0  # what the system writes; anything but 25 is resampled by time, only where declared here
    seed: int | None = None  # the authors' own number, used in place of the run's


class Timeouts(Frozen):
    """Seconds. A clip may take `clip_base_s + clip_per_s * its seconds`; `silence_s` 0 means max(60, clip / 4)."""

    load_s: float = 300.0
    cpu_base_s: float = 120.0
    cpu_per_s: float = 90.0
    gpu_base_s: float = 30.0
    gpu_per_s: float = 10.0
    silence_s: float = 0.0
    grace_s: float = 10.0


class Memory(Frozen):
    ram_gb: float = 16.0  # limit of the worker and its children
    vram_gb: float = 0.0  # needed
    batch_knob: str = ""  # flag whose value does not change results


class Checks(Frozen):
    parameters_m: float | None = None
    gmac_per_frame: float | None = None
    how: str = ""


class Proven(Frozen):
    """How far each step was seen to work, in words ("" = not yet): profile, machine, size of the weights."""

    code_loads: str = ""
    forward_pass: str = ""
    whole_clip: str = ""
    real_weights: str = ""
    profiles_agree: str = ""  # what `baseline certify` gave for the two profiles

    @property
    def furthest(self) -> str:
        for name in ("real_weights", "whole_clip", "forward_pass", "code_loads"):
            if getattr(self, name):
                return name.replace("_", " ")
        return "nothing"


class Manifest(Frozen):
    """One system. `folder` is where its driver, locks and notes lie."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    version: int = 1  # of the adapter; part of every key
    paper: str = ""
    driver: str = "driver.py"
    min_python: str = "3.8"
    source: SourceCode
    licence: SystemLicences
    weights: tuple[Weight, ...] = ()
    weights_policy: Literal["pinned", "first-use"] = "first-use"
    profiles: dict[str, Profile]
    inputs: Inputs = Inputs()
    needs: tuple[ExtraInput, ...] = ()  # beside a picture and a sound; the protocol says whether and which
    limits: Limits = Limits()
    output: Produced = Produced()
    trained_on: tuple[str, ...] = ()  # data sets by name, as its paper or repository gives them
    trained_with: tuple[
        Judge, ...
    ] = ()  # networks it was trained against that also judge: see floatbench.engine.judges
    crop: str = "none"
    stochastic: bool = True
    seed_hook: str = "global"  # where a seed gets in; "none": the system cannot be seeded
    presets: dict[str, Preset]
    capture: str = ""
    timeouts: Timeouts = Timeouts()
    memory: Memory = Memory()
    stages: tuple[str, ...] = ()
    shims: dict[str, str] = {}  # name -> what it patches and why
    known_limits: tuple[str, ...] = ()
    paper_settings: str = ""
    checks: Checks = Checks()
    proven: Proven = Proven()
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if "protocol" not in self.presets:
            raise ValueError("presets must hold 'protocol'")
        for name, preset in self.presets.items():
            if preset.rank and (name != "protocol" or preset.fps != 25):
                raise ValueError(f"preset {name}: only 'protocol' may be ranked, and only at 25 frames a second")
            if self.memory.batch_knob and not isinstance(preset.flags.get(self.memory.batch_knob), int):
                raise ValueError(f"preset {name}: memory.batch_knob {self.memory.batch_knob} is no number in its flags")
        for name, profile in self.profiles.items():
            if unknown := set(profile.shims) - set(self.shims):
                raise ValueError(f"profile {name} names shims that [shims] does not explain: {sorted(unknown)}")
        for weight in self.weights:
            if Path(weight.path).is_absolute() or ".." in Path(weight.path).parts:
                raise ValueError(f"weight path {weight.path!r} must lie inside the checkout")
            if self.weights_policy == "pinned" and weight.sha256 is None:
                raise ValueError(f"{weight.path}: weights_policy 'pinned' needs a sha256")
        return self

    @property
    def variable(self) -> str:
        """The environment variable that names a local clone."""
        return self.source.override_env or f"FLOATBENCH_SRC_{self.id.upper().replace('-', '_')}"

    @cached_property
    def adapter_sha256(self) -> str:
        """One hash over the driver's files: part of a row's provenance."""
        digest = hashlib.sha256()
        for path in sorted([*self.folder.glob("*.py"), driverlib(), self.folder / "manifest.toml"]):
            digest.update(f"{path.name} {file_sha256(path)}\n".encode())
        return digest.hexdigest()

    def run_sha256(self, profile: str, preset: str) -> str:
        """One hash over what decides a clip beside weights and environment; words about the system are left out."""
        chosen = self.profile(profile)
        parts = {
            "files": {
                path.name: file_sha256(path)
                for path in sorted([*self.folder.glob("*.py"), driverlib()])
                if path.name != "fabricate.py"
            },
            "version": self.version,
            "driver": self.driver,
            "source": self.source.model_dump(mode="json", include={"commit", "tree_sha", "sparse", "python_path"}),
            "preset": self.preset(preset).model_dump(mode="json", include={"flags", "fps", "seed"}) | {"name": preset},
            "profile": {"name": profile, "shims": chosen.shims, "env": chosen.env},
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def needed(self, preset: str) -> list[Weight]:
        """The weight files that a preset opens."""
        return [w for w in self.weights if not w.optional and (not w.required_for or preset in w.required_for)]

    def profile(self, name: str) -> Profile:
        """A profile by name; UsageError names those that exist."""
        if name not in self.profiles:
            raise UsageError(f"{self.id} has no profile {name!r}", fix=f"one of {', '.join(self.profiles)}")
        return self.profiles[name]

    def preset(self, name: str) -> Preset:
        """A preset by name; UsageError names those that exist."""
        if name not in self.presets:
            raise UsageError(f"{self.id} has no preset {name!r}", fix=f"one of {', '.join(self.presets)}")
        return self.presets[name]


def driverlib() -> Path:
    """The one module that every driver imports, copied beside it."""
    return shipped("baselines") / "driverlib.py"


def read(folder: Path) -> Manifest:
    """The manifest of a folder; UsageError says what is wrong with it and where."""
    path = folder / "manifest.toml"
    fix = "see docs/baselines.md for the fields of a manifest"
    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", fix) from None
    return validated(Manifest, {**document, "folder": folder.resolve()}, str(path), fix, UsageError)


def folders() -> dict[str, Path]:
    """Folder of every system by the folder's name with `-` for `_`: built-in, search path, then entry points."""
    found: dict[str, Path] = {}
    extra = [Path(part) for part in os.environ.get("FLOATBENCH_BASELINES", "").split(os.pathsep) if part]
    for root in (shipped("baselines"), *extra):
        for path in sorted(root.glob("*/manifest.toml")):
            found.setdefault(path.parent.name.replace("_", "-"), path.parent.absolute())
    for entry in entry_points(group="floatbench.baselines"):
        found.setdefault(entry.name, Path(entry.load()))
    return found


def names() -> list[str]:
    """Names of all systems that are known."""
    return sorted(folders())


def load(name: str) -> Manifest:
    """The manifest of a system; UsageError for an unknown one, with near names."""
    known = folders()
    if name not in known:
        raise UsageError(f"unknown baseline {name!r}", fix=near(name, known, "floatbench baseline list"))
    manifest = read(known[name])
    if manifest.id != name:
        raise UsageError(f"{known[name]}: the manifest's id is {manifest.id!r}, its folder says {name!r}")
    return manifest
