"""Controlled damage to the pictures of a clip: what the controls `blur:5`, `freeze:0.5` and their like do.

Each damage is a pure function of (frames, strength, seed); frames are (T, H, W, 3) uint8, and neither their number nor
their size changes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

Apply = Callable[..., np.ndarray]


@dataclass(frozen=True)
class PictureDamage:
    """One kind of damage.

    Attributes:
        unit: what a strength counts. strengths: rising; a metric that reacts should move further with each.
        apply: (frames, strength, seed) -> damaged frames. greatest: the greatest strength that means anything.
        decodes: what is applied decodes a video, and takes the protocol's rule for that as a fourth argument.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Apply
    greatest: float = 1000.0
    decodes: bool = False


def blur(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Gaussian blur; strength = sigma in thousandths of the height."""
    sigma = strength * frames.shape[1] / 1000
    return _stacked(cv2.GaussianBlur(frame, (0, 0), sigma) for frame in frames)


def noise(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Independent Gaussian noise on every value; strength = its deviation in levels."""
    rng = np.random.default_rng(seed)
    noisy = (frame + strength * rng.standard_normal(frame.shape, np.float32) for frame in frames)
    return _stacked(frame.round().clip(0, 255).astype(np.uint8) for frame in noisy)


def jpeg(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Every frame through JPEG; strength = 100 - quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(100 - strength)]
    files = (cv2.imencode(".jpg", frame[..., ::-1], quality)[1] for frame in frames)
    return _stacked(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))[..., ::-1] for file in files)


def h264(frames: np.ndarray, strength: float, seed: int, spec: str = "pp1") -> np.ndarray:
    """The video through x264; strength = CRF, spec = the protocol's rule by which it is decoded."""
    from floatbench.media import Mp4Writer, read_video

    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        with Mp4Writer(path, width, height, crf=strength, preset="veryfast") as writer:
            for frame in frames:
                writer.write(frame)
        decoded, _ = read_video(path, spec)
    return np.ascontiguousarray(decoded[: len(frames), :height, :width])


def freeze(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """The last part of the pictures stands still; strength = that part's share, 1 = the first frame throughout."""
    moving = max(1, round(len(frames) * (1 - strength)))
    return frames[np.minimum(np.arange(len(frames)), moving - 1)]


def jitter(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Frames out of order: each is taken from up to `strength` frames before or after its time."""
    moves = np.random.default_rng(seed).integers(-int(strength), int(strength) + 1, len(frames))
    return frames[np.clip(np.arange(len(frames)) + moves, 0, len(frames) - 1)]


def speed(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """The pictures run faster by `strength` percent and turn back at the end; the sound stays."""
    last = len(frames) - 1
    time = np.round(np.arange(len(frames)) * (1 + strength / 100)).astype(int) % max(2 * last, 1)
    return frames[np.where(time > last, 2 * last - time, time)]


def pose_bias(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Every picture turned in its plane; strength = degrees."""
    height, width = frames.shape[1:3]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), strength, 1.0)
    return _stacked(_warped(frame, turn) for frame in frames)


def crop_drift(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """The crop wanders to the side in a straight line; strength = percent of the width at the end."""
    width, last = frames.shape[2], max(len(frames) - 1, 1)
    shifts = (strength / 100 * width * t / last for t in range(len(frames)))
    return _stacked(_warped(f, np.array([[1, 0, dx], [0, 1, 0]])) for f, dx in zip(frames, shifts, strict=True))


def fade(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Colour and sharpness go in a straight line; strength = percent of its blurred grey self in the last picture."""
    last, sigma = max(len(frames) - 1, 1), frames.shape[1] / 100
    faded = (
        cv2.addWeighted(frame, 1 - share, cv2.GaussianBlur(_grey(frame), (0, 0), sigma), share, 0)
        for share, frame in zip(strength / 100 * np.arange(len(frames)) / last, frames, strict=True)
    )
    return _stacked(faded)


def damped_expression(frames: np.ndarray, strength: float, seed: int) -> np.ndarray:
    """Every picture drawn toward the mean picture of the clip; strength = how far, 1 = all the way."""
    mean = frames.mean(0, dtype=np.float64)
    damped = ((1 - strength) * frame + strength * mean for frame in frames)
    return _stacked(frame.round().clip(0, 255).astype(np.uint8) for frame in damped)


PICTURE_DAMAGES: dict[str, PictureDamage] = {
    damage.name: damage
    for damage in (
        PictureDamage("blur", "sigma, thousandths of the height", (2, 5, 12), blur),
        PictureDamage("noise", "deviation, levels", (5, 15, 40), noise, 255),
        PictureDamage("jpeg", "100 - quality", (40, 80, 95), jpeg, 100),
        PictureDamage("h264", "CRF", (23, 35, 47), h264, 51, decodes=True),
        PictureDamage("freeze", "share of the clip", (0.25, 0.5, 1.0), freeze, 1),
        PictureDamage("jitter", "frames", (1, 4, 12), jitter),
        PictureDamage("speed", "percent", (10, 30, 100), speed),
        PictureDamage("pose-bias", "degrees", (3, 8, 20), pose_bias, 180),
        PictureDamage("damped-expression", "share", (0.3, 0.6, 0.9), damped_expression, 1),
        PictureDamage("crop-drift", "percent of the width", (3, 8, 20), crop_drift, 100),
        PictureDamage("fade", "percent at the end", (5, 20, 60), fade, 100),
    )
}


def _stacked(frames: Iterable[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.stack(list(frames)))


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _warped(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    size = (frame.shape[1], frame.shape[0])
    return cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
