"""What is checked before a phase begins, so that no mistake is told after hours; what is said when it is stopped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from floatbench import weights
from floatbench.errors import DataError, Interrupted, UsageError
from floatbench.metrics.reconnet import ReconCoefficients
from floatbench.training.autoencoder_phase import NEEDS_MEMORY, POOL
from floatbench.training.checkpoints import read_state
from floatbench.training.config import TinyAutoencoderConfig, TrainConfig
from floatbench.training.devices import Devices
from floatbench.training.loop import CHECKPOINT
from floatbench.training.validation import ValidationPlan, check_validation, refuse_driven
from floatbench.weights import store

PhaseName = Literal["autoencoder", "flow"]
EXPORTED: dict[PhaseName, str] = {"autoencoder": "autoencoder.safetensors", "flow": "float.safetensors"}
"""What a phase leaves in the folder when it is done."""


def check_beginning(
    config: TrainConfig,
    phase: PhaseName,
    out: Path,
    resume: bool,
    devices: Devices,
    validation: ValidationPlan | None = None,
) -> None:
    """Raises what the phase would otherwise meet after its clips are drawn or looked at, or its first networks learnt.

    Raises:
        UsageError: the folder holds a training and `resume` is False; the checkpoint is of another configuration or has
            more steps than are asked for; the batch cannot be shared out; a metric is unknown. DataError: there is no
            checkpoint to resume, phase 1 was not trained, or weights are missing.
    """
    part = config.autoencoder if phase == "autoencoder" else config.flow
    file = out / phase / CHECKPOINT
    if resume:
        done = int(read_state(file, config.hash(phase))["step"])
        if done > part.steps:
            raise UsageError(f"{file} has {done} steps already, not only {part.steps}", fix=f"--steps {done} or more")
    else:
        _refuse_kept(phase, out, file)
    if phase == "flow" and not (first := out / EXPORTED["autoencoder"]).is_file():
        fix = f"floatbench train autoencoder --out {out}, with the same --config"
        raise DataError(f"there is no {first}", fix=fix)
    tiny = config.autoencoder
    needs_memory = config.model.painter or (isinstance(tiny, TinyAutoencoderConfig) and tiny.needs_memory)
    if phase == "autoencoder" and not config.data.pool and needs_memory:
        raise UsageError(NEEDS_MEMORY, fix=POOL)
    rows = config.autoencoder.shared_batch if phase == "autoencoder" else config.flow.batch
    devices.check_batch(rows, part.accumulate)
    refuse_missing_networks(needed_networks(config, phase), f"phase {1 if phase == 'autoencoder' else 2}")
    if validation is not None:
        if phase == "flow":
            refuse_driven(config.model, validation)
        check_validation(validation, pictures=phase == "autoencoder")


def _refuse_kept(phase: PhaseName, out: Path, checkpoint: Path) -> None:
    """Raises UsageError where a fresh start would replace what a training left."""
    if checkpoint.is_file():
        raise UsageError(f"{checkpoint} is of a training that was begun here", fix="--resume, or another --out")
    if (exported := out / EXPORTED[phase]).is_file():
        raise UsageError(f"{exported} would be replaced", fix="another --out, or move the file away")


def needed_networks(config: TrainConfig, phase: PhaseName) -> list[str]:
    """The networks of the registry that training a phase opens, the face landmarker apart, which clips ask for."""
    if phase == "autoencoder":
        c = config.autoencoder
        return [] if isinstance(c, TinyAutoencoderConfig) and c.network == "random" else ["vgg19"]
    model, needed = config.model, []
    if model.speech == "wav2vec2":
        needed += weights.SPEECH
    if config.data.protocol and model.pose_condition:
        needed += ReconCoefficients("hold").weights
    if config.data.protocol and model.emotion_condition == "image":
        needed.append("hsemotion")
    return needed


def refuse_missing_networks(needed: Iterable[str], who: str) -> None:
    """Raises DataError that names all networks that are not on this machine."""
    missing = [name for name in dict.fromkeys(needed) if not store.available(name)]
    if missing:
        fix = f"floatbench weights fetch {' '.join(missing)}"
        raise DataError(f"{who} needs {', '.join(missing)}", fix=fix)


@contextmanager
def stopped_phase(folder: Path) -> Iterator[None]:
    """Turns Ctrl-C and SIGTERM outside the steps of a phase into an `Interrupted` that says how to go on.

    Args:
        folder: of the phase; with a checkpoint in it the same command would be refused.
    """
    try:
        yield
    except KeyboardInterrupt:
        kept = (folder / CHECKPOINT).is_file()
        what = f"{folder.name} stopped between its steps; " + ("its checkpoint stays" if kept else "none was taken yet")
        raise Interrupted(what, fix=f"run {'again with --resume' if kept else 'the same command again'}") from None


@contextmanager
def same_command_resumes() -> Iterator[None]:
    """An `Interrupted` of a phase, for commands that go on by themselves."""
    try:
        yield
    except Interrupted as error:
        raise Interrupted(error.what, fix="run the same command again") from error
