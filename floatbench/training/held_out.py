"""How a model trained on synthetic heads does on people it never met: the metrics of float-tiny's card.

Pictures, speech, head motion, emotion, control, identity and hearing. Metrics of speech stand beside the same ones with
another clip's sound, pictures beside the repeated source. T frames, M directions, R pixels.

    from floatbench.training.held_out import measure_held_out
    measure_held_out("runs/tiny/float.safetensors", people=12)

`python benchmarks/float_tiny.py` prints them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from floatbench.files import file_sha256
from floatbench.metrics.tiny import ExpressionBackbone, FrameBackbone, IdentityBackbone
from floatbench.model.checkpoint import read_metadata
from floatbench.model.conditioning import MelEmotionEncoder
from floatbench.model.config import EMOTIONS
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.sampling.loading import card_of, checkpoint_file, load_model
from floatbench.sampling.options import SamplingOptions
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import POSE
from floatbench.training.batches import pictures
from floatbench.training.clips import component_boxes
from floatbench.training.configs import CONFIGS
from floatbench.training.flow_phase import generated_motion
from floatbench.training.ground_truth import MOTION_NAMES, true_motion
from floatbench.training.losses.components import component_mask
from floatbench.training.recogniser import draw_sounds, recognised
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
FIRST = 80_000
"""First of the people: those of training are below, those of protocols from `TEST_FIRST` on."""


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two tracks (T,); 0 when either is constant."""
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / norm) if norm > 1e-12 else 0.0


def psnr(generated: Tensor, real: Tensor) -> float:
    """Mean over pictures (B, 3, R, R) in [-1, 1] of 10 log10(4 / mean square error), decibel."""
    error = (generated.clamp(-1, 1).float() - real).square().mean((1, 2, 3)).clamp(min=1e-10)
    return float((10 * torch.log10(4 / error)).mean())


@dataclass(frozen=True)
class Subject:
    """A held-out clip with what the model sees of it: s_r (1, D), maps, coefficients (1, M) of its first frame.

    `options` is how the model is sampled when it speaks.
    """

    clip: SyntheticClip
    frames: np.ndarray
    audio: np.ndarray
    motion: np.ndarray
    latent: Tensor
    features: list[Tensor]
    coefficients: Tensor
    options: SamplingOptions


@torch.no_grad()
def subjects(
    model: FloatModel, clips: Sequence[SyntheticClip], options: SamplingOptions | None = None
) -> list[Subject]:
    """Draws the clips at the model's size and encodes their first frames."""
    options, found = options or SamplingOptions(), []
    for clip in clips:
        frames = clip.frames(model.config.image_size)
        latent, features = model.encode_image(pictures(frames[:1]))
        true = true_motion(clip.pose, clip.expression)
        known = model.coefficients(latent)
        found.append(Subject(clip, frames, clip.audio(), true, latent, features, known, options))
    return found


@torch.no_grad()
def decoded(model: FloatModel, subject: Subject, motion: Tensor) -> Tensor:
    """Motion latents (T, D) -> pictures (T, 3, R, R) in [-1, 1]."""
    parts = [model.decode(subject.latent + part, subject.features)[0].clamp(-1, 1) for part in motion.split(BATCH)]
    return torch.cat(parts)


def picture_metrics(model: FloatModel, people: Sequence[Subject], gain: float, every: int = 5) -> dict[str, float]:
    """The true change of motion decoded, beside the repeated source; the source's own frame is left out.

    Args:
        gain: of `coefficient_scale`: the model's coefficients are that many times the true motion.
    """
    names = ("psnr", "psnr_repeat", "psnr_self", "sharpness", "parts", "parts_repeat")
    rows: dict[str, list[float]] = {name: [] for name in names}
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
        rows["sharpness"].append(sharpness(pixels(made)) / sharpness(subject.frames[every::every]))
        rows["parts"].append(_inside(made, real, mask))
        rows["parts_repeat"].append(_inside(repeated, real, mask))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def sharpness(frames: np.ndarray) -> float:
    """Mean over frames (T, R, R, 3) uint8 of the variance of the Laplacian of their grey levels."""
    greys = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames)
    return float(np.mean([cv2.Laplacian(grey, cv2.CV_32F).var() for grey in greys]))


def _inside(made: Tensor, real: Tensor, mask: Tensor) -> float:
    return float((mask * (made - real).abs()).sum() / (3 * mask.sum()))


@torch.no_grad()
def spoken(
    model: FloatModel,
    subject: Subject,
    audio: np.ndarray,
    emotion: int | None = None,
) -> Tensor:
    """Motion latents (T, D) for a sound; the noise is the person's own.

    From one noise all heads would turn alike, and the spread of twelve of them would be that of one.
    """
    seed = subject.clip.identity
    return generated_motion(model, audio, subject.coefficients, seed, subject.options, emotion=emotion)


def speech_metrics(model: FloatModel, people: Sequence[Subject], reader: Any = None) -> dict[str, float]:
    """Correlation of generated with true coefficients of the mouth, with a clip's own and with the next clip's sound.

    Args:
        reader: backbone `tiny-expression`, loaded: the jaw is then read off the generated pictures too.
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
                seen = reader.extract(ClipMedia(pixels(decoded(model, subject, motion)), sound))
                jaw = seen["expression"][:, 0]
                put(f"r_jaw_pictures_{kind}", correlation(jaw, subject.motion[:, MOTION_NAMES.index("jaw")]))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def pixels(made: Tensor) -> np.ndarray:
    """(T, 3, R, R) in [-1, 1] -> (T, R, R, 3) uint8."""
    return ((made.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()


def head_metrics(model: FloatModel, people: Sequence[Subject], gain: float) -> dict[str, float]:
    """Spread over time and mean step of the six pose numbers, generated over true, and the steps where windows meet.

    These are in median steps, of generated and, at the same frames, of true heads.
    """
    made, true = [], []
    for subject in people:
        made.append(model.project(spoken(model, subject, subject.audio)).numpy()[:, : len(POSE)] / gain)
        true.append(subject.motion[:, : len(POSE)])
    spread = [np.mean([track.std(0) for track in tracks]) for tracks in (made, true)]
    step = [np.mean([np.abs(np.diff(track, axis=0)).mean(0) for track in tracks]) for tracks in (made, true)]
    seams = [float(np.mean([_seam(track, model.config.window) for track in tracks])) for tracks in (made, true)]
    ratios = {"head_spread_ratio": float(spread[0] / spread[1]), "head_step_ratio": float(step[0] / step[1])}
    return ratios | {"head_seam": seams[0], "head_seam_true": seams[1]}


def _seam(track: np.ndarray, window: int) -> float:
    """Mean step of a track (T, N) from window to window, in median steps."""
    steps = np.abs(np.diff(track, axis=0)) / np.median(np.abs(np.diff(track, axis=0)), axis=0)
    return float(steps[window - 1 :: window].mean())


def emotion_metrics(model: FloatModel, people: Sequence[Subject], gain: float) -> dict[str, float]:
    """Mean of a coefficient conditioned on the emotion that raises it, minus on one that does not (true spreads).

    Beside each, as `..._true`, what the person's own clips in these emotions differ by.
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
    found = {}
    for name, (up, down) in EMOTION_SIGNS.items():
        at = MOTION_NAMES.index(name)
        for suffix, tracks in (("", made), ("_true", true)):
            found[f"emotion_{name}{suffix}"] = float(np.mean(tracks[up], 0)[at] - np.mean(tracks[down], 0)[at])
    return found


def source_metrics(model: FloatModel, people: Sequence[Subject], reader: Any) -> dict[str, float]:
    """What is left of a source's own expression where another one is told: 0 replaces it, 1 adds to it.

    Of two pictures of a person, one in the emotion that raises a coefficient and one in the other, videos are made that
    are told to be neutral; how far these differ in that coefficient, over how far the pictures do.

    Args:
        reader: backbone `tiny-expression`, loaded, which sees both.
    """

    def seen(frames: np.ndarray, name: str) -> float:
        read = reader.extract(ClipMedia(frames, np.zeros(640 * len(frames), np.int16)))["expression"]
        return float(read[:, MOTION_NAMES.index(name) - len(POSE)].mean())

    found = {}
    for name in ("smile", "brow_raise"):
        shown, left = [], []
        for subject in people:
            clip = subject.clip
            for sign, mood in zip((1, -1), EMOTION_SIGNS[name], strict=True):
                moody = SyntheticClip(clip.identity, clip.number, 1.0, clip.seed, mood)
                (felt,) = subjects(model, [moody], subject.options)
                motion = spoken(model, felt, subject.audio, emotion=EMOTIONS.index("neutral"))[::5]
                shown.append(sign * seen(felt.frames[:1], name))
                left.append(sign * seen(pixels(decoded(model, felt, motion)), name))
        found[f"source_{name}_left"] = sum(left) / sum(shown)
    return found


@torch.no_grad()
def control_metrics(model: FloatModel, people: Sequence[Subject], reader: Any, gain: float) -> dict[str, float]:
    """Pose that a reader sees when one pose coefficient goes from -1.5 to 1.5 true spreads: r with what was asked."""
    asked = torch.linspace(-1.5, 1.5, 9)
    rows: dict[str, list[float]] = {}
    for subject in people:
        for at, name in enumerate(POSE[:3]):
            edited = subject.coefficients.repeat(len(asked), 1)
            edited[:, at] += gain * asked
            made = pixels(decoded(model, subject, model.motion(edited)))
            seen = reader.extract(ClipMedia(made, np.zeros(640 * len(made), np.int16)))["pose"]
            rows.setdefault(f"control_{name}", []).append(correlation(seen[:, at], asked.numpy()))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def identity_metrics(model: FloatModel, people: Sequence[Subject]) -> dict[str, float]:
    """Cosine of the bundled identity network between a person's source and generated frames, and to another person."""
    network = IdentityBackbone()
    network.load()

    def embedded(frames: np.ndarray) -> np.ndarray:
        found = network.extract(ClipMedia(frames, np.zeros(640 * len(frames), np.int16)))["embeddings"]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    sources = [embedded(subject.frames[:1])[0] for subject in people]
    made = [embedded(spoken_frames(model, subject)[::5]) for subject in people]
    own = [float((rows @ source).mean()) for rows, source in zip(made, sources, strict=True)]
    other = [float((rows @ sources[(i + 1) % len(people)]).mean()) for i, rows in enumerate(made)]
    true = [float((embedded(s.frames[::5]) @ source).mean()) for s, source in zip(people, sources, strict=True)]
    rows = {"csim_tiny": own, "csim_tiny_other": other, "csim_tiny_true": true}
    return {name: float(np.mean(values)) for name, values in rows.items()}


def hearing_metrics(model: FloatModel, people: int = 100) -> dict[str, float]:
    """What the emotion recogniser hears in the sound of people it never met; chance is 0.14 and 1.95."""
    if not isinstance(model.emotion_encoder, MelEmotionEncoder):
        return {}
    sounds = draw_sounds(CONFIGS["float-tiny"], range(FIRST, FIRST + people), NullProgress())
    return {f"heard_{name}": value for name, value in recognised(model.emotion_encoder, sounds).items()}


def spoken_frames(model: FloatModel, subject: Subject) -> np.ndarray:
    """(T, R, R, 3) uint8 of a subject speaking its own sound."""
    return pixels(decoded(model, subject, spoken(model, subject, subject.audio)))


def held_out_people(model: FloatModel, people: int, options: SamplingOptions | None = None) -> list[Subject]:
    """So many people, four seconds each, and how they are made to speak: see `card_of` for a model's own way."""
    return subjects(model, [SyntheticClip(FIRST + i, 0, 4.0, 1) for i in range(people)], options)


def measure_held_out(weights: str, people: int = 12) -> dict[str, Any]:
    """All metrics of a model (a name or a checkpoint file) whose coefficients are the true motion.

    Raises:
        DataError: no such model.
    """
    model, file = load_model(weights)[0], checkpoint_file(weights)
    notes = json.loads(read_metadata(file).notes or "{}")
    gain = float(notes.get("coefficients", {"gain": 1.0})["gain"])
    reader, face = FrameBackbone(), ExpressionBackbone()
    for network in (reader, face):
        network.load()
    torch.manual_seed(0)
    met = held_out_people(model, people, card_of(weights).preset())
    found: dict[str, Any] = {"weights": file_sha256(file), "bytes": file.stat().st_size, "people": people}
    found |= picture_metrics(model, met, gain) | speech_metrics(model, met, face)
    found |= head_metrics(model, met, gain) | emotion_metrics(model, met, gain) | source_metrics(model, met, face)
    found |= control_metrics(model, met, reader, gain) | identity_metrics(model, met)
    return found | hearing_metrics(model)
