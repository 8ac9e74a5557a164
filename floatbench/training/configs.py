"""The named training configurations, and TOML files that change single fields of one.

base = "float-tiny"
[data]
identities = 40
[flow]
steps = 500
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from floatbench.errors import UsageError
from floatbench.model.config import FLOAT_512, FLOAT_TINY
from floatbench.settings import problem_of
from floatbench.text import near
from floatbench.training.config import (
    AutoencoderConfig,
    EmotionConfig,
    FlowConfig,
    TinyAutoencoderConfig,
    TrainConfig,
)
from floatbench.training.data_config import DataConfig
from floatbench.training.losses.dropout import DropRates

FLOAT_512_TRAINING = TrainConfig(
    "float-512", FLOAT_512, DataConfig(protocol="hdtf-train, ravdess-train, frames:vfhq", pool=0)
)
"""The paper's numbers and data: phase 2 leaves out VFHQ, which has no sound."""

FLOAT_TINY_TRAINING = TrainConfig(
    "float-tiny",
    dataclasses.replace(FLOAT_TINY, transfer="lia", warp="bilinear"),
    DataConfig(per_identity=2, still=1.2, pool=480),
    autoencoder=TinyAutoencoderConfig(
        steps=12_000,
        batch=8,
        rate=4e-3,
        beta1=0.9,
        decay_from=0.5,
        l1=1.0,
        perceptual=1.0,
        component=0.0,
        component_l1=5.0,
        component_l2=60.0,
        truth_warp=10.0,
        truth_share=1.0,
        encoder="regression",
        both_ways=True,
        across=0.5,
        full_adv=0.0,
        eye_adv=0.0,
        eye_style=0.0,
        lip_adv=0.0,
        lip_style=0.0,
        scales=(1,),
        network="random",
        eye_size=16,
        lip_size=24,
        critic_max=64,
        critic_base=1024,
        component_width=16,
        component_from=0,
        ema_images=800.0,
        clip=10.0,
        flow_gain=0.001,
        start="copy",
        precision="float32",
        save_every=250,
        sample_every=500,
    ),
    flow=FlowConfig(
        steps=10_000,
        batch=16,
        rate=2e-3,
        warmup=50,
        decay_from=0.2,
        emotion_truth=0.5,
        emotion_weight=0.2,
        velocity=2.0,
        inside=1.0,
        face_velocity=2.0,
        head_square=2.0,
        seam=1.4,
        previous_loss="none",
        drop=DropRates(prev_x=0.3, prev_wa=0.3),
        begin_at_source=True,
        across=0.9,
        every=5,
        targets="truth",
        standardise=True,
        ema=0.99,
        precision="float32",
        save_every=250,
        sample_every=500,
    ),
    emotion=EmotionConfig(steps=1_500),
    half=True,
    anchored=True,
    sampling={"nfe": 20},
)
"""Two to four hours on two cores, synthetic data only."""

CONFIGS: dict[str, TrainConfig] = {"float-512": FLOAT_512_TRAINING, "float-tiny": FLOAT_TINY_TRAINING}


def load_config(name_or_file: str) -> TrainConfig:
    """A named configuration, or one with changes from a TOML file.

    Raises:
        UsageError: an unknown name, a file that cannot be read, an unknown key or a value of the wrong kind.
    """
    if name_or_file in CONFIGS:
        return CONFIGS[name_or_file]
    path = Path(name_or_file)
    if path.suffix != ".toml":
        hint = near(name_or_file, CONFIGS, f"one of {', '.join(CONFIGS)}, or a .toml file")
        raise UsageError(f"unknown training configuration {name_or_file!r}", fix=hint)
    try:
        document = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as a training configuration: {error}") from error
    base = document.pop("base", None)
    if base not in CONFIGS:
        raise UsageError(f"{path}: `base` must be one of {', '.join(CONFIGS)}, got {base!r}")
    document.setdefault("name", path.stem)
    return _changed(CONFIGS[base], document, str(path))


D = TypeVar("D")


def _changed(base: TrainConfig, document: dict[str, Any], where: str) -> TrainConfig:
    """A configuration with some fields replaced."""
    known = {item.name: getattr(base, item.name) for item in dataclasses.fields(base)}
    updated: dict[str, Any] = {}
    for key, new in document.items():
        _check_known(key, known, where, "")
        table = dataclasses.is_dataclass(known[key]) and isinstance(new, dict)
        updated[key] = _section(known[key], new, where, f"{key}.") if table else new
    try:
        return dataclasses.replace(base, **updated)
    except UsageError as error:
        raise UsageError(f"{where}: {error.what}", fix=error.fix) from None


def _section(value: D, changes: dict[str, Any], where: str, prefix: str) -> D:
    """A table's dataclass with some fields replaced.

    It is read as JSON, which is strict about kinds but lets a list be a tuple and a whole number stand for a float.
    """
    value = _with_shortcuts(value, changes)
    whole = _merged(value, changes, where, prefix)
    try:
        return TypeAdapter(type(value)).validate_json(json.dumps(whole, default=str), strict=True)
    except ValidationError as error:
        raise UsageError(f"{where}: {problem_of(error, prefix)}") from None


def _merged(value: Any, changes: dict[str, Any], where: str, prefix: str) -> dict[str, Any]:
    """The fields of a dataclass with changes laid over them, table by table."""
    merged = dataclasses.asdict(value)
    for key, new in changes.items():
        _check_known(key, merged, where, prefix)
        old = getattr(value, key)
        table = dataclasses.is_dataclass(old) and isinstance(new, dict)
        merged[key] = _merged(old, new, where, f"{prefix}{key}.") if table else new
    return merged


def _check_known(key: str, known: Iterable[str], where: str, prefix: str) -> None:
    if key not in known:
        raise UsageError(f"{where}: unknown key {prefix}{key!r}", fix=f"known keys: {', '.join(known)}")


def _with_shortcuts(value: Any, changes: dict[str, Any]) -> Any:
    """Phase 1 of the paper becomes that of float-tiny where a file sets one of its fields."""
    if type(value) is not AutoencoderConfig:
        return value
    own = {item.name for item in dataclasses.fields(TinyAutoencoderConfig)}
    own -= {item.name for item in dataclasses.fields(AutoencoderConfig)}
    return TinyAutoencoderConfig(**vars(value)) if own & set(changes) else value
