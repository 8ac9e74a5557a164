"""Scores of held-out clips while a phase trains: any metrics by step, and the best model by one of them.

What a phase makes of a clip is scored by the metrics of the engine, from features that are kept in memory; nothing of
it touches the training: the global random numbers are put back, and a resumed run validates at the same steps.

    OUT/PHASE/validation.jsonl    a line for each validation
    OUT/PHASE/best.safetensors    the model of the best one, as the phase exports it
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Availability
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.files import write_bytes
from floatbench.metrics import registry, sets
from floatbench.metrics.base import Backbone, Metric, Pair, PairBackbone
from floatbench.model.config import FloatConfig
from floatbench.progress import Progress
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip
from floatbench.seeds import derive_seed
from floatbench.types import ClipMedia, Features
from floatbench.weights import store

PAPER_CLIPS = 49
"""Test clips of the paper's phase 1; which ones is not published."""
PICTURES = 25
"""Pictures of a clip, spread over it, that phase 1 is scored on."""
BEST = "best.safetensors"
PICTURE_METRICS = ("psnr-grey128", "ssim-grey128", "aed-tiny")
"""Of phase 1 where nothing else is asked for; with its weights `LPIPS`, too."""
LPIPS = "lpips-alex"


@dataclass(frozen=True)
class ValidationPlan:
    """What is asked of `floatbench train --validate`.

    Attributes:
        protocol: name or file of the held-out clips. every: steps between validations.
        metrics: variants or sets; none: the protocol's own, for phase 1 `PICTURE_METRICS`.
        best: the metric whose best model is kept; the first one by default.
        limit: clips, one of each person first.
    """

    protocol: str
    every: int = 500
    metrics: tuple[str, ...] = ()
    best: str = ""
    limit: int = PAPER_CLIPS


@dataclass(frozen=True)
class HeldClip:
    """A held-out clip.

    Attributes:
        source: (H, W, 3) uint8. media: the pictures that phase 1 makes again, or the sound of phase 2 beside a picture.
        seed: of the noise, as `floatbench run` takes it.
    """

    clip: Clip
    source: np.ndarray
    media: ClipMedia
    seed: int


Made = Callable[[HeldClip], np.ndarray]
"""What a phase makes of a clip: frames (T, R, R, 3) uint8; raises ClipError where it cannot."""
Loaded = dict[tuple[str, str], Features | ClipError]
"""(side, backbone) -> features."""


class HeldOutClips:
    """The clips of a protocol with the features of their real sides, and the metrics that score what is made of them.

    Args:
        names: metric variants. pictures: at most so many pictures of each clip, spread over it, without sound; 0 for
            whole clips.

    Raises:
        DataError: no clip is ready, or weights are missing, with the command that mends it. UsageError: an unknown
            metric.
    """

    def __init__(
        self, plan: ValidationPlan, names: Sequence[str], progress: Progress, pictures: int = 0, device: str = "cpu"
    ) -> None:
        protocol = load_protocol(plan.protocol)
        dataset, self._seed = dataset_for(protocol), protocol.seed
        chosen = ready_clips(plan, progress)
        self.metrics: dict[str, Metric] = {
            name: registry.metric(name, **protocol.settings.get(name, {})) for name in names
        }
        used = dict.fromkeys(of for metric in self.metrics.values() for of in metric.info.backbones)
        self._backbones = [registry.backbone(of, **protocol.settings.get(of, {})) for of in used]
        refuse_missing(self._backbones)
        for backbone in self._backbones:
            backbone.load(device)
        self._pairs = [backbone for backbone in self._backbones if isinstance(backbone, PairBackbone)]
        self.clips: list[HeldClip] = []
        self._real: list[Loaded] = []
        with progress.task("held-out clips", len(chosen), "clip") as task:
            for clip in chosen:
                self._add(clip, dataset.load(clip), pictures)
                task.advance(note=clip.id)

    def _add(self, clip: Clip, real: Any, pictures: int) -> None:
        media: ClipMedia = real.media
        if pictures:
            kept = np.unique(np.linspace(0, media.n_frames - 1, pictures).round().astype(int))
            media = ClipMedia(np.ascontiguousarray(media.frames[kept]), None)
        found = self._features("reference", media)
        found |= self._features("source", ClipMedia(real.source[None], None))
        self._real.append(found)
        kept_media = media if pictures else ClipMedia(media.frames[:1].copy(), media.audio)
        self.clips.append(HeldClip(clip, real.source, kept_media, derive_seed(self._seed, clip.id)))

    def _features(self, side: str, media: ClipMedia) -> Loaded:
        sides = {of for metric in self.metrics.values() if side in metric.info.sides for of in metric.info.backbones}
        found: Loaded = {}
        for backbone in self._backbones:
            if backbone.id in sides and not isinstance(backbone, PairBackbone):
                found[side, backbone.id] = _or_why(lambda backbone=backbone: backbone.extract(media))
        return found

    def _beside(self, made: ClipMedia, real: ClipMedia) -> Loaded:
        return {
            ("generated", pair.id): _or_why(lambda pair=pair: pair.extract_pair(made, real)) for pair in self._pairs
        }

    def scores(self, made: Made) -> dict[str, float | None]:
        """The score of each metric, None where no clip could be measured."""
        every: list[Loaded] = []
        for held, real in zip(self.clips, self._real, strict=True):
            try:
                media = ClipMedia(made(held), held.media.audio)
                found = self._features("generated", media) | self._beside(media, held.media)
            except ClipError as error:
                found = {("generated", backbone.id): error for backbone in self._backbones}
            every.append(real | found)
        pairs = [
            Pair(held.clip.id, held.clip.identity, _looked_up(found), held.clip.labels.get("emotion", ""))
            for held, found in zip(self.clips, every, strict=True)
        ]
        return {name: _finite(metric.reduce(pairs).value) for name, metric in self.metrics.items()}


def ready_clips(plan: ValidationPlan, progress: Progress) -> list[Clip]:
    """The clips that a validation scores, prepared where that needs nobody; raises DataError where none is ready."""
    protocol = load_protocol(plan.protocol)
    dataset = dataset_for(protocol)
    if dataset.auto_prepare:
        dataset.prepare(progress)
    states = dataset.availability()
    _refuse_none_ready(plan, states)
    ready = {state.clip_id for state in states if state.state == "ready"}
    return one_of_each_first([clip for clip in protocol.clips if clip.id in ready])[: plan.limit]


def one_of_each_first(clips: Sequence[Clip]) -> list[Clip]:
    """Clips in order, first one of each person, then the second ones."""
    seen: dict[str, int] = {}
    rank = []
    for position, clip in enumerate(clips):
        seen[clip.identity] = seen.get(clip.identity, 0) + 1
        rank.append((seen[clip.identity], position))
    return [clips[position] for _, position in sorted(rank)]


def check_validation(plan: ValidationPlan, pictures: bool, progress: Progress | None = None) -> list[str]:
    """The variants of a validation; raises before a training what `HeldOutClips` would raise after part of it.

    Raises:
        DataError: no clip can be had, or weights are missing. UsageError: see `metric_names`.
    """
    protocol, names = load_protocol(plan.protocol), metric_names(plan, pictures, progress)
    used = dict.fromkeys(of for name in names for of in registry.metric(name).info.backbones)
    refuse_missing([registry.backbone(of, **protocol.settings.get(of, {})) for of in used])
    dataset = dataset_for(protocol)
    if not dataset.auto_prepare:
        _refuse_none_ready(plan, dataset.availability())
    return names


def _refuse_none_ready(plan: ValidationPlan, states: Sequence[Availability]) -> None:
    """Raises DataError where no clip is ready."""
    if all(state.state != "ready" for state in states):
        fix = next((state.fix for state in states if state.fix), None)
        raise DataError(f"{plan.protocol} has no clip to validate on", fix=fix)


def refuse_missing(backbones: Sequence[Backbone]) -> None:
    """Raises DataError that names all weights that the backbones lack."""
    lacking = [name for name in dict.fromkeys(w for b in backbones for w in b.weights) if not store.available(name)]
    if lacking:
        names = " ".join(lacking)
        raise DataError(f"validation needs {names.replace(' ', ', ')}", fix=f"floatbench weights fetch {names}")


def _or_why(look: Callable[[], Features]) -> Features | ClipError:
    try:
        return look()
    except ClipError as error:
        return error


def _looked_up(found: Loaded) -> Callable[[Any, str], Features]:
    def load(side: str, backbone: str) -> Features:
        features = found[side, backbone]
        if isinstance(features, ClipError):
            raise features
        return features

    return load


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def metric_names(plan: ValidationPlan, pictures: bool, progress: Progress | None = None) -> list[str]:
    """The variants of a validation; raises UsageError for unknown ones, and where the best one is none of them.

    Args:
        progress: told where LPIPS would be among them, had it its weights.
    """
    given = plan.metrics or (_picture_metrics(progress) if pictures else load_protocol(plan.protocol).metrics)
    names = sets.expanded(given)
    for name in names:
        info = registry.metric(name).info
        if pictures and (info.needs_audio or "source" in info.sides):
            raise UsageError(f"{name} reads sound or a source: phase 1 makes single pictures", fix="leave it out")
        if not pictures and any(isinstance(registry.backbone(of), PairBackbone) for of in info.backbones):
            raise UsageError(f"{name} holds whole videos in memory beside what is made: for phase 1 only")
    if not names:
        raise UsageError(f"{plan.protocol} names no metric", fix="--metrics paper")
    if plan.best and plan.best not in names:
        raise UsageError(f"--best {plan.best} is not measured", fix=f"--best {'|'.join(names)}")
    return names


def _picture_metrics(progress: Progress | None) -> tuple[str, ...]:
    """What phase 1 is scored with where nothing else is asked for."""
    used = [registry.backbone(of) for of in registry.metric(LPIPS).info.backbones]
    lacking = [name for backbone in used for name in backbone.weights if not store.available(name)]
    if not lacking:
        return (*PICTURE_METRICS, LPIPS)
    if progress is not None:
        progress.note(f"LPIPS is not measured: floatbench weights fetch {' '.join(lacking)}")
    return PICTURE_METRICS


def refuse_driven(model: FloatConfig, plan: ValidationPlan | None) -> None:
    """Raises UsageError when a network that is driven by more than a picture and a sound is to be validated."""
    if plan is None:
        return
    if model.pose_condition or model.emotion_condition == "image":
        raise UsageError(f"{model.name} is driven by the real video, too: --validate makes clips from sound alone")


class Validator:
    """Validates a phase as it trains, keeps the curve and the best model.

    Args:
        folder: of the phase. made: what the phase makes now of clips. keep: writes the model of now to a file, with a
            record of what it scored.
    """

    def __init__(
        self,
        held: HeldOutClips,
        plan: ValidationPlan,
        folder: Path,
        made: Callable[[], Made],
        keep: Callable[[Path, Mapping[str, Any]], None],
    ) -> None:
        self._held, self._every, self._made, self._keep = held, plan.every, made, keep
        self.path, self.best = folder / "validation.jsonl", folder / BEST
        self.metric = plan.best or next(iter(held.metrics))
        self._sign = 1.0 if held.metrics[self.metric].info.higher_is_better else -1.0
        self._rows: list[dict[str, Any]] = []

    def begin(self, first: int) -> bool:
        """Forgets what a resumed run will do again; True when the step it begins at was to be validated and was not."""
        lines = self.path.read_text("utf-8").splitlines() if first and self.path.is_file() else []
        self._rows = [row for row in map(json.loads, lines) if row["step"] <= first]
        self._write()
        return self.due(first, False) and all(row["step"] != first for row in self._rows)

    def due(self, step: int, last: bool) -> bool:
        """Whether so many steps are a moment to validate."""
        return step > 0 and (last or step % self._every == 0)

    def measure(self, step: int) -> dict[str, float]:
        """Scores the model of now, writes the line, and keeps the model when it is the best so far."""
        start = time.monotonic()
        with untouched_random_numbers():
            scores = self._held.scores(self._made())
            value = scores[self.metric]
            earlier = [row["scores"][self.metric] for row in self._rows if row["scores"][self.metric] is not None]
            best = value is not None and all(self._sign * value > self._sign * before for before in earlier)
            row = {"step": step, "scores": scores, "best": best, "seconds": round(time.monotonic() - start, 3)}
            if best:
                self._keep(self.best, {"step": step, "metric": self.metric, "scores": scores})
        self._rows.append(row)
        self._write()
        return {f"validation/{name}": number for name, number in scores.items() if number is not None}

    def _write(self) -> None:
        if self._rows or self.path.is_file():
            write_bytes(self.path, "".join(json.dumps(row) + "\n" for row in self._rows).encode())

    def record(self) -> dict[str, Any] | None:
        """The best step with its scores; None before the first validation that gave a value."""
        kept = [row for row in self._rows if row["best"]]
        return None if not kept else {"step": kept[-1]["step"], "metric": self.metric, "scores": kept[-1]["scores"]}


@contextmanager
def untouched_random_numbers() -> Iterator[None]:
    """Puts the global random numbers of torch and NumPy back afterwards."""
    state = np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            np.random.set_state(state)
