"""What a trained model does on synthetic people that it never met: pictures, speech, head motion, emotion, control.

Figures of speech stand beside the same ones with another clip's sound, pictures beside the repeated source.
T frames, M directions, R pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from floatbench.model.config import EMOTIONS
from floatbench.model.float import FloatModel
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import POSE
from floatbench.training.batches import pictures
from floatbench.training.clips import component_boxes
from floatbench.training.figures import correlation, psnr
from floatbench.training.flow_phase import generated_motion
from floatbench.training.ground_truth import MOTION_NAMES, true_motion
from floatbench.training.losses.components import component_mask
from floatbench.types import ClipMedia

MOUTH = ("jaw", "lip_width", "lip_round", "lip_press")
EMOTION_SIGNS = {
    "smile": ("happy", "sad"),
    "brow_raise": ("surprise", "angry"),
    "brow_knit": ("angry", "surprise"),
    "sneer": ("disgust", "happy"),
}
"""Coefficient -> the emotion that raises it and one that does not."""
BATCH = 25


@dataclass(frozen=True)
class Subject:
    """A held-out clip with what the model sees of it: s_r (1, D), maps, coefficients (1, M) of its first frame."""

    clip: SyntheticClip
    frames: np.ndarray
    audio: np.ndarray
    motion: np.ndarray
    latent: Tensor
    features: list[Tensor]
    coefficients: Tensor


@torch.no_grad()
def subjects(model: FloatModel, clips: Sequence[SyntheticClip]) -> list[Subject]:
    """Draws the clips at the model's size and encodes their first frames."""
    found = []
    for clip in clips:
        frames = clip.frames(model.config.image_size)
        latent, features = model.encode_image(pictures(frames[:1]))
        true = true_motion(clip.pose, clip.expression)
        found.append(Subject(clip, frames, clip.audio(), true, latent, features, model.coefficients(latent)))
    return found


@torch.no_grad()
def decoded(model: FloatModel, subject: Subject, motion: Tensor) -> Tensor:
    """Motion latents (T, D) -> pictures (T, 3, R, R) in [-1, 1]."""
    parts = [model.decode(subject.latent + part, subject.features)[0].clamp(-1, 1) for part in motion.split(BATCH)]
    return torch.cat(parts)


def picture_figures(model: FloatModel, people: Sequence[Subject], gain: float, every: int = 5) -> dict[str, float]:
    """The true change of motion decoded, beside the repeated source; the source's own frame is left out.

    Args:
        gain: of `coefficient_scale`: the model's coefficients are that many times the true motion.
    """
    rows: dict[str, list[float]] = {name: [] for name in ("psnr", "psnr_repeat", "psnr_self", "parts", "parts_repeat")}
    for subject in people:
        real = pictures(subject.frames[every::every])
        true = torch.from_numpy(subject.motion)
        change = gain * (true[every::every] - true[:1])
        made = decoded(model, subject, model.motion(subject.coefficients + change))
        source = pictures(subject.frames[:1])
        repeated = source.expand_as(real)
        mask = component_mask(torch.from_numpy(component_boxes(subject.clip)[every::every]), real.shape[-1])
        rows["psnr"].append(psnr(made, real))
        rows["psnr_repeat"].append(psnr(repeated, real))
        rows["psnr_self"].append(psnr(decoded(model, subject, model.motion(subject.coefficients)), source))
        rows["parts"].append(_inside(made, real, mask))
        rows["parts_repeat"].append(_inside(repeated, real, mask))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def _inside(made: Tensor, real: Tensor, mask: Tensor) -> float:
    return float((mask * (made - real).abs()).sum() / (3 * mask.sum()))


@torch.no_grad()
def spoken(model: FloatModel, subject: Subject, audio: np.ndarray, seed: int = 0, emotion: int | None = None) -> Tensor:
    """Motion latents (T, D) for a sound."""
    return generated_motion(model, audio, subject.coefficients, seed, emotion=emotion)


def speech_figures(model: FloatModel, people: Sequence[Subject], reader: Any = None) -> dict[str, float]:
    """Correlation of generated with true coefficients of the mouth, with a clip's own and with the next clip's sound.

    Args:
        reader: backbone `tiny-frames`, loaded: the jaw is then read off the generated pictures too.
    """
    rows: dict[str, list[float]] = {}

    def put(name: str, value: float) -> None:
        rows.setdefault(name, []).append(value)

    for index, subject in enumerate(people):
        sounds = {"own": subject.audio, "swapped": people[(index + 1) % len(people)].audio}
        for kind, sound in sounds.items():
            motion = spoken(model, subject, sound)
            numbers = model.project(motion).numpy()
            for name in MOUTH:
                at = MOTION_NAMES.index(name)
                put(f"r_{name}_{kind}", correlation(numbers[:, at], subject.motion[:, at]))
            if reader is not None:
                seen = reader.extract(ClipMedia(_pixels(decoded(model, subject, motion)), sound))
                jaw = seen["expression"][:, 0]
                put(f"r_jaw_pictures_{kind}", correlation(jaw, subject.motion[:, MOTION_NAMES.index("jaw")]))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def _pixels(made: Tensor) -> np.ndarray:
    return ((made.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()


def head_figures(model: FloatModel, people: Sequence[Subject], gain: float) -> dict[str, float]:
    """Spread over time and mean step of the six pose numbers, generated over true."""
    made, true = [], []
    for subject in people:
        made.append(model.project(spoken(model, subject, subject.audio)).numpy()[:, : len(POSE)] / gain)
        true.append(subject.motion[:, : len(POSE)])
    spread = [np.mean([track.std(0) for track in tracks]) for tracks in (made, true)]
    step = [np.mean([np.abs(np.diff(track, axis=0)).mean(0) for track in tracks]) for tracks in (made, true)]
    return {"head_spread_ratio": float(spread[0] / spread[1]), "head_step_ratio": float(step[0] / step[1])}


def emotion_figures(model: FloatModel, people: Sequence[Subject], gain: float) -> dict[str, float]:
    """Mean of a coefficient when told the emotion that raises it, minus when told one that does not (true spreads).

    Beside each figure, as `..._true`, what the person's own clips in these emotions differ by.
    """
    named = {name for pair in EMOTION_SIGNS.values() for name in pair}
    made, true = ({name: [] for name in sorted(named)} for _ in range(2))
    for subject in people:
        clip = subject.clip
        for name in made:
            numbers = model.project(spoken(model, subject, subject.audio, emotion=EMOTIONS.index(name)))
            made[name].append(numbers.mean(0).numpy() / gain)
            felt = SyntheticClip(clip.identity, clip.number, clip.seconds, clip.seed, name)
            true[name].append(true_motion(felt.pose, felt.expression).mean(0))
    figures = {}
    for name, (up, down) in EMOTION_SIGNS.items():
        at = MOTION_NAMES.index(name)
        for suffix, tracks in (("", made), ("_true", true)):
            figures[f"emotion_{name}{suffix}"] = float(np.mean(tracks[up], 0)[at] - np.mean(tracks[down], 0)[at])
    return figures


@torch.no_grad()
def control_figures(model: FloatModel, people: Sequence[Subject], reader: Any, gain: float) -> dict[str, float]:
    """Pose that a reader sees when one pose coefficient goes from -1.5 to 1.5 true spreads: r with what was asked."""
    asked = torch.linspace(-1.5, 1.5, 9)
    rows: dict[str, list[float]] = {}
    for subject in people:
        for at, name in enumerate(POSE[:3]):
            edited = subject.coefficients.repeat(len(asked), 1)
            edited[:, at] += gain * asked
            made = _pixels(decoded(model, subject, model.motion(edited)))
            seen = reader.extract(ClipMedia(made, np.zeros(640 * len(made), np.int16)))["pose"]
            rows.setdefault(f"control_{name}", []).append(correlation(seen[:, at], asked.numpy()))
    return {name: float(np.mean(values)) for name, values in rows.items()}
