"""Metrics without the engine: clips in memory in, a score out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import registry
from floatbench.metrics.base import Backbone, Metric, Pair, PairBackbone, Score, Side
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features


def as_clip(value: Any) -> ClipMedia:
    """A ClipMedia from itself, from frames, or from (frames, sound).

    Frames are (T, H, W, 3) or (T, 3, H, W) uint8 RGB at 25 fps, a single picture (H, W, 3) counts as one frame; sound
    is (640 T,) int16 at 16 kHz. NumPy arrays and torch tensors on any device.
    """
    if isinstance(value, ClipMedia):
        return value
    frames, audio = value if isinstance(value, tuple) else (value, None)
    frames = _numpy(frames)
    if frames.ndim == 3:
        frames = frames[None]
    if frames.ndim == 4 and frames.shape[-1] != 3 and frames.shape[1] == 3:
        frames = frames.transpose(0, 2, 3, 1)
    try:
        clip = ClipMedia(frames, None if audio is None else _numpy(audio))
    except ValueError as error:
        raise UsageError(str(error), fix="pass uint8 RGB frames in 0..255 and int16 sound") from error
    samples = SAMPLES_PER_FRAME * clip.n_frames
    if clip.audio is not None and len(clip.audio) != samples:
        what = f"{clip.n_frames} frames at 25 a second go with {samples} samples at 16 kHz, got {len(clip.audio)}"
        raise UsageError(what, fix="resample, cut or pad the sound")
    return clip


def measure(
    metric: Metric,
    generated: Iterable[Any],
    reference: Iterable[Any] | None = None,
    source: Iterable[Any] | None = None,
    identities: Sequence[str] | None = None,
    device: str = "cpu",
) -> Score:
    """Scores generated clips against reference clips (or source pictures), pair by pair in the order given.

    Args:
        metric: e.g. `FID()`; its backbones are found by id and loaded on `device`.
        generated, reference, source: what `as_clip` takes, or functions that return it and may raise ClipError;
            `reference` and `source` only where the metric needs them.
        identities: the person of each clip; without it every clip counts as its own person for the intervals.

    Raises:
        UsageError: a side the metric needs is missing or the counts differ. DataError: weights are missing.
    """
    sides: dict[str, list[Any] | None] = {
        name: None if clips is None else list(clips)
        for name, clips in (("generated", generated), ("reference", reference), ("source", source))
    }
    count = len(sides["generated"] or [])
    for side in metric.info.sides:
        clips = sides[side]
        if clips is None or len(clips) != count:
            raise UsageError(f"{metric.info.id} needs {count} {side} clips, got {0 if clips is None else len(clips)}")
    if identities is not None and len(identities) != count:
        raise UsageError(f"{count} clips but {len(identities)} identities")
    backbones = [registry.backbone(name) for name in metric.info.backbones]
    for backbone in backbones:
        backbone.load(device)
    names = [f"{i:06d}" for i in range(count)]
    results = _extract_all(backbones, {side: sides[side] or [] for side in metric.info.sides}, names)
    people = identities or names
    pairs = [Pair(names[i], str(people[i]), _loader(results, names[i])) for i in range(count)]
    return metric.reduce(pairs)


def _extract_all(
    backbones: Sequence[Backbone], sides: dict[Side, list[Any]], names: Sequence[str]
) -> dict[tuple[str, str, str], Features | ClipError]:
    results = _extract_pairs([b for b in backbones if isinstance(b, PairBackbone)], sides, names)
    backbones = [backbone for backbone in backbones if not isinstance(backbone, PairBackbone)]
    for side, clips in sides.items() if backbones else ():
        for name, value in zip(names, clips, strict=True):
            try:
                clip = as_clip(value() if callable(value) else value)
            except ClipError as error:
                results.update({(side, backbone.id, name): error for backbone in backbones})
                continue
            for backbone in backbones:
                try:
                    results[side, backbone.id, name] = backbone.extract(clip)
                except ClipError as error:
                    results[side, backbone.id, name] = error
    return results


def _extract_pairs(
    backbones: Sequence[PairBackbone], sides: dict[Side, list[Any]], names: Sequence[str]
) -> dict[tuple[str, str, str], Features | ClipError]:
    """What is seen of each generated clip beside its reference, decoded together."""
    results: dict[tuple[str, str, str], Features | ClipError] = {}
    for name, *values in zip(names, sides["generated"], sides["reference"], strict=True) if backbones else ():
        for backbone in backbones:
            try:
                both = [as_clip(value() if callable(value) else value) for value in values]
                found: Features | ClipError = backbone.extract_pair(*both)
            except ClipError as error:
                found = error
            results |= {(side, backbone.id, name): found for side in ("generated", "reference")}
    return results


def _loader(results: dict[tuple[str, str, str], Features | ClipError], name: str) -> Any:
    def load(side: Side, backbone: str) -> Features:
        found = results[side, backbone, name]
        if isinstance(found, ClipError):
            raise found
        return found

    return load


def _numpy(value: Any) -> np.ndarray:
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value)
