"""Whether it learned: figures on held-out synthetic people, each beside the same figure with swapped sound.

M directions, T frames. A model that ignores the sound scores the same on both; a useful one scores far higher on its
own sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from floatbench.model.float import FloatModel
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import EMOTIONS, EXPRESSION
from floatbench.training.batches import MotionClip
from floatbench.training.flow_phase import generated_motion

TRUTH_SCALE = 3.0
"""Factor that gives the true numbers of pose and face about the spread of the noise they are mixed with."""
JAW = 6 + EXPRESSION.index("jaw")


def truth_clip(clip: SyntheticClip) -> MotionClip:
    """A clip whose coefficients are its true pose and expression (T, 20): phase 2 without pictures."""
    truth = clip.truth()
    numbers = np.concatenate([truth["pose"] * 2, truth["expression"]], axis=1) * TRUTH_SCALE
    return MotionClip(clip.id, numbers.astype(np.float32), clip.audio(), EMOTIONS.index(clip.mood))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two tracks (T,); 0 when either is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / norm) if norm > 1e-12 else 0.0


@dataclass(frozen=True)
class SoundFigures:
    """Mean correlation of generated with true mouth opening over clips: with the clip's sound, with another's."""

    own: float
    swapped: float
    clips: int


def follow_sound(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], opening: Callable[[int, np.ndarray], np.ndarray]
) -> SoundFigures:
    """Compares own and swapped sound.

    Args:
        clips: (sound (640 T,) int16, true mouth opening (T,)) of clips of one length.
        opening: (number of the clip, sound) -> generated mouth opening (T,).
    """
    own, swapped = [], []
    for index, (sound, true) in enumerate(clips):
        other = clips[(index + 1) % len(clips)][0]
        own.append(correlation(opening(index, sound), true))
        swapped.append(correlation(opening(index, other), true))
    return SoundFigures(float(np.mean(own)), float(np.mean(swapped)), len(clips))


@torch.no_grad()
def generated_coefficient(model: FloatModel, clip: MotionClip, sound: np.ndarray, which: int) -> np.ndarray:
    """One coefficient (T,) of the motion that a model makes for a sound, its first frame as the source's motion."""
    motion = generated_motion(model, sound, torch.from_numpy(clip.coefficients[:1]))
    return model.project(motion)[:, which].cpu().numpy()


def psnr(generated: Tensor, real: Tensor) -> float:
    """Mean over pictures (B, 3, R, R) in [-1, 1] of 10 log10(4 / mean square error), decibel."""
    error = (generated.clamp(-1, 1).float() - real).square().mean((1, 2, 3)).clamp(min=1e-10)
    return float((10 * torch.log10(4 / error)).mean())
