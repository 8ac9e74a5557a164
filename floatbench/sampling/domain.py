"""How unlike a picture is to the people a model was trained on, by what its encoder makes of it.

distance = sqrt(mean_i (W (s_r - m))_i^2), with m the mean of the training people's identity latents and W what makes
these latents uncorrelated with unit spread: about 1 for the people it was fitted to. D latent, N people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

RIDGE = 0.01
"""Added to the variance of every principal axis, as a share of their mean: axes without spread say little."""
QUANTILE = 0.99
"""Of the distances of people that were kept back: what lies beyond is unfamiliar."""
DIGITS = 5


@dataclass(frozen=True)
class Domain:
    """The people a model knows.

    Attributes:
        mean: (D,). whiten: (D, D). limit: the distance up to which a picture is familiar.
    """

    mean: np.ndarray
    whiten: np.ndarray
    limit: float

    @classmethod
    def fitted(cls, known: np.ndarray, kept_back: np.ndarray) -> Self:
        """From identity latents (N, D) of training people, and of people kept back for the limit."""
        mean = known.mean(0, dtype=np.float64)
        variance, axes = np.linalg.eigh(np.cov(known.T.astype(np.float64)))
        whiten = (axes / np.sqrt(variance.clip(0) + RIDGE * variance.mean())).T
        limit = float(np.quantile(_distances(kept_back, mean, whiten), QUANTILE))
        return cls(_rounded(mean), _rounded(whiten), round(limit, DIGITS))

    def distance(self, latent: np.ndarray) -> float:
        """Of one identity latent (D,)."""
        return float(_distances(latent[None], self.mean, self.whiten)[0])

    def pulled(self, latent: np.ndarray) -> np.ndarray:
        """The latent (D,) drawn towards the mean until it lies at the limit; a familiar one stays as it is.

        What a decoder makes of a latent far from all it was trained on is a wreck; at the edge it still knows heads.
        """
        distance = self.distance(latent)
        if distance <= self.limit:
            return latent
        return (self.mean + (latent - self.mean) * (self.limit / distance)).astype(latent.dtype)

    def note(self, distance: float) -> str | None:
        """What a user should know of a picture at that distance; None for a familiar one."""
        if distance <= self.limit:
            return None
        return (
            f"the picture is unlike the people this model was trained on (distance {distance:.2f}, theirs up to "
            f"{self.limit:.2f}): its mouth and head may move wrongly"
        )

    def record(self) -> dict[str, Any]:
        """JSON types, for a checkpoint's notes."""
        return {"mean": self.mean.tolist(), "whiten": self.whiten.tolist(), "limit": self.limit}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """The inverse of `record`."""
        return cls(np.array(record["mean"]), np.array(record["whiten"]), float(record["limit"]))


def _distances(latents: np.ndarray, mean: np.ndarray, whiten: np.ndarray) -> np.ndarray:
    return np.sqrt((((latents - mean) @ whiten.T) ** 2).mean(1))


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """To DIGITS significant digits, so that a file's notes stay short."""
    return np.array([float(f"{value:.{DIGITS}g}") for value in numbers.ravel()]).reshape(numbers.shape)
