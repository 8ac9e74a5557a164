"""The ablation of the component losses of phase 1 (the paper's Fig. 3): four auto-encoders, scored on held-out clips.

The supplement's Eq. 18 looks at mouth and eyes with two kinds of terms: a perceptual one, L_comp-lp, and discriminators
with their style terms. Rows leave out both, one of them, or none; all else, data and seeds included, is the same.

    OUT/components/ROW/autoencoder/             as `floatbench train autoencoder` leaves it
    OUT/components/ROW/autoencoder.safetensors  the running average, which is scored
    OUT/components/ROW/budget.json, scores.json
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

import floatbench
from floatbench.device import pick_device
from floatbench.errors import DataError, UsageError
from floatbench.files import file_sha256, write_json
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.load import load_protocol
from floatbench.sampling.picture import whole_picture
from floatbench.training.across import helps_training
from floatbench.training.autoencoder_phase import transfer_maker
from floatbench.training.clips import ClipSet
from floatbench.training.config import AutoencoderConfig, TrainConfig
from floatbench.training.configs import load_config
from floatbench.training.devices import training_device
from floatbench.training.train import clip_set, load_autoencoder, train_autoencoder
from floatbench.training.validation import (
    PICTURES,
    HeldClip,
    HeldOutClips,
    Made,
    ValidationPlan,
    check_validation,
    ready_clips,
)

PERCEPTUAL = ("component",)
CRITICS = ("eye_adv", "eye_style", "lip_adv", "lip_style")
OURS = ("component_l1", "component_l2")
"""Component terms that the paper does not have."""
FROZEN = "frozen"


@dataclass(frozen=True)
class ComponentRow:
    """One auto-encoder; `off` names the weights of Eq. 18 that are 0 in it."""

    row: str
    name: str
    off: tuple[str, ...]


COMPONENT_ROWS = (
    ComponentRow("none", "without component losses", (*PERCEPTUAL, *CRITICS)),
    ComponentRow("perceptual", "L_comp-lp alone", CRITICS),
    ComponentRow("critics", "eye and lip discriminators alone", PERCEPTUAL),
    ComponentRow("full", "FLOAT", ()),
)


@dataclass(frozen=True)
class ComponentPlan:
    """What `floatbench ablate --figure 3` was asked for.

    Attributes:
        held: the held-out clips and the metrics. config: training configuration, a name or a file.
        train: train missing auto-encoders, `steps` steps each. out: folder.
        controls: also score the source picture standing still. device: `auto`, `cpu`, `cuda` or `cuda:N`.
        workers: processes that draw or prepare training clips.
    """

    held: ValidationPlan
    config: str
    train: bool
    steps: int
    out: Path
    controls: bool = True
    device: str = "auto"
    workers: int = 1


@dataclass(frozen=True)
class ScoredRow:
    """A row with its budget, the file of its auto-encoder ("" when it has none) and its scores by metric."""

    row: str
    name: str
    budget: str
    autoencoder: str
    scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ComponentScores:
    """The rows, the metrics in order and the ids of the clips that they are scored on."""

    rows: list[ScoredRow]
    metrics: list[str]
    clips: list[str]


def config_of(config: TrainConfig, row: ComponentRow, steps: int) -> TrainConfig:
    """The configuration that trains a row."""
    return replace(
        config, name=row.row, autoencoder=replace(config.autoencoder, steps=steps, **dict.fromkeys(row.off, 0.0))
    )


def require_components(config: TrainConfig, steps: int) -> None:
    """Raises UsageError where rows would not differ by the paper's component losses alone, or not at all."""
    c, paper = config.autoencoder, AutoencoderConfig()
    mend = {name: getattr(paper, name) for name in PERCEPTUAL if not getattr(c, name)}
    if not any(getattr(c, name) for name in CRITICS):
        mend |= {name: getattr(paper, name) for name in CRITICS}
    lacking = " and ".join(dict.fromkeys("L_comp-lp" if name in PERCEPTUAL else "discriminators" for name in mend))
    what = f"trains without {lacking} of eyes and lips" if mend else ""
    if besides := [name for name in OURS if getattr(c, name, 0.0)]:
        mend |= dict.fromkeys(besides, 0.0)
        what += f"{' and ' if what else ''}looks at them by {', '.join(besides)} in every row"
    if mend:
        wanted = ", ".join(f"{name} = {value:g}" for name, value in mend.items())
        raise UsageError(f"{config.name} {what}", fix=f"--config FILE with {wanted} in its [autoencoder]")
    if c.component_from >= steps:
        raise UsageError(
            f"{config.name} has eye and lip discriminators from step {c.component_from} on: none within {steps} steps",
            fix=f"--steps above {c.component_from}, or a lower component_from in the [autoencoder] of --config FILE",
        )


def ablate_components(
    plan: ComponentPlan, progress: Progress | None = None, clips: ClipSet | None = None
) -> ComponentScores:
    """Trains what is missing when asked to, then scores every row; what is trained or scored already is kept.

    Args:
        clips: training clips, the configuration's by default.

    Raises:
        UsageError: an unknown protocol, metric or configuration, or one that `require_components` refuses. DataError:
            no row has an auto-encoder, no held-out clip is ready,
            or weights of a metric are missing. Interrupted: the step in hand was saved.
    """
    progress, config = progress or NullProgress(), load_config(plan.config)
    names = check_validation(plan.held, True, progress)
    ids = [] if helps_training() else [clip.id for clip in ready_clips(plan.held, progress)]
    missing = [row for row in COMPONENT_ROWS if not _autoencoder(plan.out, row.row).is_file()]
    for row in COMPONENT_ROWS:
        if row not in missing:
            _require_same(_autoencoder(plan.out, row.row), config_of(config, row, plan.steps))
    if missing and plan.train:
        require_components(config, plan.steps)
        _train(missing, config, plan, progress, clips)
    elif len(missing) == len(COMPONENT_ROWS):
        raise DataError(f"no auto-encoder in {plan.out / 'components'}", fix="the same command with --train")
    elif missing:
        progress.note(f"no auto-encoder for {', '.join(row.name for row in missing)} (the same command with --train)")
    if helps_training():
        return ComponentScores([], names, [])
    return ComponentScores(_scored(config, plan, names, ids, progress), names, ids)


def _place(out: Path, row: str) -> Path:
    return out / "components" / row


def _autoencoder(out: Path, row: str) -> Path:
    return _place(out, row) / "autoencoder.safetensors"


def _train(
    missing: Sequence[ComponentRow], config: TrainConfig, plan: ComponentPlan, progress: Progress, clips: ClipSet | None
) -> None:
    """All rows see the same clips: those of the configuration, which looks for mouth and eyes."""
    clips = clips or clip_set(config, progress, plan.workers, pairs=True)
    device = training_device(plan.device)
    for row in missing:
        place = _place(plan.out, row.row)
        resume = (place / "autoencoder" / "checkpoint.safetensors").is_file()
        progress.note(f"{row.name}: {plan.steps} steps")
        start = time.monotonic()
        chosen = config_of(config, row, plan.steps)
        train_autoencoder(chosen, place, progress, resume, device, plan.workers, clips)
        if not helps_training():
            seconds = round(time.monotonic() - start, 1)
            write_json(place / "budget.json", {"steps": plan.steps, "seconds": seconds, "resumed": resume})


def _budget(place: Path) -> str:
    file = place / "budget.json"
    if not file.is_file():
        return ""
    record = json.loads(file.read_text("utf-8"))
    return f"{record['steps']} steps, {record['seconds']:.0f} s"


def _scored(
    config: TrainConfig, plan: ComponentPlan, names: Sequence[str], ids: Sequence[str], progress: Progress
) -> list[ScoredRow]:
    """The rows with their scores; those that were measured before on the same clips are read."""
    key = {"protocol": load_protocol(plan.held.protocol).hash, "clips": list(ids), "version": floatbench.__version__}
    files = {row.row: _autoencoder(plan.out, row.row) for row in COMPONENT_ROWS}
    keys = {row: key | {"autoencoder": file_sha256(file)} for row, file in files.items() if file.is_file()}
    if plan.controls:
        keys[FROZEN] = key | {"autoencoder": f"none, {config.model.image_size} pixels"}
    known = {row: _kept(_place(plan.out, row) / "scores.json", own) for row, own in keys.items()}
    lacking = {row: [name for name in names if name not in scores] for row, scores in known.items()}
    wanted = [name for name in names if any(name in absent for absent in lacking.values())]
    if wanted:
        held = HeldOutClips(plan.held, wanted, progress, PICTURES)
        unscored = [row for row, absent in lacking.items() if absent]
        with progress.task("scores", len(unscored), "row") as task:
            for row in unscored:
                known[row] = {**known[row], **held.scores(_maker(config, files.get(row), plan.device))}
                write_json(_place(plan.out, row) / "scores.json", {"of": keys[row], "scores": known[row]})
                task.advance(note=row)
    asked = {row: {name: scores[name] for name in names} for row, scores in known.items()}
    rows = [
        ScoredRow(row.row, row.name, _budget(_place(plan.out, row.row)), str(files[row.row]), asked[row.row])
        if row.row in asked
        else ScoredRow(row.row, row.name, "", "")
        for row in COMPONENT_ROWS
    ]
    return [*rows, *([ScoredRow(FROZEN, FROZEN, "", "", asked[FROZEN])] if plan.controls else [])]


def _kept(file: Path, key: Mapping[str, Any]) -> dict[str, float | None]:
    """The scores in a file, none where they are of another auto-encoder, other clips or another version."""
    if not file.is_file():
        return {}
    record = json.loads(file.read_text("utf-8"))
    return record["scores"] if record["of"] == key else {}


def _require_same(file: Path, config: TrainConfig) -> None:
    """Raises UsageError when an auto-encoder was trained with another configuration; steps may differ."""
    with safe_open(file, "pt") as stream:
        metadata = stream.metadata() or {}
    if metadata.get("config_hash") != config.hash("autoencoder"):
        raise UsageError(f"{file} was trained with another configuration", fix="that --config, or another --out")


def _maker(config: TrainConfig, file: Path | None, device: str) -> Made:
    """What makes the clips of a row; without a file the source stands still."""
    size = config.model.image_size
    if file is None:

        def still(held: HeldClip) -> np.ndarray:
            return np.repeat(whole_picture(held.source, size)[0][None], held.media.n_frames, 0)

        return still
    autoencoder = FloatModel(config.model).motion_autoencoder
    load_autoencoder(autoencoder, file)
    used = torch.device(pick_device(device))
    return transfer_maker(autoencoder.to(used), size, config.autoencoder.batch, used)
