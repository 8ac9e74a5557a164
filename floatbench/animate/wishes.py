"""What Python asks of one video, checked as the choices of a name are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np

from floatbench.errors import UsageError
from floatbench.media.boxes import BoxBackend
from floatbench.model.config import FloatConfig
from floatbench.sampling.animator import Direction
from floatbench.sampling.choices import ARITHMETIC, OF_THE_MODEL, ModelChoices, check_read
from floatbench.sampling.control import Control, check_controls, parse_control
from floatbench.sampling.loading import ModelCard
from floatbench.sampling.options import KINDS, SamplingOptions, preset_of
from floatbench.settings import whole
from floatbench.text import near

T = TypeVar("T")
BESIDE = ("crop", "seed", "preset", "options", "direction")
STEERING = ("emotion", "control", "project_motion", "pose")


class Wishes(TypedDict, total=False):
    """What may be asked for of one video, in `generate`, `stream` and `generate_many` alike.

    - `crop`: `auto`, a box back end or its name (`s3fd`, `mediapipe`); `none` or None takes the picture as it is.
    - `preset`: of the sampling options. `options`: all of them at once. Single ones (`nfe=5`) change these; None leaves
      one as it is.
    - `emotion`, `control` (`"yaw=0.5"`, a `Control`, or several), `project_motion`, `pose`: as in a name; or
      `direction`: all of them at once. A pose file is in the units of the training data, and its first frames are
      taken; an array (T, 6) is what the network is given, a row for each frame of the sound.
    - `seed`: of the noise, a whole number from 0 on.
    """

    crop: str | BoxBackend | None
    preset: str | None
    options: SamplingOptions | None
    emotion: str | np.ndarray | Sequence[float] | None
    control: Control | str | Sequence[Control | str]
    project_motion: bool
    pose: str | Path | np.ndarray | None
    direction: Direction | None
    seed: int
    solver: str
    nfe: int
    ode_grid: str
    rtol: float
    atol: float
    diffusion_steps: int
    ddim_steps: int
    diffusion_time: str
    a_cfg: float
    e_cfg: float
    r_cfg: float
    reference_branch: bool
    unconditional_audio: str
    window_noise: str
    audio_context: str
    crop_face: str
    crop_filter: str
    pixels: str


@dataclass(frozen=True)
class Asked:
    """What a call comes to: what is given, and else what the model's name chooses.

    Attributes:
        options, direction, seed: of the video. preset: for the record, "" where the options are no preset's.
        pose: a file of head poses, of which the direction gets those of the sound.
    """

    options: SamplingOptions
    direction: Direction
    seed: int
    preset: str
    pose: Path | None = None


def asked(wishes: Wishes, chosen: ModelChoices, card: ModelCard, config: FloatConfig) -> Asked:
    """Settles the wishes of a call for a model, which need not be loaded.

    Args:
        chosen: by the model's name. card, config: of the model.

    Raises:
        UsageError: an unknown wish, options that cannot be or that nothing reads, a direction that is no direction.
        DataError: a file of a control is missing or damaged.
    """
    given: dict[str, Any] = dict(wishes)
    beside = {name: given.pop(name) for name in BESIDE if name in given}
    steering = {name: given.pop(name) for name in STEERING if name in given}
    _check_known(given)
    given = {name: value for name, value in given.items() if value is not None}
    options, preset, changed = _options(beside, given, chosen, card)
    check_read(options, changed, config.prediction)
    direction, pose = _direction(_one(beside, "direction", Direction), steering, chosen, card)
    check_controls(direction.controls, config.dim_m)
    direction.emotion_vector()
    if not config.pose_condition and (pose is not None or direction.pose is not None):
        raise UsageError("this network takes no pose", fix="leave out the pose")
    return Asked(options, direction, whole("seed", beside.get("seed", 0)), preset, pose)


def _check_known(given: Mapping[str, Any]) -> None:
    """Raises UsageError for what is no choice of a video."""
    for name in sorted(given):
        if name in ARITHMETIC:
            fix = f"FLOAT.from_pretrained(..., {name}={given[name]!r})"
            raise UsageError(f"{name} is chosen when the model is loaded, not for one video", fix=fix)
        if name in OF_THE_MODEL:
            raise UsageError(f"{name} belongs to the checkpoint and cannot be chosen", fix=f"leave out {name}")
        if name not in KINDS:
            raise UsageError(f"unknown choice {name!r}", fix=near(name, Wishes.__annotations__))


def _options(
    beside: Mapping[str, Any], given: Mapping[str, Any], chosen: ModelChoices, card: ModelCard
) -> tuple[SamplingOptions, str, set[str]]:
    """The options, the preset they come from, and the names of the single ones that were chosen."""
    options, preset = _one(beside, "options", SamplingOptions), beside.get("preset")
    if options is not None:
        if preset is not None:
            raise UsageError("preset and options exclude each other", fix="leave out one of them")
        return replace(options, **given), preset_of(options, card.sampling), set(given)
    if preset is not None:
        return card.preset(preset, **given), preset, set(given)
    return replace(chosen.options, **given), chosen.preset, {*given, *chosen.changed}


def _direction(
    direction: Direction | None, steering: Mapping[str, Any], chosen: ModelChoices, card: ModelCard
) -> tuple[Direction, Path | None]:
    """The direction, and the file of its pose."""
    if direction is not None:
        if steering:
            raise UsageError(
                f"{next(iter(steering))} and direction exclude each other", fix="put it into the direction"
            )
        return direction, None
    project = steering.get("project_motion", chosen.project)
    if not isinstance(project, bool):
        raise UsageError(f"project_motion: should be True or False, not {project!r}")
    controls = _controls(steering["control"], card.directions) if "control" in steering else chosen.controls
    emotion, pose = steering.get("emotion", chosen.emotion), steering.get("pose", chosen.pose)
    if isinstance(pose, str | Path):
        return Direction(emotion, controls, project), Path(pose)
    return Direction(emotion, controls, project, pose), None


def _controls(given: Any, names: Sequence[str]) -> tuple[Control, ...]:
    """One control or several, each as a `Control` or as it is typed."""
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found = []
    for one in several:
        if not isinstance(one, str | Control):
            raise UsageError(f"control: should be DIR=VALUE or a Control, not {one!r}", fix='control=["yaw=0.5"]')
        found.append(parse_control(one, names) if isinstance(one, str) else one)
    return tuple(found)


def _one(beside: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """What is given all at once; raises UsageError for another kind of object."""
    value = beside.get(name)
    if value is not None and not isinstance(value, kind):
        raise UsageError(f"{name}: should be {kind.__name__}(...), not {value!r}")
    return value
