"""Checkpoints of a training run: one safetensors file with every tensor and a JSON state, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from floatbench.errors import DataError, UsageError
from floatbench.files import write_safetensors

FORMAT = "floatbench-training-1"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Writes tensors and state; a full disk raises DependencyError and leaves the checkpoint before it."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_safetensors(path, plain, {"format": FORMAT, "state": json.dumps(state, sort_keys=True)})


def read_checkpoint(path: Path, config_hash: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint of this configuration; raises as `read_state`."""
    state = read_state(path, config_hash)
    with safe_open(path, framework="pt") as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a mapping
    return tensors, state


def read_state(path: Path, config_hash: str) -> dict[str, Any]:
    """The state alone, without reading a tensor.

    Raises:
        DataError: absent or damaged. UsageError: it was made with another configuration.
    """
    if not path.is_file():
        raise DataError(f"there is no checkpoint at {path}", fix="start without --resume")
    try:
        with safe_open(path, framework="pt") as stream:
            state = json.loads((stream.metadata() or {})["state"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a training checkpoint: {error}") from error
    if state.get("config_hash") != config_hash:
        raise UsageError(
            f"{path} was made with another configuration ({state.get('config', '?')})",
            fix="use its configuration, or another --out",
        )
    return state


def check_clips(path: Path, state: Mapping[str, Any], clips: Mapping[str, Any]) -> None:
    """Raises DataError when a checkpoint was trained on another list of clips than this one of `clip_order.listed`.

    Checkpoints of before lists were kept go on with any.
    """
    before = state.get("clips")
    if before and clips and before != clips:
        raise DataError(
            f"{path} was trained on another list of {before['count']} clips, here are {clips['count']}: what comes next"
            " would be another training",
            fix="bring the data back as they were, or begin anew with another --out",
        )


def module_tensors(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's entries under a prefix."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def load_module(prefix: str, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `module_tensors`, strictly."""
    start = prefix + "."
    state = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise DataError(f"the checkpoint does not fit this model: {error}") from error


def optimiser_tensors(prefix: str, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments and step counts of an optimiser, by parameter number."""
    found = {}
    for number, values in optimiser.state_dict()["state"].items():
        for name, value in values.items():
            found[f"{prefix}.{number}.{name}"] = torch.as_tensor(value)
    return found


def load_optimiser(prefix: str, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`."""
    state = optimiser.state_dict()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(prefix + "."):
            number, key = name.removeprefix(prefix + ".").split(".")
            moments.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
