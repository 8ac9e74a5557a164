"""Distance, confidence and offset of a talking face, from the embeddings of a network in SyncNet's form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHIFT = 15
"""Shifts of the sound that are tried on both sides, in frames (`vshift` of the reference's command line)."""


class Sync(NamedTuple):
    """LSE-D, LSE-C and the offset in frames; sound that comes 3 frames late gives -3."""

    distance: float
    confidence: float
    offset: int


def distances(lips: np.ndarray, sound: np.ndarray, shift: int = SHIFT) -> np.ndarray:
    """(W, 2 shift + 1): the Euclidean distance of every lip window to the sound windows around it.

    Sound is padded with zero vectors; 1e-6 is added to every difference as torch's `pairwise_distance` does. Column k
    holds |l_i - a_(i + k - shift) + 1e-6| (syncnet_python, SyncNetInstance.py).

    Args:
        lips, sound: (W, D) embeddings of equal W.
    """
    padded = np.pad(np.asarray(sound, np.float32), ((shift, shift), (0, 0)))
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * shift + 1, axis=0)[: len(lips)]  # (W, D, K)
    difference = np.asarray(lips, np.float32)[:, :, None] - around + np.float32(1e-6)
    return np.sqrt(np.sum(difference * difference, axis=1))


def judge(table: np.ndarray, shift: int = SHIFT) -> Sync:
    """From (W, 2 shift + 1) distances: the least mean over windows, the median minus it, and where it lies."""
    mean = table.mean(0)
    best = int(mean.argmin())
    return Sync(float(mean[best]), float(np.median(mean) - mean[best]), shift - best)
