"""SyncNet: embeddings of lips and of sound, and the distances, confidence and offset made of them.

Source: Chung and Zisserman, "Out of time" (2016); settings of syncnet_python. Embeddings are not normalised.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from floatbench.metrics.mfcc import STEP, coefficients, mfcc, preemphasis, windows
from floatbench.metrics.network import seeded_state

SIDE = 224
FRAMES = 5
"""Frames of a window; its sound has 20 MFCC rows."""
MFCC_PER_FRAME = 4
MFCC_ROWS = FRAMES * MFCC_PER_FRAME
SHIFT = 15
DIMENSIONS = 1024
LOST = FRAMES
"""A clip of n frames has n - 5 windows, as in the reference (n - 4 would fit)."""


def _conv2d(inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def _conv3d(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: int = 1, padding: int = 0, pool: int | None = None
) -> list[nn.Module]:
    conv = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, padding, padding))
    layers: list[nn.Module] = [conv, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]
    if pool is not None:  # before the ReLU, not after it as in the reference: the same numbers, a quarter of the passes
        layers.insert(2, _PicturePool(pool))
    return layers


class _PicturePool(nn.Module):
    """Max pool of 3 x 3 pixels, every second one, of each picture of a film: `MaxPool3d` takes longer for the same."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T, H', W')."""
        pictures = F.max_pool2d(films.transpose(1, 2).flatten(0, 1), 3, 2, self.padding)
        return pictures.unflatten(0, (len(films), -1)).transpose(1, 2)


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, DIMENSIONS))


class SyncNet(nn.Module):
    """The two towers; key names of `syncnet_v2.model`."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *_conv2d(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *_conv2d(192, 384, 3, 1),
            *_conv2d(384, 256, 3, 1),
            *_conv2d(256, 256, 3, 1),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), stride=2, pool=0),
            *_conv3d(96, 256, (1, 5, 5), stride=2, padding=1, pool=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1),
            *_conv3d(256, 256, (1, 3, 3), padding=1, pool=0),
            *_conv3d(256, 512, (1, 6, 6)),
        )

    def sound(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, 13, 20) MFCC -> (B, 1024)."""
        return self.netfcaud(self.netcnnaud(x).flatten(1))

    def lips(self, x: torch.Tensor) -> torch.Tensor:
        """(3, T, 224, 224) B-G-R in 0..255 -> (T - 4, 1024).

        Only the first layer looks along time, so one pass over the clip equals a pass over every window of 5.
        """
        y = self.netcnnlip(x[None])[0, :, :, 0, 0]  # (512, T - 4)
        return self.netfclip(y.T)


def sound_windows(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """MFCC windows (W, 13, 20) float32 that start at every frame of (640 T,) int16 sound, in two forms.

    The second form is each window as the first of a sound cut at its frame: pre-emphasis has no sample before it then.
    With it a track that begins in the middle of a clip gives exactly what cutting the sound first would give.
    """
    rows = mfcc(audio)
    count = max((len(rows) - MFCC_ROWS) // MFCC_PER_FRAME + 1, 0)
    starts = np.arange(count) * MFCC_PER_FRAME
    index = starts[:, None] + np.arange(MFCC_ROWS)
    whole = rows[index].transpose(0, 2, 1)
    emphasised = windows(preemphasis(audio))[starts].copy()
    emphasised[:, 0] = np.asarray(audio, np.float64)[starts * STEP]
    cut = whole.copy()
    if count:
        cut[:, :, 0] = coefficients(emphasised)
    return whole.astype(np.float32), cut.astype(np.float32)


def distances(lips: np.ndarray, sound: np.ndarray, shift: int = SHIFT) -> np.ndarray:
    """(W, 2 shift + 1) Euclidean distances of lip window i and sound window i + k - shift, k = 0..2 shift.

    Sound windows outside the clip are zero vectors, and 1e-6 is added to each difference, as the reference does.
    """
    a, b = torch.from_numpy(np.asarray(lips, np.float32)), torch.from_numpy(np.asarray(sound, np.float32))
    padded = F.pad(b, (0, 0, shift, shift)).unfold(0, 2 * shift + 1, 1)  # (W, 1024, 31)
    return F.pairwise_distance(a[:, None], padded.transpose(1, 2)).numpy()


class Sync(NamedTuple):
    """LSE-D, LSE-C and the offset in frames; sound that comes 3 frames late gives -3."""

    distance: float
    confidence: float
    offset: int


def judge(table: np.ndarray, shift: int = SHIFT) -> Sync:
    """From (W, 2 shift + 1) distances: the least mean over windows, the median minus it, and where it lies."""
    mean = torch.from_numpy(table).mean(0)
    least, index = mean.min(0)
    return Sync(float(least), float(mean.median() - least), shift - int(index))


def random_state(seed: int) -> dict[str, torch.Tensor]:
    """Seeded random weights; the first lip layer takes pixels of 0..255 to order one, so that both towers are alike."""
    state = seeded_state(SyncNet(), seed)
    state["netcnnlip.0.weight"] = state["netcnnlip.0.weight"] / 128
    return state


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights under the key names of `syncnet_v2.model`."""
    torch.save(random_state(seed), path)
