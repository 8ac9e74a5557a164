"""Distance, confidence and offset of a talking face, from the embeddings of SyncNet or of a network in its form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHIFT = 15
"""Shifts of the sound that are tried on both sides, in frames (`vshift` of the reference's command line)."""


@dataclass(frozen=True)
class Sync:
    """LSE-D (`distance`), LSE-C (`confidence`) and the offset in frames; sound that is 3 frames late gives -3."""

    distance: float
    confidence: float
    offset: int


def distances(lips: np.ndarray, sound: np.ndarray, shift: int = SHIFT) -> np.ndarray:
    """(N, 2 shift + 1): the Euclidean distance of every lip window to the sound windows around it.

    Sound is padded with zero vectors; 1e-6 is added to every difference as torch's `pairwise_distance` does. Column k
    holds |l_i - a_(i + k - shift) + 1e-6| (syncnet_python, SyncNetInstance.py).

    Args:
        lips, sound: (N, D) embeddings of equal N.
    """
    n = len(lips)
    padded = np.pad(sound.astype(np.float32), ((shift, shift), (0, 0)))
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * shift + 1, axis=0)[:n]  # (N, D, K)
    difference = lips.astype(np.float32)[:, :, None] - around + np.float32(1e-6)
    return np.sqrt(np.sum(difference * difference, axis=1))


def sync(lips: np.ndarray, sound: np.ndarray, shift: int = SHIFT) -> Sync:
    """LSE-D = min m, LSE-C = median(m) - min m, offset = shift - argmin m with m the mean distance at each shift."""
    mean = distances(lips, sound, shift).mean(0)
    best = int(mean.argmin())
    return Sync(float(mean[best]), float(np.median(mean) - mean[best]), shift - best)
