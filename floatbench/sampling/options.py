"""Sampling options, one table of the places where FLOAT's paper and its released code differ, and the presets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from floatbench.errors import UsageError
from floatbench.sampling.paths import DiffusionPath
from floatbench.sampling.solvers import ADAPTIVE, EVALUATIONS, SOLVERS

MAX_SCALE = 100.0
MAX_NFE = 1000
MAX_FULL_CONTEXT_S = 600
"""Longest sound, in seconds, that is encoded in one pass: the speech networks' memory grows with its length."""

Prediction = Literal["velocity", "epsilon", "x0"]


@dataclass(frozen=True)
class SamplingOptions:
    """How a network is sampled, and how pictures, sounds and pixels are treated around it.

    Attributes:
        prediction: what the network predicts; belongs to its checkpoint.
        solver: a name of `SOLVERS`, for velocity networks.
        nfe: evaluations (`ode_grid="steps"`) or grid points (`"official"`) of a window; unused by adaptive solvers.
        ode_grid: `steps`, or `official`: linspace(0, 1, nfe), hence nfe - 1 Euler steps.
        rtol, atol: tolerances of the adaptive solvers.
        diffusion_steps, ddim_steps: of epsilon and x0 networks.
        diffusion_time: what such a network is told: the step `index`, or `fraction` = index / diffusion_steps.
        a_cfg, e_cfg, r_cfg: guidance scales of audio, emotion and reference.
        reference_branch: evaluate the fourth branch, without which r_cfg has no effect.
        unconditional_audio: previous audio features in the branches without audio: `drop` or `keep`.
        window_noise: `independent` noise in every window of a clip, or `shared`.
        audio_context: encode the `full` sound at once, or each `window` with its 0.4 s of history, as in training.
        crop_face: which of several faces is cropped: `central` (largest, then central) or `first` (detector order).
        crop_filter: of the resize to the network's size: `auto` (area when shrinking, else cubic) or `official` (area
            whenever the whole picture is higher than 360 px).
        pixels: `round` or `truncate` to 8 bits.
    """

    prediction: Prediction = "velocity"
    solver: str = "euler"
    nfe: int = 10
    ode_grid: Literal["steps", "official"] = "steps"
    rtol: float = 1e-5
    atol: float = 1e-5
    diffusion_steps: int = 500
    ddim_steps: int = 50
    diffusion_time: Literal["index", "fraction"] = "index"
    a_cfg: float = 2.0
    e_cfg: float = 1.0
    r_cfg: float = 1.0
    reference_branch: bool = False
    unconditional_audio: Literal["drop", "keep"] = "drop"
    window_noise: Literal["independent", "shared"] = "independent"
    audio_context: Literal["full", "window"] = "full"
    crop_face: Literal["central", "first"] = "central"
    crop_filter: Literal["auto", "official"] = "auto"
    pixels: Literal["round", "truncate"] = "round"

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if (allowed := get_args(hint)) and getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        self._check_solver()
        for name in ("a_cfg", "e_cfg", "r_cfg"):
            scale = getattr(self, name)
            if not (math.isfinite(scale) and 0 <= scale <= MAX_SCALE):
                raise UsageError(f"{name} must lie between 0 and {MAX_SCALE:.0f}, not {scale}")
        if self.r_cfg != 1.0 and not self.reference_branch:
            raise UsageError("r_cfg acts only through the reference branch, as the released code ignores it",
                             fix="add --reference-branch, or leave r_cfg at 1")  # fmt: skip

    def _check_solver(self) -> None:
        if self.solver not in SOLVERS:
            raise UsageError(f"unknown solver {self.solver!r}; choose from {', '.join(SOLVERS)}")
        if not 1 <= self.nfe <= MAX_NFE:
            raise UsageError(f"nfe must lie between 1 and {MAX_NFE}, not {self.nfe}")
        if self.solver in EVALUATIONS:
            if self.ode_grid == "official" and self.nfe < 2:
                raise UsageError(f"nfe {self.nfe} with ode_grid=official makes no step", fix="use --nfe 2 or more")
            per_step = EVALUATIONS[self.solver]
            if self.ode_grid == "steps" and self.nfe % per_step:
                raise UsageError(
                    f"{self.solver} makes {per_step} evaluations a step, which does not divide nfe {self.nfe}"
                )
        for name in ("rtol", "atol"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if not 1 <= self.ddim_steps <= self.diffusion_steps or self.diffusion_steps % self.ddim_steps:
            raise UsageError(f"{self.ddim_steps} DDIM steps do not divide {self.diffusion_steps} diffusion steps")

    @property
    def adaptive(self) -> bool:
        """True when the solver chooses its own steps."""
        return self.solver in ADAPTIVE

    @property
    def diffusion(self) -> DiffusionPath:
        """The diffusion of an epsilon or x0 network."""
        return DiffusionPath(self.diffusion_steps)

    def evaluations(self) -> int | None:
        """Field evaluations a window, or None when the solver decides."""
        if self.prediction != "velocity":
            return self.ddim_steps
        if self.adaptive:
            return None
        return (self.nfe - 1) * EVALUATIONS[self.solver] if self.ode_grid == "official" else self.nfe

    def record(self) -> dict[str, Any]:
        """Every option by name, JSON types, for records and metadata."""
        return asdict(self)


@dataclass(frozen=True)
class Difference:
    """One place where FLOAT's paper and its released code differ.

    Attributes:
        row: its number in docs/sampling.md.
        option: the option of `SamplingOptions`, or the place of the choice: checkpoint or training.
        about: what differs.
        paper, official, default: the value each preset takes; where the paper is silent it takes the default's.
    """

    row: str
    option: str
    about: str
    paper: str
    official: str
    default: str


DIFFERENCES: tuple[Difference, ...] = (
    Difference("1", "ode_grid", "nfe 10 is 10 Euler evaluations, or 10 grid points and so 9 evaluations",
               "steps", "official", "steps"),
    Difference("2", "nfe", "the nfe argument: honoured here; the released code reads its option file instead",
               "10", "10", "10"),
    Difference("3", "fixed by the checkpoint", "[source, audio, emotion] through one linear layer, then + time",
               "code", "code", "code"),
    Difference("4", "fixed by the checkpoint", "motion coefficients: five linear layers without activation", "code",
               "code", "code"),
    Difference("5", "fixed by the checkpoint", "motion basis: Householder QR, computed once", "code", "code", "code"),
    Difference("6", "fixed by the checkpoint", "attention reaches 2 frames to each side", "code", "code", "code"),
    Difference("7", "fixed by the checkpoint", "speech features: all 12 layers, resampled before the transformer",
               "code", "code", "code"),
    Difference("8", "audio_context", "speech and emotion from the window's own 2.4 s, or from the whole sound",
               "window", "full", "full"),
    Difference("9", "training configuration", "five independent condition dropouts, out of place", "code", "code",
               "code"),
    Difference("10", "training configuration", "loss on the previous frames: the clean motion", "paper", "paper",
               "paper"),
    Difference("11", "fixed by the checkpoint", "the previous window enters as clean motion, not as a velocity", "code",
               "code", "code"),
    Difference("12", "reference_branch", "r_cfg: dead in the released code; a fourth branch when switched on", "False",
               "False", "False"),
    Difference("13", "window_noise", "noise of the windows of one clip", "independent", "shared", "independent"),
    Difference("14", "fixed by the checkpoint", "the identity latent is the encoder's output", "code", "code", "code"),
    Difference("15", "fixed by the checkpoint", "latent, style and audio width are one number, 512", "code", "code",
               "code"),
    Difference("16", "solver", "solver", "euler", "euler", "euler"),
    Difference("17", "network variant", "head pose as a condition: only in the ablation network", "variant", "absent",
               "variant"),
    Difference("c1", "crop_face", "the face that is cropped when there are several", "central", "first", "central"),
    Difference("c2", "crop_filter", "filter of the resized crop", "auto", "official", "auto"),
    Difference("c3", "unconditional_audio", "previous audio features in the branch without audio", "drop", "keep",
               "drop"),
    Difference("c4", "pixels", "how values become 8 bits", "round", "truncate", "round"),
    Difference("c5", "fixed by the checkpoint", "the warp's grid: linspace(-1, 1) with zero padding", "code", "code",
               "code"),
)  # fmt: skip

PresetName = Literal["default", "paper", "official"]
PRESETS: tuple[PresetName, ...] = get_args(PresetName)


def preset(name: str = "default", **changes: Any) -> SamplingOptions:
    """The options of a preset with some of them changed; None leaves an option as the preset has it."""
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
    base = SamplingOptions()
    known = {f.name: type(getattr(base, f.name)) for f in fields(base)}
    if unknown := set(changes) - set(known):
        raise UsageError(f"unknown sampling option {sorted(unknown)[0]!r}; known are {', '.join(known)}")
    values: dict[str, Any] = {}
    for difference in DIFFERENCES:
        if difference.option in known:
            text, kind = getattr(difference, name), known[difference.option]
            values[difference.option] = text == "True" if kind is bool else kind(text)
    values.update({key: value for key, value in changes.items() if value is not None})
    return replace(base, **values)
