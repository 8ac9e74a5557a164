"""The two trainings from configuration to exported model, as `floatbench train autoencoder|flow` runs them.

DIR/autoencoder/   checkpoint.safetensors, log.jsonl, tensorboard/, samples/
DIR/flow/          the same, coefficients.safetensors
DIR/autoencoder.safetensors, DIR/float.safetensors    what is exported, with metadata
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from floatbench import weights
from floatbench.errors import DataError
from floatbench.files import file_sha256, write_safetensors
from floatbench.model import checkpoint
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.checkpoint import Metadata
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress, Progress
from floatbench.training.batches import MotionClip
from floatbench.training.beginning import check_beginning
from floatbench.training.clip_order import MixedOrder, listed
from floatbench.training.clips import ClipPool, ClipSet, MissingClips, RenderedClips, usable
from floatbench.training.coefficients import Wanted, motion_clips, standardise, standardised_pose
from floatbench.training.config import TrainConfig
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import PREVIEW_FRAMES, FlowPhase
from floatbench.training.frame_folders import PREFIX, FrameFolders, JoinedClips, frames_folder
from floatbench.training.ground_truth import MOTION_NAMES
from floatbench.training.hearing import heard_clips
from floatbench.training.known_people import known_people
from floatbench.training.loop import Schedule, run_phase
from floatbench.training.pair_stream import PairStream
from floatbench.training.protocol_clips import ProtocolClips
from floatbench.training.recogniser import trained_recogniser
from floatbench.training.tiny.faces import train_painter
from floatbench.training.tiny.phase import phase_class
from floatbench.training.tiny.reader import trained_reader
from floatbench.training.validation import (
    BEST,
    PICTURES,
    HeldOutClips,
    Made,
    ValidationPlan,
    Validator,
    metric_names,
)

MAX_ABSENT = 0.1
"""A data set that lacks more than this share of its clips is not the one that was named; protocols cover 0.9, too."""
SYNTHETIC_LICENCE = "Apache-2.0, trained on synthetic heads only"


def clip_set(
    config: TrainConfig, progress: Progress, workers: int = 1, pairs: bool = False, allow_missing: bool = False
) -> ClipSet:
    """The training clips a configuration names; synthetic ones are drawn (once) before training starts.

    Args:
        pairs: for phase 1: with clips whose head is held still, and with tracks of the surface.
        allow_missing: go on without data sets that are not on this machine, as long as there is one.

    Raises:
        DataError: a data set is missing; all that are are named, each with its command.
    """
    data, size = config.data, config.model.image_size
    if data.protocol:
        return _recorded(config, progress, workers, pairs, allow_missing)
    held = data.still if pairs else 0.0
    counts = (data.identities, data.per_identity, data.seconds, data.seed, data.first)
    clips = RenderedClips(size, *counts, held, pairs)
    clips.render(progress, workers)
    return clips


def _recorded(config: TrainConfig, progress: Progress, workers: int, pairs: bool, allow_missing: bool) -> ClipSet:
    """The clips of all data sets that are named; folders of pictures are left out of phase 2, which needs sound."""
    size, boxes = config.model.image_size, pairs and config.autoencoder.needs_boxes
    names = config.data.names
    silent = [name for name in names if name.startswith(PREFIX)]
    wanted = [name for name in names if pairs or name not in silent]
    if not wanted:
        raise DataError(f"{config.data.protocol} has no sound", fix="name a protocol with sound in [data] for phase 2")
    if silent and not pairs:
        progress.note(f"phase 2 leaves out {', '.join(silent)}: no sound")
    parts: list[ClipSet] = []
    missing: dict[str, DataError] = {}
    for name in wanted:
        try:
            if name in silent:
                parts.append(FrameFolders(frames_folder(name), size, boxes, name))
            else:
                parts.append(_prepared(config, name, progress, boxes, workers, pairs, allow_missing))
        except MissingClips as error:
            missing[name] = error
    _say_missing(missing, bool(parts) and allow_missing, progress)
    return parts[0] if len(parts) == 1 else JoinedClips(parts)


def _prepared(
    config: TrainConfig, name: str, progress: Progress, boxes: bool, workers: int, pairs: bool, allow_missing: bool
) -> ProtocolClips:
    """The clips of a protocol; raises MissingClips when more than MAX_ABSENT of them are absent and may not be."""
    size, prepared = config.model.image_size, config.data.prepared
    found = ProtocolClips(name, size, progress, boxes, workers, pairs, prepared)
    if not found.absent:
        return found
    lacking = f"{name}: {found.absent} of {found.listed} clips are not ready on this machine"
    if found.absent > MAX_ABSENT * found.listed and not allow_missing:
        raise MissingClips(lacking, fix=f"{found.fix or 'add clips'}, or --allow-missing to train without them")
    progress.note(lacking)
    return found


def _say_missing(missing: Mapping[str, DataError], go_on: bool, progress: Progress) -> None:
    """Raises DataError for data sets that are missing, or notes each of them."""
    if not missing:
        return
    if go_on:
        for name, error in missing.items():
            progress.note(f"without {name}: {error.what}")
        return
    if len(missing) == 1:
        raise next(iter(missing.values()))
    fixes = dict.fromkeys(error.fix for error in missing.values() if error.fix)
    raise DataError(
        "; ".join(f"{error.what}" for error in missing.values()),
        fix="; ".join([*fixes, "or --allow-missing to train on the others"]),
    )


def train_autoencoder(
    config: TrainConfig,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 1,
    clips: ClipSet | None = None,
    allow_missing: bool = False,
    trackers: tuple[str, ...] | None = None,
    validation: ValidationPlan | None = None,
) -> dict[str, Any]:
    """Phase 1; returns what was done.

    Args:
        allow_missing: see `clip_set`. trackers: see `floatbench.training.log.TrainingLog`.
        validation: scores of held-out clips while it trains, see `floatbench.training.validation`.

    Raises:
        DataError: too few or too many unusable clips. UsageError, DataError: see
            `floatbench.training.beginning.check_beginning`. Interrupted, RunIncomplete: see
            `floatbench.training.loop.run_phase`.
    """
    progress, c = progress or NullProgress(), config.autoencoder
    devices = Devices(device, c.precision)
    quiet = progress if devices.main else NullProgress()
    check_beginning(config, "autoencoder", out, resume, devices, validation)
    clips = clips or clip_set(config, quiet, workers, pairs=True, allow_missing=allow_missing)
    good = usable(clips, 2, quiet, workers)
    pool = _pairs_from(config, clips, good, devices, workers, quiet)
    torch.manual_seed(c.seed)
    autoencoder = FloatModel(config.model).motion_autoencoder
    if autoencoder.enc.reader is not None and not resume:
        reader = trained_reader(config, out / "autoencoder", quiet, workers)
        autoencoder.enc.reader.load_state_dict(reader)
    phase = phase_class(c)(config, autoencoder, pool, devices, fresh=not resume)
    schedule = _schedule(config, "autoencoder", out, devices, trackers, listed(clips, good, config.data.shares))

    def export(target: Path, scored: Mapping[str, Any]) -> None:
        plain = {name: value.cpu().contiguous() for name, value in phase.ema.module.state_dict().items()}
        more = {"validation": json.dumps(scored, sort_keys=True)} if scored else {}
        write_safetensors(target, plain, {"config_hash": schedule.config_hash, "config": schedule.config} | more)

    schedule = _validated(schedule, validation, phase.held_out_maker, export, quiet)
    start = time.monotonic()
    with pool:
        steps = run_phase(phase, schedule, quiet, resume)
    exported = out / "autoencoder.safetensors"
    if devices.main:
        averaged = cast("MotionAutoencoder", phase.ema.module)
        if averaged.dec.painter is not None:
            train_painter(config, averaged, phase.clips_in_memory(), quiet)
        export(exported, {})
    return _done(schedule, steps, start, exported, len(good))


def _pairs_from(
    config: TrainConfig, clips: ClipSet, good: Sequence[int], devices: Devices, workers: int, progress: Progress
) -> ClipPool | PairStream:
    """Where the pairs of phase 1 come from: the files themselves, or a pool of clips in memory."""
    data, c = config.data, config.autoencoder
    order = MixedOrder(clips, good, data.seed + c.seed, data.shares)
    if not data.pool:
        cuda = devices.device.type == "cuda"
        return PairStream(
            clips, order, c.batch, data.seed + c.seed, data.flip, c.steps, devices.rows, workers, cuda
        )  # fmt: skip
    if never := order.never(data.pool, data.refresh, c.steps):
        progress.note(
            f"{never} of {len(order.indices)} clips of an epoch never come in {c.steps} steps: lower data.refresh"
        )
    return ClipPool(clips, order, data.pool, data.refresh)


def train_flow(
    config: TrainConfig,
    out: Path,
    progress: Progress | None = None,
    resume: bool = False,
    device: str = "auto",
    workers: int = 1,
    clips: ClipSet | None = None,
    cache: Path | None = None,
    allow_missing: bool = False,
    trackers: tuple[str, ...] | None = None,
    validation: ValidationPlan | None = None,
) -> dict[str, Any]:
    """Phase 2 on the auto-encoder that phase 1 left in the same folder; raises as `train_autoencoder`.

    Args:
        cache: folder of the cached coefficients and of the emotion recogniser, which models with one auto-encoder may
            share; OUT/flow by default.
    """
    progress, c = progress or NullProgress(), config.flow
    devices = Devices(device, c.precision)
    quiet = progress if devices.main else NullProgress()
    exported = out / "autoencoder.safetensors"
    check_beginning(config, "flow", out, resume, devices, validation)
    clips = clips or clip_set(config, quiet, workers, allow_missing=allow_missing)
    torch.manual_seed(c.seed)
    model = load_speech(FloatModel(config.model))
    load_autoencoder(model.motion_autoencoder, exported)
    model.motion_autoencoder.to(devices.device)
    if config.emotion_first and model.emotion_encoder is not None:
        model.emotion_encoder.load_state_dict(trained_recogniser(config, cache or out / "flow", quiet, workers))
    motions = _motions(config, clips, model.motion_autoencoder, exported, cache or out / "flow", quiet, workers)
    notes: dict[str, Any] = {}
    if config.model.pose_condition:
        motions, notes["pose"] = standardised_pose(motions)
    if c.standardise:
        every = torch.cat([torch.from_numpy(clip.coefficients) for clip in motions])
        mean, gain = coefficient_scale(every, config.model.dim_w)
        standardise(model.motion_autoencoder, mean, gain)
        notes["coefficients"] = {"mean": mean.tolist(), "gain": gain}
        motions = [_rescaled(clip, mean.numpy(), gain) for clip in motions]
    if c.hearing == "whole":
        networks = " ".join(weights.sha256(name) for name in weights.SPEECH)
        motions = heard_clips(model.to(devices.device), motions, networks, quiet)
    preview = clips.beginning(motions[0].number, PREVIEW_FRAMES)
    phase = FlowPhase(config, model, motions, devices, preview, motions[0])
    if c.targets == "truth":
        notes["directions"] = list(MOTION_NAMES)
    notes |= {"training": config.record(), "autoencoder_sha256": file_sha256(exported), "clips": len(motions)}
    export = _exporter(config, phase, notes)
    trained = listed(clips, [motion.number for motion in motions], config.data.shares)
    schedule = _schedule(config, "flow", out, devices, trackers, trained)
    schedule = _validated(schedule, validation, phase.held_out_maker, export, quiet)
    start = time.monotonic()
    steps = run_phase(phase, schedule, quiet, resume)
    target = out / "float.safetensors"
    if devices.main:
        export(target, {})
    return _done(schedule, steps, start, target, len(motions))


def _motions(
    config: TrainConfig,
    clips: ClipSet,
    autoencoder: MotionAutoencoder,
    exported: Path,
    cache: Path,
    progress: Progress,
    workers: int,
) -> list[MotionClip]:
    """The usable clips as phase 2 needs them; their coefficients are kept by the exported file's hash."""
    model, c = config.model, config.flow
    good = usable(clips, model.window + model.previous, progress, workers)
    kept = cache / f"coefficients-{file_sha256(exported)[:12]}.safetensors"
    wanted = Wanted(model.pose_condition, model.emotion_condition == "image", c.targets == "truth", c.every)
    shares = config.data.shares
    return motion_clips(clips, good, autoencoder, kept, progress, wanted=wanted, workers=workers, shares=shares)


def _exporter(
    config: TrainConfig, phase: FlowPhase, notes: dict[str, Any]
) -> Callable[[Path, Mapping[str, Any]], None]:
    """What writes the model of now, with the scores that a validation gave it."""
    licence = "as its training data" if config.data.protocol else SYNTHETIC_LICENCE
    kind = torch.float16 if config.half else torch.float32
    if config.sampling:
        notes["sampling"] = config.sampling

    def export(target: Path, scored: Mapping[str, Any]) -> None:
        model, more = phase.averaged(), {"validation": dict(scored)} if scored else {}
        if "domain" not in notes and (domain := known_people(model, config.data)) is not None:
            notes["domain"] = domain.record()  # of the encoder, which phase 2 leaves as it is
        metadata = Metadata(config.exported, licence=licence, notes=json.dumps(notes | more, sort_keys=True))
        checkpoint.save(model, target, metadata, kind)

    return export


def _validated(
    schedule: Schedule,
    plan: ValidationPlan | None,
    made: Callable[[], Made],
    keep: Callable[[Path, Mapping[str, Any]], None],
    progress: Progress,
) -> Schedule:
    """The schedule with the validation that was asked for; the first of several processes does it."""
    if plan is None or not schedule.main:
        return schedule
    pictures = schedule.name == "autoencoder"
    held = HeldOutClips(plan, metric_names(plan, pictures, progress), progress, PICTURES if pictures else 0)
    return replace(schedule, validator=Validator(held, plan, schedule.folder, made, keep))


def _rescaled(clip: MotionClip, mean: np.ndarray, gain: float) -> MotionClip:
    moved = {
        name: None if value is None else (gain * (value - mean)).astype(np.float32)
        for name, value in (("coefficients", clip.coefficients), ("references", clip.references))
    }
    return replace(clip, **moved)


def coefficient_scale(coefficients: Tensor, latent_dim: int) -> tuple[Tensor, float]:
    """Mean (M,) of coefficients (N, M), and the gain that gives the centred ones a mean square of D / M."""
    mean = coefficients.mean(0)
    power = (coefficients - mean).square().mean().clamp(min=1e-12)
    return mean, float(torch.sqrt(latent_dim / coefficients.shape[1] / power))


def load_speech(model: FloatModel) -> FloatModel:
    """Fills the frozen speech networks from the registry; a log-mel model has none and stays as it is.

    Raises:
        DataError: their weights are missing, with the command that fetches them.
    """
    if model.config.speech != "wav2vec2":
        return model
    wanted = {k for k in model.state_dict() if k.startswith((checkpoint.AUDIO_PREFIX, checkpoint.EMOTION_PREFIX))}
    state = checkpoint.speech_state(*(weights.path(name) for name in weights.SPEECH))
    missing = sorted(wanted - set(state))
    if missing:
        raise DataError(f"the speech networks lack {missing[0]} and {len(missing) - 1} more entries")
    model.load_state_dict({k: state[k] for k in wanted}, strict=False)
    return model


def _schedule(
    config: TrainConfig,
    phase: Any,
    out: Path,
    devices: Devices,
    trackers: tuple[str, ...] | None,
    clips: Mapping[str, Any],
) -> Schedule:
    part = config.autoencoder if phase == "autoencoder" else config.flow
    return Schedule(
        phase,
        out / phase,
        part.steps,
        part.save_every,
        part.sample_every,
        config.hash(phase),
        config.name,
        devices.main,
        trackers,
        clips=clips,
    )


def load_autoencoder(autoencoder: MotionAutoencoder, path: Path) -> None:
    """Loads what phase 1 exported; raises DataError when it does not fit the configuration."""
    try:
        autoencoder.load_state_dict(checkpoint.read_tensors(path), strict=True)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit this configuration: {error}") from error
    autoencoder.eval()


def _done(schedule: Schedule, steps: int, start: float, exported: Path, clips: int) -> dict[str, Any]:
    seconds = time.monotonic() - start
    best = schedule.validator.record() if schedule.validator is not None else None
    return ({} if best is None else {"best": best | {"file": str(schedule.folder / BEST)}}) | {
        "phase": schedule.name,
        "steps": schedule.steps,
        "steps_now": steps,
        "seconds": round(seconds, 1),
        "clips": clips,
        "exported": str(exported),
    }
