"""The bundled small networks and what they see: architecture and preprocessing, no weights and no files.

All of them are trained on synthetic heads only (`floatbench train backbones`) and look at pictures framed like those:
one head that fills most of a square picture.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from floatbench.synthetic.camera import project, rotation

FRAME_SIDE = 80
FACE_SIDE = 64
PARTS_SIDE = 128  # pictures have this side before parts of a face are unwrapped from them
EYES_SIZE, MOUTH_SIZE = (40, 88), (64, 64)
EYES_BOX = (-0.64, 0.64, 0.42, -0.16)  # left, right, top and bottom on the head's front, head units
MOUTH_BOX = (-0.5, 0.5, -0.14, -1.1)
SKULL = (0.80, 1.25, 0.82)  # half axes of the ellipsoid that stands for every head
FACE_BOX = (0.10, 0.90, 0.16, 0.84)  # rows and columns of the face in a framed picture
LIP_SIZE = (40, 56)
LIP_BOX = (0.50, 0.94, 0.18, 0.82)
LIP_WINDOW = 5  # frames, as in SyncNet
MEL_WINDOW = 20  # columns of 10 ms, as in SyncNet
MELS = 26
WINDOW = 16  # frames of a clip feature
FEATURES = 64
CLIP_FEATURES = 32
RADIUS = 10.0  # length of every sync embedding


def resize(frames: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Cuts (T, H, W, 3) uint8 to a box given in parts of the sides and scales it to (rows, columns) by area."""
    height, width = frames.shape[1:3]
    rows = slice(round(box[0] * height), round(box[1] * height))
    cols = slice(round(box[2] * width), round(box[3] * width))
    out = [cv2.resize(np.ascontiguousarray(f[rows, cols]), size[::-1], interpolation=cv2.INTER_AREA) for f in frames]
    return np.stack(out)


def frame_pixels(frames: np.ndarray) -> np.ndarray:
    """(T, 80, 80, 3) uint8 of the whole picture."""
    return resize(frames, (0, 1, 0, 1), (FRAME_SIDE, FRAME_SIDE))


def face_pixels(frames: np.ndarray) -> np.ndarray:
    """(T, 64, 64, 3) uint8 of the face."""
    return resize(frames, FACE_BOX, (FACE_SIDE, FACE_SIDE))


@lru_cache(maxsize=2)
def _on_skull(box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """Points (rows * columns, 3) of the ellipsoid's front, evenly spaced as seen from before it."""
    left, right, top, bottom = box
    rows, columns = (np.arange(count) + 0.5 for count in size)
    x, y = np.meshgrid(left + columns / size[1] * (right - left), top + rows / size[0] * (bottom - top))
    depth = SKULL[2] * np.sqrt(np.maximum(1 - (x / SKULL[0]) ** 2 - (y / SKULL[1]) ** 2, 0.05))
    return np.stack([x, y, depth], -1).reshape(-1, 3).astype(np.float32)


def face_parts(frames: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eyes (T, 40, 88, 3) and mouth (T, 64, 64, 3) uint8, as if every head looked straight ahead.

    The surface of an ellipsoid that has the head's pose is read off the picture, so that a mouth lies in one place
    wherever the head turns.

    Args:
        frames: (T, H, W, 3) uint8. poses: (T, 6), see `floatbench.synthetic.expression.POSE`.
    """
    pictures = resize(frames, (0, 1, 0, 1), (PARTS_SIDE, PARTS_SIDE))
    parts = []
    for box, size in ((EYES_BOX, EYES_SIZE), (MOUTH_BOX, MOUTH_SIZE)):
        points, seen = _on_skull(box, size), []
        for picture, pose in zip(pictures, poses, strict=True):
            turn, shift = rotation(*(float(angle) for angle in pose[:3])), pose[3:].astype(np.float32)
            at = project(points, turn, shift, PARTS_SIDE).reshape(*size, 2).astype(np.float32)
            seen.append(cv2.remap(picture, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]
        parts.append(np.stack(seen))
    return parts[0], parts[1]


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Pixels (T, H, W, 3) uint8 as a network's input (T, 3, H, W) float32 in [-1, 1]."""
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1


def lip_input(frames: np.ndarray) -> np.ndarray:
    """(T, 40, 56) float32 grey in [-1, 1] of the lower face."""
    small = resize(frames, LIP_BOX, LIP_SIZE).astype(np.float32)
    return small @ np.array([0.299, 0.587, 0.114], np.float32) / 127.5 - 1


def lip_windows(lips: np.ndarray) -> np.ndarray:
    """(T - 4, 5, 40, 56): five neighbouring frames as channels; a view."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(lips, LIP_WINDOW, axis=0), -1, 1)


@lru_cache(maxsize=1)
def _mel_filters() -> np.ndarray:
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), MELS + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequency = np.fft.rfftfreq(512, 1 / 16000)
    low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(np.minimum((frequency - low) / (mid - low), (high - frequency) / (high - mid)), 0).T


def log_mel(audio: np.ndarray) -> np.ndarray:
    """(26, columns) float32 log energies every 10 ms (windows of 25 ms) of int16 sound at 16 kHz, about unit scale."""
    sound = audio.astype(np.float64)
    sound = np.append(sound[:1], sound[1:] - 0.97 * sound[:-1])
    columns = len(audio) // 160
    sound = np.pad(sound, (0, max(0, columns * 160 + 400 - len(sound))))
    pieces = sound[np.arange(columns)[:, None] * 160 + np.arange(400)] * np.hamming(400)
    power = np.abs(np.fft.rfft(pieces, 512)) ** 2 / 512
    return ((np.log(power @ _mel_filters() + 100.0) - 10.0) / 3.0).T.astype(np.float32)


def mel_windows(mel: np.ndarray) -> np.ndarray:
    """(windows, 26, 20): columns 4 i .. 4 i + 19 belong to frames i .. i + 4; a view."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(mel, MEL_WINDOW, axis=1)[:, ::4], 1, 0)


def _block(inputs: int, outputs: int, stride: int | tuple[int, int] = 2) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class FrameNetwork(nn.Module):
    """One picture (B, 3, 80, 80) to features (B, 64), and from them pose, expression, identity traits and emotion."""

    def __init__(self, pose: int = 6, expression: int = 14, traits: int = 45, emotions: int = 7) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _block(3, 16), _block(16, 32), _block(32, 48), _block(48, 64, 1), _block(64, 96), nn.Flatten()
        )
        self.hidden = nn.Sequential(nn.Dropout(0.15), nn.Linear(96 * 25, 192), nn.ReLU(), nn.Dropout(0.15))
        self.features = nn.Linear(192, FEATURES)
        self.pose = nn.Linear(192, pose)
        self.expression = nn.Linear(192, expression)
        self.traits = nn.Linear(FEATURES, traits)
        self.state = nn.Linear(FEATURES, pose + expression)
        self.emotion = nn.Linear(FEATURES, emotions)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.hidden(self.trunk(x))
        features = self.features(hidden)
        active = torch.relu(features)
        return {
            "features": features,
            "pose": self.pose(hidden),
            "expression": self.expression(hidden),
            "traits": self.traits(active),
            "state": self.state(active),
            "emotion": self.emotion(active),
        }


class ExpressionNetwork(nn.Module):
    """Eyes (B, 3, 40, 88) and mouth (B, 3, 64, 64) of a face, unwrapped, to its expression coefficients (B, 14)."""

    def __init__(self, expression: int = 14) -> None:
        super().__init__()
        self.eyes, self.mouth = (
            nn.Sequential(
                _block(3, 24), _block(24, 48), _block(48, 64, 1), _block(64, 96), _block(96, 128), nn.Flatten()
            )
            for _ in range(2)
        )
        self.hidden = nn.Sequential(nn.Dropout(0.1), nn.Linear(128 * (18 + 16), 192), nn.ReLU(), nn.Dropout(0.1))
        self.expression = nn.Linear(192, expression)

    def forward(self, eyes: Tensor, mouth: Tensor) -> Tensor:
        return self.expression(self.hidden(torch.cat((self.eyes(eyes), self.mouth(mouth)), 1)))


class IdentityNetwork(nn.Module):
    """A face (B, 3, 64, 64) to an embedding (B, 64); compare embeddings by their cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_block(3, 24), _block(24, 48), _block(48, 64), _block(64, 96), nn.Flatten())
        self.embed = nn.Sequential(nn.Linear(96 * 16, 64), nn.BatchNorm1d(64, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(self.trunk(x))


class ClipNetwork(nn.Module):
    """Sixteen frames' features (B, 16, 64) to clip features (B, 32), and from them how much everything moves."""

    def __init__(self, targets: int = 40) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv1d(FEATURES, 64, 5, 1, 2), nn.ReLU(), nn.Conv1d(64, 64, 5, 2, 2), nn.ReLU(), nn.Flatten()
        )
        self.features = nn.Linear(64 * WINDOW // 2, CLIP_FEATURES)
        self.targets = nn.Linear(CLIP_FEATURES, targets)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.features(self.trunk(x.transpose(1, 2)))
        return {"features": features, "targets": self.targets(torch.relu(features))}


class SyncNetwork(nn.Module):
    """Two towers in SyncNet's form: five lip frames and 200 ms of sound to embeddings of one length (B, 64).

    `lips` takes (B, 5, 40, 56), `sound` takes (B, 26, 20). The `mouth` heads guess the articulators of the five frames;
    they help training and are not used in scoring.
    """

    def __init__(self, articulators: int = 6) -> None:
        super().__init__()
        self.lip_tower = nn.Sequential(_block(LIP_WINDOW, 24), _block(24, 48), _block(48, 64), nn.Flatten())
        self.lip_hidden = nn.Sequential(nn.Linear(64 * 35, 128), nn.ReLU())
        self.sound_tower = nn.Sequential(
            _block(1, 24, 1), _block(24, 32, 2), _block(32, 48, 2), nn.Flatten(), nn.Linear(48 * 35, 128), nn.ReLU()
        )
        self.lip_embed, self.sound_embed = nn.Linear(128, 64), nn.Linear(128, 64)
        self.lip_mouth, self.sound_mouth = (nn.Linear(128, LIP_WINDOW * articulators) for _ in range(2))

    def lips(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.lip_hidden(self.lip_tower(x))
        return _on_sphere(self.lip_embed(hidden)), self.lip_mouth(hidden)

    def sound(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.sound_tower(x[:, None])
        return _on_sphere(self.sound_embed(hidden)), self.sound_mouth(hidden)


def _on_sphere(x: Tensor) -> Tensor:
    return RADIUS * nn.functional.normalize(x, dim=1)


NETWORKS: dict[str, type[nn.Module]] = {
    "tiny-frames": FrameNetwork,
    "tiny-expression": ExpressionNetwork,
    "tiny-identity": IdentityNetwork,
    "tiny-clips": ClipNetwork,
    "tiny-sync": SyncNetwork,
}
