"""Batches of both phases; what a batch holds follows from the seed and the step alone.

B batch, R pixels, P previous frames, L window, M directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from floatbench.errors import DataError
from floatbench.seeds import derive_seed
from floatbench.training.clips import NO_EMOTION, ClipPool, TrainingClip
from floatbench.training.losses.components import LEFT_EYE, RIGHT_EYE
from floatbench.types import SAMPLES_PER_FRAME


def step_generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """The random numbers of one step for one purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, f"training/{purpose}/{step}"))


def step_random(seed: int, step: int, purpose: str) -> np.random.Generator:
    """The same for numpy."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, f"training/{purpose}/{step}")))


@dataclass(frozen=True)
class Pairs:
    """Phase 1: two random frames of a clip, (B, 3, R, R) in [-1, 1], and boxes (B, 3, 4) of the driving one."""

    source: Tensor
    driving: Tensor
    boxes: Tensor


def draw_pairs(pool: ClipPool, batch: int, seed: int, step: int, flip: bool) -> Pairs:
    """A batch of pairs: clips uniformly, then two frames of each uniformly; mirrored together with chance one half."""
    rng = step_random(seed, step, "pairs")
    clips = pool.at(step)
    chosen = [clips[i] for i in rng.integers(len(clips), size=batch)]
    source, driving, boxes = [], [], []
    for clip in chosen:
        a, b = rng.integers(len(clip.frames), size=2)
        mirrored = flip and rng.random() < 0.5
        step_x = -1 if mirrored else 1
        source.append(clip.frames[a][:, ::step_x])
        driving.append(clip.frames[b][:, ::step_x])
        boxes.append(mirror_boxes(clip.boxes[b]) if mirrored else clip.boxes[b])
    return Pairs(pictures(source), pictures(driving), torch.from_numpy(np.stack(boxes)))


def mirror_boxes(boxes: np.ndarray) -> np.ndarray:
    """Boxes (3, 4) of the mirrored picture; the left eye becomes the right one, unknown boxes stay zero."""
    known = np.abs(boxes).sum(-1, keepdims=True) > 0
    turned = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], -1) * known
    turned[[LEFT_EYE, RIGHT_EYE]] = turned[[RIGHT_EYE, LEFT_EYE]]
    return turned.astype(np.float32)


def pictures(frames: Sequence[np.ndarray] | np.ndarray) -> Tensor:
    """(R, R, 3) uint8 each -> (B, 3, R, R) in [-1, 1]."""
    return torch.from_numpy(np.stack(list(frames))).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class MotionClip:
    """What phase 2 keeps of a clip: coefficients (T, M), sound (640 T,) int16, emotion or NO_EMOTION."""

    id: str
    coefficients: np.ndarray
    audio: np.ndarray
    emotion: int

    @classmethod
    def of(cls, clip: TrainingClip, coefficients: np.ndarray) -> MotionClip:
        return cls(clip.id, coefficients, clip.audio, clip.emotion)


@dataclass(frozen=True)
class MotionWindows:
    """Phase 2: coefficients (B, P + L, M), reference (B, M), wave (B, 640 (P + L)) in [-1, 1], emotion (B,) long."""

    coefficients: Tensor
    reference: Tensor
    wave: Tensor
    emotion: Tensor


Reference = Literal["any", "inside", "outside", "either"]


def draw_windows(
    clips: Sequence[MotionClip], batch: int, length: int, seed: int, step: int, reference: Reference
) -> MotionWindows:
    """A batch of windows of `length` frames, every window of the data equally likely.

    Raises:
        DataError: no clip is long enough.
    """
    rng = step_random(seed, step, "windows")
    room = np.array([max(0, len(clip.coefficients) - length + 1) for clip in clips])
    if room.sum() < 1:
        raise DataError(f"no training clip has the {length} frames of a window")
    coefficients, references, waves, emotions = [], [], [], []
    for index in rng.choice(len(clips), size=batch, p=room / room.sum()):
        clip, start = clips[index], int(rng.integers(room[index]))
        coefficients.append(clip.coefficients[start : start + length])
        frame = reference_frame(rng, len(clip.coefficients), start, length, reference)
        references.append(clip.coefficients[frame])
        waves.append(clip.audio[start * SAMPLES_PER_FRAME : (start + length) * SAMPLES_PER_FRAME])
        emotions.append(clip.emotion)
    return MotionWindows(
        torch.from_numpy(np.stack(coefficients)),
        torch.from_numpy(np.stack(references)),
        torch.from_numpy(np.stack(waves).astype(np.float32) / 32768),
        torch.tensor(emotions),
    )


def reference_frame(rng: np.random.Generator, frames: int, start: int, length: int, kind: Reference) -> int:
    """The frame whose motion is the source's; `outside` falls back on `inside` when the window is the whole clip."""
    inside = kind == "inside" or (kind == "either" and rng.random() < 0.5)
    if kind == "any":
        return int(rng.integers(frames))
    if inside or frames == length:
        return start + int(rng.integers(length))
    other = int(rng.integers(frames - length))
    return other if other < start else other + length


def known_emotions(emotion: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Labels (B,) -> one-hot (B, E), zero rows where unknown, and which are known (B,) bool."""
    known = emotion != NO_EMOTION
    one_hot = torch.nn.functional.one_hot(emotion.clamp(min=0), classes).float()
    return one_hot * known[:, None], known
