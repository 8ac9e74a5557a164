"""Certificates: two profiles of one system on the same weights, inputs and seed, compared frame by frame."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

MEAN_GATE = 1e-4
P999_GATE = 5e-3


@dataclass(frozen=True)
class ClipDifference:
    """Absolute differences of two clips as fractions of the range 0..255: the frames are bytes, in steps of 1/255."""

    mean: float
    p999: float
    maximum: float
    changed: float  # share of values that differ at all
    n_frames: int

    @property
    def passed(self) -> bool:
        return self.mean < MEAN_GATE and self.p999 < P999_GATE


def compare(first: np.ndarray, second: np.ndarray) -> ClipDifference:
    """(T, H, W, 3) uint8 against the same shape; ValueError for two shapes.

    The 99.9th percentile is the smallest step that at least 99.9 % of the values do not exceed.
    """
    if first.shape != second.shape:
        raise ValueError(f"the profiles made {first.shape} and {second.shape}")
    counts = np.zeros(256, np.int64)
    for one, other in zip(first, second, strict=True):  # a frame at a time: clips may not fit into memory twice
        difference = np.abs(one.astype(np.int16) - other.astype(np.int16))
        counts += np.bincount(difference.ravel(), minlength=256)
    total = int(counts.sum())
    cumulated = np.cumsum(counts)
    p999 = int(np.searchsorted(cumulated, np.ceil(0.999 * total)))
    return ClipDifference(
        mean=float((counts * np.arange(256)).sum() / total / 255),
        p999=p999 / 255,
        maximum=float(np.flatnonzero(counts)[-1] / 255),
        changed=1 - float(counts[0] / total),
        n_frames=len(first),
    )


def certificate(
    name: str,
    profiles: Sequence[dict[str, Any]],
    inputs: dict[str, Any],
    difference: ClipDifference,
    fabricated: bool,
) -> dict[str, Any]:
    """What is stored: who was compared on what, the figures, the gate, and whether the weights were real."""
    return {
        "baseline": name,
        "profiles": list(profiles),
        "inputs": inputs,
        "difference": asdict(difference),
        "gate": {"mean": MEAN_GATE, "p999": P999_GATE},
        "passed": difference.passed,
        "fabricated_weights": fabricated,
    }


def digest(frames: np.ndarray) -> str:
    """SHA-256 of the pixels, frame by frame."""
    found = hashlib.sha256()
    for frame in frames:
        found.update(np.ascontiguousarray(frame).tobytes())
    return found.hexdigest()
