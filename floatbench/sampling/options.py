"""Sampling options, one table of the places where FLOAT's paper and its released code differ, and the presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from floatbench.errors import UsageError
from floatbench.model.config import Prediction
from floatbench.sampling.paths import DiffusionPath
from floatbench.sampling.solvers import ADAPTIVE, EVALUATIONS, SOLVERS
from floatbench.settings import Count, problem_of, settings
from floatbench.text import near

Evaluations = Annotated[int, Field(ge=1, le=1000)]
Scale = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Tolerance = Annotated[float, Field(gt=0, lt=1)]
MAX_FULL_CONTEXT_S = 600
"""Longest sound, in seconds, that is encoded in one pass: the speech networks' memory grows with its length."""


@settings
class SamplingOptions:
    """How a network is sampled, and how pictures, sounds and pixels are treated around it.

    Attributes:
        prediction: what the network predicts; belongs to its checkpoint.
        solver: a name of `SOLVERS`, for velocity networks.
        nfe: evaluations (`ode_grid="steps"`) or grid points (`"official"`) of a window; unused by adaptive solvers.
        ode_grid: `steps`, or `official`: linspace(0, 1, nfe), hence nfe - 1 Euler steps.
        rtol, atol: tolerances of the adaptive solvers.
        diffusion_steps, ddim_steps: of epsilon and x0 networks.
        diffusion_time: the time such a network is given: the step `index`, or `fraction` = index / diffusion_steps.
        a_cfg, e_cfg, r_cfg: guidance scales of audio, emotion and reference.
        reference_branch: evaluate the fourth branch, without which r_cfg has no effect.
        unconditional_audio: previous audio features in the branches without audio: `drop` or `keep`.
        window_noise: `independent` noise in every window of a clip, or `shared`.
        audio_context: encode the `full` sound at once, or each `window` with its 0.4 s of history, as in training.
        crop_face: which of several faces is cropped: `central` (largest, then central) or `first` (detector order).
        crop_filter: of the resize to the network's size: `auto` (area when shrinking, else cubic) or `official` (area
            whenever the whole picture is higher than 360 px, and crops however small are enlarged).
        pixels: `round` or `truncate` to 8 bits.
    """

    prediction: Prediction = "velocity"
    solver: str = "euler"
    nfe: Evaluations = 10
    ode_grid: Literal["steps", "official"] = "steps"
    rtol: Tolerance = 1e-5
    atol: Tolerance = 1e-5
    diffusion_steps: Count = 500
    ddim_steps: Count = 50
    diffusion_time: Literal["index", "fraction"] = "index"
    a_cfg: Scale = 2.0
    e_cfg: Scale = 1.0
    r_cfg: Scale = 1.0
    reference_branch: bool = False
    unconditional_audio: Literal["drop", "keep"] = "drop"
    window_noise: Literal["independent", "shared"] = "independent"
    audio_context: Literal["full", "window"] = "full"
    crop_face: Literal["central", "first"] = "central"
    crop_filter: Literal["auto", "official"] = "auto"
    pixels: Literal["round", "truncate"] = "round"

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UsageError(f"solver: unknown {self.solver!r}", fix=near(self.solver, SOLVERS))
        if self.solver in EVALUATIONS:
            if self.ode_grid == "official" and self.nfe < 2:
                raise UsageError(f"nfe: {self.nfe} with ode_grid=official makes no step", fix="nfe=2 or more")
            per_step = EVALUATIONS[self.solver]
            if self.ode_grid == "steps" and self.nfe % per_step:
                raise UsageError(
                    f"nfe: {self.solver} makes {per_step} evaluations a step, which does not divide {self.nfe}"
                )
        if self.diffusion_steps % self.ddim_steps:
            raise UsageError(f"ddim_steps: {self.ddim_steps} does not divide {self.diffusion_steps} diffusion steps")
        if self.r_cfg != 1.0 and not self.reference_branch:
            raise UsageError("r_cfg acts only through the reference branch, as the released code ignores it",
                             fix="add reference_branch, or leave r_cfg at 1")  # fmt: skip

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
class Divergence:
    """One place where FLOAT's paper and its released code differ.

    Attributes:
        row: its number in docs/sampling.md.
        option: the option of `SamplingOptions`, or the place of the choice: checkpoint or training.
        difference: what differs.
        paper, official, default: the value each preset takes; where the paper is silent it takes the default's.
    """

    row: str
    option: str
    difference: str
    paper: str | int | bool
    official: str | int | bool
    default: str | int | bool


DIVERGENCES: tuple[Divergence, ...] = (
    Divergence("1", "ode_grid", "nfe 10 is 10 Euler evaluations, or 10 grid points and so 9 evaluations",
               "steps", "official", "steps"),
    Divergence("2", "nfe", "the nfe argument: honoured here; the released code reads its option file instead",
               10, 10, 10),
    Divergence("3", "fixed by the checkpoint", "[source, audio, emotion] through one linear layer, then + time",
               "code", "code", "code"),
    Divergence("4", "fixed by the checkpoint", "motion coefficients: five linear layers without activation", "code",
               "code", "code"),
    Divergence("5", "fixed by the checkpoint", "motion basis: Householder QR, computed once", "code", "code", "code"),
    Divergence("6", "fixed by the checkpoint", "attention reaches 2 frames to each side", "code", "code", "code"),
    Divergence("7", "fixed by the checkpoint", "speech features: all 12 layers, resampled before the transformer",
               "code", "code", "code"),
    Divergence("8", "audio_context", "speech and emotion from the window's own 2.4 s, or from the whole sound",
               "window", "full", "full"),
    Divergence("9", "training configuration", "five independent condition dropouts, out of place", "code", "code",
               "code"),
    Divergence("10", "training configuration", "loss on the previous frames: the clean motion", "paper", "paper",
               "paper"),
    Divergence("11", "fixed by the checkpoint", "the previous window enters as clean motion, not as a velocity", "code",
               "code", "code"),
    Divergence("12", "reference_branch", "r_cfg: dead in the released code; a fourth branch when switched on", False,
               False, False),
    Divergence("13", "window_noise", "noise of the windows of one clip", "independent", "shared", "independent"),
    Divergence("14", "fixed by the checkpoint", "the identity latent is the encoder's output", "code", "code", "code"),
    Divergence("15", "fixed by the checkpoint", "latent, style and audio width are one number, 512", "code", "code",
               "code"),
    Divergence("16", "solver", "solver", "euler", "euler", "euler"),
    Divergence("17", "network variant", "head pose as a condition: only in the ablation network", "variant", "absent",
               "variant"),
    Divergence("c1", "crop_face", "the face that is cropped when there are several", "central", "first", "central"),
    Divergence("c2", "crop_filter", "filter of the resized crop", "auto", "official", "auto"),
    Divergence("c3", "unconditional_audio", "previous audio features in the branch without audio", "drop", "keep",
               "drop"),
    Divergence("c4", "pixels", "how values become 8 bits", "round", "truncate", "round"),
    Divergence("c5", "fixed by the checkpoint", "the warp's grid: linspace(-1, 1) with zero padding", "code", "code",
               "code"),
    Divergence("c6", "crop_filter", "a crop below half of the network's size: refused (auto), or enlarged (official)",
               "auto", "official", "auto"),
)  # fmt: skip

PresetName = Literal["default", "paper", "official"]
PRESETS: tuple[PresetName, ...] = get_args(PresetName)


def preset(name: str = "default", own: Mapping[str, Any] | None = None, /, **changes: Any) -> SamplingOptions:
    """The options of a preset with some of them changed; None leaves an option as the preset has it.

    Args:
        own: what a model chooses for itself (`ModelCard.sampling`) in the preset `default`; the other presets are the
            same for all models.

    Raises:
        UsageError: an unknown preset or option, or a value that cannot be.
    """
    if name not in PRESETS:
        raise UsageError(f"unknown preset {name!r}", fix=near(str(name), PRESETS))
    known = [field.name for field in fields(SamplingOptions)]
    own = dict(own or {}) if name == "default" else {}
    if unknown := sorted((set(own) | set(changes)) - set(known)):
        raise UsageError(f"unknown sampling option {unknown[0]!r}", fix=near(unknown[0], known))
    chosen = {row.option: getattr(row, name) for row in DIVERGENCES if row.option in known}
    return SamplingOptions(**(chosen | own | {key: value for key, value in changes.items() if value is not None}))


def preset_of(options: SamplingOptions, own: Mapping[str, Any] | None = None) -> str:
    """The name of the preset whose options these are, "" where they are no preset's; `own` as in `preset`."""
    found = (name for name in PRESETS if preset(name, own, prediction=options.prediction) == options)
    return next(found, "")


KINDS: dict[str, Any] = get_type_hints(SamplingOptions, include_extras=True)
"""Option -> what its value must be."""


def from_text(texts: Mapping[str, str], kinds: Mapping[str, Any] = KINDS) -> dict[str, Any]:
    """Values that were typed, by name: `{"nfe": "5"}` gives `{"nfe": 5}`.

    Raises:
        UsageError: an unknown name, or a text that is no value of its kind.
    """
    values = {}
    for name, text in texts.items():
        if name not in kinds:
            raise UsageError(f"unknown option {name!r}", fix=near(name, kinds))
        try:
            values[name] = TypeAdapter(kinds[name]).validate_strings(text)
        except ValidationError as error:
            allowed = [value for value in get_args(kinds[name]) if isinstance(value, str)]
            raise UsageError(problem_of(error, f"{name}."), fix=near(text, allowed, "") or None) from None
    return values
