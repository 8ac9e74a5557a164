"""Controlled damage to a clip, at rising strength: what `floatbench metrics check` measures the metrics with.

Each damage is a pure function of (clip, strength, partner clip, seed); the length never changes and the input stays as
it is. Pictures are (T, H, W, 3) uint8, sound is (640 T,) int16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

Apply = Callable[[ClipMedia, float, ClipMedia | None, int], ClipMedia]


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        strengths: rising; a metric that reacts should move further with each.
        unit: what a strength counts.
        apply: (clip, strength, partner, seed) -> damaged clip.
        partner: needs a clip of another identity. sound: needs sound.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Apply
    partner: bool = False
    sound: bool = False


def blur(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """Gaussian blur; strength = sigma in thousandths of the height."""
    sigma = strength * clip.frames.shape[1] / 1000
    return _pictures(clip, [cv2.GaussianBlur(frame, (0, 0), sigma) for frame in clip.frames])


def noise(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """Independent Gaussian noise on every value; strength = its deviation in levels."""
    rng = np.random.default_rng(seed)
    noisy = (frame + strength * rng.standard_normal(frame.shape, np.float32) for frame in clip.frames)
    return _pictures(clip, [frame.round().clip(0, 255).astype(np.uint8) for frame in noisy])


def jpeg(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """Every frame through JPEG; strength = 100 - quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(100 - strength)]
    files = (cv2.imencode(".jpg", frame[..., ::-1], quality)[1] for frame in clip.frames)
    return _pictures(clip, [np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1] for file in files])


def h264(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The video through x264; strength = CRF."""
    from floatbench.media import Mp4Writer, read_video

    height, width = clip.frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with Mp4Writer(path, width, height, crf=strength, preset="veryfast") as writer:
            for frame in clip.frames:
                writer.write(frame)
        frames, _ = read_video(path)
    return _pictures(clip, frames[: clip.n_frames, :height, :width])


def freeze(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The last part of the pictures stands still; strength = that part's share, 1 = the first frame throughout."""
    moving = max(1, round(clip.n_frames * (1 - strength)))
    return _pictures(clip, clip.frames[np.minimum(np.arange(clip.n_frames), moving - 1)])


def jitter(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """Frames out of order: each is taken from up to `strength` frames before or after its time."""
    moves = np.random.default_rng(seed).integers(-int(strength), int(strength) + 1, clip.n_frames)
    return _pictures(clip, clip.frames[np.clip(np.arange(clip.n_frames) + moves, 0, clip.n_frames - 1)])


def speed(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The pictures run faster by `strength` percent and turn back at the end; the sound stays."""
    last = clip.n_frames - 1
    time = np.round(np.arange(clip.n_frames) * (1 + strength / 100)).astype(int) % max(2 * last, 1)
    return _pictures(clip, clip.frames[np.where(time > last, 2 * last - time, time)])


def sound_shift(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The sound comes `strength` frames later (earlier when negative); what is missing is silence."""
    sound = _sound(clip)
    shift = int(strength) * SAMPLES_PER_FRAME
    moved = np.zeros_like(sound)
    if shift >= 0:
        moved[shift:] = sound[: len(sound) - shift]
    else:
        moved[:shift] = sound[-shift:]
    return ClipMedia(clip.frames, moved)


def swapped_sound(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The last part of the sound is another clip's; strength = that part's share."""
    sound, other = _sound(clip), _sound(_needed(partner))
    start = round(clip.n_frames * (1 - strength)) * SAMPLES_PER_FRAME
    return ClipMedia(clip.frames, np.concatenate([sound[:start], np.resize(other, len(sound))[start:]]))


def wrong_identity(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The last part of the pictures shows another clip's person; strength = that part's share."""
    other = _needed(partner).frames
    height, width = clip.frames.shape[1:3]
    start = round(clip.n_frames * (1 - strength))
    swapped = [cv2.resize(other[t % len(other)], (width, height)) for t in range(start, clip.n_frames)]
    return _pictures(clip, [*clip.frames[:start], *swapped])


def pose_bias(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """Every picture turned in its plane; strength = degrees."""
    height, width = clip.frames.shape[1:3]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), strength, 1.0)
    return _pictures(clip, [_warped(frame, turn) for frame in clip.frames])


def crop_drift(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """The crop wanders to the side in a straight line; strength = percent of the width at the end."""
    width, last = clip.frames.shape[2], max(clip.n_frames - 1, 1)
    shifts = (strength / 100 * width * t / last for t in range(clip.n_frames))
    moved = [_warped(f, np.array([[1, 0, dx], [0, 1, 0]])) for f, dx in zip(clip.frames, shifts, strict=True)]
    return _pictures(clip, moved)


def damped_expression(clip: ClipMedia, strength: float, partner: ClipMedia | None, seed: int) -> ClipMedia:
    """Every picture drawn toward the mean picture of the clip; strength = how far, 1 = all the way."""
    mean = clip.frames.mean(0, dtype=np.float64)
    damped = [(1 - strength) * frame + strength * mean for frame in clip.frames]
    return _pictures(clip, [frame.round().clip(0, 255).astype(np.uint8) for frame in damped])


DAMAGES: tuple[Damage, ...] = (
    Damage("blur", "sigma, thousandths of the height", (2, 5, 12), blur),
    Damage("noise", "deviation, levels", (5, 15, 40), noise),
    Damage("jpeg", "100 - quality", (40, 80, 95), jpeg),
    Damage("h264", "CRF", (23, 35, 47), h264),
    Damage("freeze", "share of the clip", (0.25, 0.5, 1.0), freeze),
    Damage("jitter", "frames", (1, 4, 12), jitter),
    Damage("speed", "percent", (10, 30, 100), speed),
    Damage("sound-shift", "frames", (2, 5, 10), sound_shift, sound=True),
    Damage("swapped-sound", "share of the clip", (0.25, 0.5, 1.0), swapped_sound, partner=True, sound=True),
    Damage("wrong-identity", "share of the clip", (0.25, 0.5, 1.0), wrong_identity, partner=True),
    Damage("pose-bias", "degrees", (3, 8, 20), pose_bias),
    Damage("damped-expression", "share", (0.3, 0.6, 0.9), damped_expression),
    Damage("crop-drift", "percent of the width", (3, 8, 20), crop_drift),
)


def chosen(names: Sequence[str] = (), strengths: int = 3) -> tuple[Damage, ...]:
    """The damages of these names (none = all), each at its `strengths` greatest strengths; UsageError for others."""
    known = [damage.name for damage in DAMAGES]
    for name in names:
        if name not in known:
            raise UsageError(f"unknown damage {name!r}", fix=f"one of {', '.join(known)}")
    return tuple(replace(d, strengths=d.strengths[-strengths:]) for d in DAMAGES if not names or d.name in names)


def _pictures(clip: ClipMedia, frames: list[np.ndarray] | np.ndarray) -> ClipMedia:
    return ClipMedia(np.ascontiguousarray(np.stack(list(frames))), clip.audio)


def _warped(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    size = (frame.shape[1], frame.shape[0])
    return cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _sound(clip: ClipMedia) -> np.ndarray:
    if clip.audio is None:
        raise ClipError("no_audio")
    return clip.audio


def _needed(partner: ClipMedia | None) -> ClipMedia:
    if partner is None:
        raise ClipError("no_partner")
    return partner
