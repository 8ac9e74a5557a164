"""The motion auto-encoder that the variants of an ablation share, in the folder as phase 1 would have left it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from floatbench import weights
from floatbench.errors import UsageError
from floatbench.files import file_sha256, write_safetensors
from floatbench.model.checkpoint import read_metadata
from floatbench.progress import Progress
from floatbench.sampling.loading import checkpoint_file, config_of, load_model
from floatbench.training.clips import ClipSet
from floatbench.training.coefficients import standardise
from floatbench.training.config import TrainConfig
from floatbench.training.train import train_autoencoder

SAME = ("image_size", "channel_max", "channel_base", "dim_w", "dim_m", "grid", "reader", "painter")
"""Fields of a model's configuration that its auto-encoder has to share."""


def shared_autoencoder(
    config: TrainConfig,
    folder: Path,
    checkpoint: str | Path,
    progress: Progress,
    device: str,
    clips: ClipSet | None,
    workers: int = 1,
) -> Path:
    """FOLDER/autoencoder.safetensors; where it is not there, that of a checkpoint, else what phase 1 trains now.

    Args:
        checkpoint: a name or a file; "" for a model of the configuration's own sizes that is on this machine.

    Raises:
        UsageError: the checkpoint does not fit the configuration.
    """
    target, chosen = folder / "autoencoder.safetensors", str(checkpoint) or own_model(config)
    if target.is_file():
        return target
    if chosen:
        _extract(config, chosen, target)
    else:
        progress.note(f"no auto-encoder of {config.name}'s sizes is given: phase 1 is trained first")
        resume = (folder / "autoencoder" / "checkpoint.safetensors").is_file()
        train_autoencoder(config, folder, progress, resume, device, workers, clips)
    return target


def own_model(config: TrainConfig) -> str:
    """The model of the configuration's kind, where it is on this machine and its auto-encoder has the same sizes."""
    name = "float-tiny" if config.model.speech == "logmel" else "float"
    return name if weights_here(name) and not _differing(config, name) else ""


def weights_here(name: str) -> bool:
    """Whether a model can be loaded on this machine."""
    if name == "float":
        return all(weights.available(entry) for entry in (name, *weights.SPEECH))
    return config_of(name) is not None


def _differing(config: TrainConfig, name: str) -> list[str]:
    found = config_of(name)
    return [field for field in SAME if getattr(found, field) != getattr(config.model, field)]


def require_same_autoencoder(config: TrainConfig, target: Path, checkpoint: str | Path) -> None:
    """Raises UsageError when a folder's auto-encoder is not the one that is asked for."""
    with safe_open(target, "pt") as stream:
        metadata = stream.metadata() or {}
    chosen = str(checkpoint) or own_model(config)
    origin = metadata.get("weights")
    if checkpoint and origin != _sha256(chosen):
        raise UsageError(f"{target} is not the auto-encoder of {checkpoint}", fix="another --out, or no --weights")
    if origin and not (chosen and origin == _sha256(chosen)):
        raise UsageError(f"{target} is the auto-encoder of other weights", fix="those --weights, or another --out")
    if metadata.get("config_hash", config.hash("autoencoder")) != config.hash("autoencoder"):
        raise UsageError(f"{target} was trained with another configuration", fix="that --config, or another --out")


def _sha256(name: str) -> str:
    """Of the file that holds a model's auto-encoder."""
    return weights.sha256(name) if name == "float" else file_sha256(checkpoint_file(name))


def _extract(config: TrainConfig, name: str, target: Path) -> None:
    """Writes the auto-encoder of a model as phase 1 would have left it."""
    model = load_model(name)[0]
    if differing := _differing(config, name):
        raise UsageError(
            f"the auto-encoder of {name} has another {differing[0]} than the configuration {config.name}",
            fix="--config FILE with the same model, or no --weights to train phase 1 first",
        )
    autoencoder = model.motion_autoencoder
    notes = "{}" if name == "float" else read_metadata(checkpoint_file(name)).notes
    if moved := json.loads(notes or "{}").get("coefficients"):  # back to those of phase 1, whose units the truth has
        mean, gain = torch.tensor(moved["mean"]), float(moved["gain"])
        standardise(autoencoder, -gain * mean, 1 / gain)
    state = {name: value.float().contiguous() for name, value in autoencoder.state_dict().items()}
    write_safetensors(target, state, {"weights": _sha256(name)})
