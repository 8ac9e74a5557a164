"""Everything that can be chosen about a FLOAT besides its weights: one list and one parser, wherever it is written.

    float@official?nfe=5&e_cfg=5&emotion=happy&control=yaw:10&dtype=bfloat16&compile=max&graphs=true

is a method of `run`, `speed` and `ablate`, a model of `generate` and of Python, and each of its choices is an option
of `generate`. A name has one canonical form, so that the quality and the speed of one model meet under it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from floatbench.errors import UsageError
from floatbench.model.config import Prediction
from floatbench.model.fast_decoder import Compile
from floatbench.sampling.control import (
    FROM_SPEECH,
    Control,
    ControlWish,
    check_controls,
    parse_emotion,
    read_pose,
    read_wish,
)
from floatbench.sampling.loading import ModelCard, card_of, config_of
from floatbench.sampling.options import KINDS, SamplingOptions, from_text
from floatbench.settings import settings
from floatbench.text import near

Dtype = Literal["float32", "bfloat16", "float16"]
Impl = Literal["plain", "fast"]
COMPILE_TEXT: dict[str, Compile] = {
    "true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False,
    "max": "max",
}  # fmt: skip

OF_THE_MODEL = ("prediction",)
"""Sampling options that no name may choose: they belong to the checkpoint."""
LIST: dict[str, Any] = {name: kind for name, kind in KINDS.items() if name not in OF_THE_MODEL} | {
    "emotion": str, "control": str, "project_motion": bool, "pose": str,
    "dtype": Dtype, "impl": Impl, "compile": str, "graphs": bool,
}  # fmt: skip
"""Choice -> what its value must be, in the order of a canonical name."""
REPEATED = "control"
"""The one choice that may be named several times."""
ARITHMETIC = ("dtype", "impl", "compile", "graphs")
"""The choices that a model is loaded with; all others may differ from video to video."""
FIXED_GRID, BY_ERROR = ("nfe", "ode_grid"), ("rtol", "atol")
"""Choices that only a solver on a fixed grid reads, and those that only an adaptive one does."""
OF_VELOCITY = ("solver", *FIXED_GRID, *BY_ERROR)
OF_DIFFUSION = ("diffusion_steps", "ddim_steps", "diffusion_time")
"""Choices that only networks of one kind of prediction read."""
HEARING = "audio_context"
"""The one option whose default differs between videos and streams."""


@settings
class ModelChoices:
    """What is chosen about a FLOAT; the defaults are those of `float`.

    Attributes:
        preset: of the sampling options, for the record. options: the preset with single options changed.
        changed: the names of those.
        emotion: `speech`, a label, or seven comma-separated weights.
        controls, project: see `floatbench.sampling.animator.Direction`.
        pose: a file of head poses, see `floatbench.sampling.control.read_pose`; None without.
        dtype, impl, compile, graphs: see `floatbench.sampling.animator.Animator`.
    """

    preset: str = "default"
    options: SamplingOptions = field(default_factory=SamplingOptions)
    changed: frozenset[str] = frozenset()
    emotion: str = FROM_SPEECH
    controls: tuple[Control, ...] = ()
    project: bool = False
    pose: Path | None = None
    dtype: Dtype = "float32"
    impl: Impl = "fast"
    compile: Compile = False
    graphs: bool = False

    def __post_init__(self) -> None:
        parse_emotion(self.emotion)
        check_arithmetic(self.dtype, self.impl, self.compile, self.graphs)
        check_read(self.options, self.changed)

    @property
    def decides_hearing(self) -> bool:
        """Whether `audio_context` was chosen, by itself or with a preset; streams hear windows where it was not."""
        return self.preset != "default" or HEARING in self.changed

    def streamed(self) -> ModelChoices:
        """The choices of a stream: its first frame waits for no later sound, unless that was chosen."""
        if self.decides_hearing:
            return self
        return replace(self, options=replace(self.options, audio_context="window"), changed=self.changed | {HEARING})


def check_arithmetic(dtype: str, impl: str, compile: object, graphs: bool) -> None:
    """Raises UsageError for an unknown dtype, implementation or compilation, and for those that exclude each other."""
    for name, value, allowed in (("dtype", dtype, get_args(Dtype)), ("impl", impl, get_args(Impl))):
        if value not in allowed:
            raise UsageError(
                f"{name} must be one of {', '.join(allowed)}, not {value!r}", fix=near(str(value), allowed)
            )
    if not isinstance(compile, bool) and compile != "max":
        raise UsageError(f"compile must be True, False or 'max', not {compile!r}")
    if impl == "plain" and (compile or graphs or dtype != "float32"):
        raise UsageError("the plain arithmetic is float32 and not compiled: it is what the fast one is compared with",
                         fix="leave out impl=plain")  # fmt: skip


def unread(prediction: Prediction) -> tuple[str, ...]:
    """The choices that no network with this prediction reads."""
    return OF_DIFFUSION if prediction == "velocity" else OF_VELOCITY


def check_read(options: SamplingOptions, chosen: Collection[str], prediction: Prediction | None = None) -> None:
    """Raises UsageError for a choice that does nothing: with the solver, or with what the network predicts if known."""
    idle = dict.fromkeys(FIXED_GRID if options.adaptive else BY_ERROR, f"solver={options.solver}")
    if prediction is not None:
        idle |= dict.fromkeys(unread(prediction), f"a network that predicts {prediction}")
    for name in idle:
        if name in chosen:
            raise UsageError(f"{name} does nothing with {idle[name]}", fix=f"leave out {name}")


@dataclass(frozen=True)
class NamedModel:
    """A name, taken apart.

    Attributes:
        name: in canonical form. weights: a model's name or a checkpoint file. choices: what the name chooses.
    """

    name: str
    weights: str
    choices: ModelChoices


def model_of(
    name_or_path: str | Path, changes: Sequence[tuple[str, str]] = (), preset_name: str | None = None
) -> NamedModel:
    """A model's name with its choices, or a checkpoint file, which has none; arguments and errors of `parse_name`.

    A preset that is given wins over that of the name.
    """
    text = str(name_or_path)
    base = text.partition("?")[0]
    if isinstance(name_or_path, Path) or Path(base).is_file():
        return parse_name(f"checkpoint:{text}", changes, preset_name)
    return parse_name(text, changes, preset_name)


def parse_name(name: str, changes: Sequence[tuple[str, str]] = (), preset_given: str | None = None) -> NamedModel:
    """Takes `WEIGHTS@PRESET?choice=value&...` or `checkpoint:FILE?choice=value&...` apart.

    Args:
        changes: further choices (name, text), which win over those of the name.
        preset_given: wins over the preset of the name.

    Raises:
        UsageError: an unknown choice or direction, a value of the wrong kind, choices that exclude each other; it names
            the method. DataError: a curve or pose file is missing or damaged.
    """
    base, mark, query = name.partition("?")
    weights, preset_name = weights_of(base)
    if not weights:
        raise UsageError(f"{name!r} names no model", fix="float, float-tiny or a checkpoint file")
    try:
        pairs = merged(split(query), changes)
        found = read(pairs, preset_given or preset_name, card_of(weights))
        text = canonical(pairs, weights)
    except UsageError as error:
        if not mark:
            raise
        raise UsageError(f"{name}: {error.what}", fix=error.fix) from None
    return NamedModel(f"{base}?{text}" if text else base, weights, found)


def weights_of(base: str) -> tuple[str, str]:
    """`WEIGHTS@PRESET` or `checkpoint:FILE` -> weights and preset."""
    if base.startswith("checkpoint:"):
        return base.removeprefix("checkpoint:"), "default"
    weights, _, preset_name = base.partition("@")
    return weights, preset_name or "default"


def split(query: str) -> list[tuple[str, str]]:
    """`nfe=5&emotion=happy` -> pairs of choice and text, as they are written."""
    pairs = []
    for part in query.split("&"):
        key, mark, value = part.partition("=")
        if part and not mark:
            raise UsageError(f"{part!r} is no choice", fix=f"{key}=VALUE" if key in LIST else near(key, LIST))
        if part:
            pairs.append((key.strip(), value.strip()))
    return pairs


def merged(pairs: Sequence[tuple[str, str]], changes: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The choices of `pairs`, those of them replaced that `changes` name too."""
    replaced = {key for key, _ in changes}
    return [pair for pair in pairs if pair[0] not in replaced] + list(changes)


def read(pairs: Sequence[tuple[str, str]], preset_name: str = "default", card: ModelCard | None = None) -> ModelChoices:
    """The choices of pairs of name and text, checked alone and together.

    Args:
        preset_name: of the sampling options. card: of the model: its directions by name, and how it samples.
    """
    values = _values(pairs)
    sampling = {key: value for key, value in values.items() if key in KINDS}
    card = card or ModelCard()
    options = card.preset(preset_name, **sampling)
    wishes = [read_wish(text, card.directions) for key, text in pairs if key == REPEATED]
    return ModelChoices(
        preset=preset_name,
        options=options,
        changed=frozenset(sampling),
        emotion=values.get("emotion", FROM_SPEECH),
        controls=tuple(wish.control() for wish in wishes),
        project=values.get("project_motion", False),
        pose=Path(values["pose"]) if values.get("pose") else None,
        dtype=values.get("dtype", "float32"),
        impl=values.get("impl", "fast"),
        compile=values.get("compile", False),
        graphs=values.get("graphs", False),
    )


def _values(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Name -> value of its kind, of all choices but the repeated one."""
    texts: dict[str, str] = {}
    for key, text in pairs:
        if key in OF_THE_MODEL:
            raise UsageError(f"{key} belongs to the checkpoint and cannot be chosen", fix=f"leave out {key}")
        if key in texts:
            raise UsageError(f"{key} is chosen twice", fix=f"leave out one {key}")
        if key != REPEATED:
            texts[key] = text
    values = from_text(texts, LIST)
    if "compile" in values:
        text = values["compile"]
        if text.lower() not in COMPILE_TEXT:
            raise UsageError(
                f"compile: should be true, false or max, not {text!r}",
                fix=near(text, COMPILE_TEXT, "leave out compile"),
            )
        values["compile"] = COMPILE_TEXT[text.lower()]
    return values


def canonical(pairs: Sequence[tuple[str, str]], weights: str) -> str:
    """The one way to write these choices: in the order of `LIST`, numbers in their shortest form."""
    values = _values(pairs)
    names = card_of(weights).directions
    parts = []
    for key in LIST:
        if key == REPEATED:
            wishes = sorted(
                (read_wish(text, names) for name, text in pairs if name == key), key=lambda wish: wish.direction
            )
            parts += [f"{key}={_control_text(wish, names)}" for wish in wishes]
        elif key in values:
            parts.append(f"{key}={_text(key, values[key])}")
    return "&".join(parts)


def _text(key: str, value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return number_text(value)
    if key == "emotion":
        weights = [part.strip() for part in str(value).split(",")]
        return ",".join(map(_weight_text, weights)) if len(weights) > 1 else str(value).strip().lower()
    return str(value)


def _weight_text(text: str) -> str:
    return number_text(float(text))


def number_text(value: float) -> str:
    """The shortest text of a number: 5 for 5.0."""
    return repr(float(value)).removesuffix(".0")


def _control_text(wish: ControlWish, names: Sequence[str]) -> str:
    direction = names[wish.direction] if wish.direction < len(names) else str(wish.direction)
    value = wish.value if isinstance(wish.value, str) else number_text(wish.value)
    return f"{direction}:{'set:' if wish.mode == 'set' else ''}{value}"


def canonical_name(name: str) -> str:
    """A method's name in canonical form; other names, and those that cannot be read, as they are."""
    if "?" not in name:
        return name
    base, _, query = name.partition("?")
    try:
        return f"{base}?{text}" if (text := canonical(split(query), weights_of(base)[0])) else base
    except UsageError:
        return name


def check_against_model(choices: ModelChoices, weights: str) -> None:
    """Refuses what this model cannot do, as far as its file tells without being loaded.

    Raises:
        UsageError: a choice that it does not have or never reads. DataError: a pose file that is missing or damaged.
    """
    config = config_of(weights)
    if config is None:
        return
    check_read(choices.options, choices.changed, config.prediction)
    check_controls(choices.controls, config.dim_m)
    if parse_emotion(choices.emotion) is not None and config.emotion_condition != "speech":
        what = "takes no emotion" if config.emotion_condition == "none" else "needs an emotion for each frame"
        raise UsageError(f"emotion={choices.emotion}: {weights} {what}", fix="leave out the emotion")
    if choices.pose is not None and not config.pose_condition:
        raise UsageError(f"pose={choices.pose}: {weights} takes no pose", fix="leave out the pose")
    if choices.pose is not None:
        read_pose(choices.pose)


def typed(values: Mapping[str, object]) -> list[tuple[str, str]]:
    """Options of a command as pairs of choice and text, for the one parser; what is None or empty was not given."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        given: Iterable[object] = value if isinstance(value, list | tuple) else (value,)
        pairs += [(key, _text("", item)) for item in given if item is not None and item != ""]
    return pairs
