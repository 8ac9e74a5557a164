"""Phase 2 learns to speak: on people it never heard, its own sound beats swapped sound, and only if sound mattered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from floatbench.model.config import FloatConfig
from floatbench.model.float import FloatModel
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import EMOTIONS, EXPRESSION
from floatbench.training.batches import MotionClip
from floatbench.training.config import TrainConfig
from floatbench.training.configs import CONFIGS
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase, generated_motion
from floatbench.training.held_out import correlation, psnr

STEPS = 700
TRUTH_SCALE = 3.0
"""Factor that gives the true numbers of pose and face about the spread of the noise they are mixed with."""
JAW = 6 + EXPRESSION.index("jaw")


def truth_clip(clip: SyntheticClip) -> MotionClip:
    """A clip whose coefficients are its true pose and expression (T, 20): phase 2 without pictures."""
    truth = clip.truth()
    numbers = np.concatenate([truth["pose"] * 2, truth["expression"]], axis=1) * TRUTH_SCALE
    return MotionClip(clip.id, numbers.astype(np.float32), clip.audio(), EMOTIONS.index(clip.mood))


@dataclass(frozen=True)
class SoundCorrelation:
    """Mean correlation of generated with true mouth opening over clips: with the clip's sound, with another's."""

    own: float
    swapped: float
    clips: int


def follow_sound(
    clips: Sequence[tuple[np.ndarray, np.ndarray]], opening: Callable[[int, np.ndarray], np.ndarray]
) -> SoundCorrelation:
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
    return SoundCorrelation(float(np.mean(own)), float(np.mean(swapped)), len(clips))


@torch.no_grad()
def generated_coefficient(model: FloatModel, clip: MotionClip, sound: np.ndarray, which: int) -> np.ndarray:
    """One coefficient (T,) of the motion that a model makes for a sound, its first frame as the source's motion."""
    motion = generated_motion(model, sound, torch.from_numpy(clip.coefficients[:1]))
    return model.project(motion)[:, which].cpu().numpy()


def test_correlation_and_psnr_have_their_closed_forms():
    t = np.arange(20.0)
    assert correlation(t, 3 * t + 1) == pytest.approx(1) and correlation(t, -t) == pytest.approx(-1)
    assert correlation(t, np.ones(20)) == 0.0
    real = torch.zeros(2, 3, 4, 4)
    assert psnr(real + 0.2, real) == pytest.approx(20.0, abs=1e-4)


def test_swapped_sound_is_the_next_clips():
    clips = [(np.full(3, i), np.arange(5.0) * (1 if i < 2 else -1)) for i in range(3)]
    found = follow_sound(clips, lambda _, sound: np.arange(5.0) * (1 if sound[0] < 2 else -1))
    assert found == SoundCorrelation(pytest.approx(1.0), pytest.approx((1 - 1 - 1) / 3), 3)


def _train(clips: list[MotionClip]) -> SoundCorrelation:
    """A small transformer on true pose and face for `STEPS` steps; measured on four people it never met."""
    base = CONFIGS["float-tiny"]
    model = FloatConfig(
        name="small", image_size=64, channel_max=8, channel_base=512, dim_w=20, dim_m=20, dim_a=32, dim_h=64, depth=2,
        heads=4, speech="logmel", mel_bands=32, mel_width=48, grid="pixel_centre",
    )  # fmt: skip
    flow = replace(base.flow, targets="encoded", steps=STEPS, batch=16, rate=3e-3, ema=0.98)
    flow = replace(flow, velocity=4.0, face_velocity=0.0, head_square=0.0, seam=0.0, previous_loss="clean")
    torch.manual_seed(0)
    config = TrainConfig("small", model, base.data, base.autoencoder, flow)
    phase = FlowPhase(config, FloatModel(model), clips, Devices("cpu"))
    for step in range(STEPS):
        phase.step(step)
    trained = phase.averaged()
    held_out = [truth_clip(SyntheticClip(50_000 + i, 0, 4.0, 1)) for i in range(4)]
    tracks = [(clip.audio, clip.coefficients[:, JAW]) for clip in held_out]
    return follow_sound(tracks, lambda i, sound: generated_coefficient(trained, held_out[i], sound, JAW))


@pytest.mark.slow
def test_the_mouth_follows_its_own_sound_and_not_another_ones():
    found = _train([truth_clip(SyntheticClip(i, 0, 4.0, 1)) for i in range(60)])
    assert found.own > 0.5
    assert found.own > found.swapped + 0.3


@pytest.mark.slow
def test_nothing_is_learned_from_sound_that_belongs_to_other_motion():
    clips = [truth_clip(SyntheticClip(i, 0, 4.0, 1)) for i in range(60)]
    decoupled = [replace(clip, audio=clips[(i + 7) % 60].audio) for i, clip in enumerate(clips)]
    found = _train(decoupled)
    assert found.own < found.swapped + 0.15
