"""How the content of one picture lies in another: scale and shift, found from points of both and without any weights.

SIFT points (Lowe 2004, https://doi.org/10.1023/B:VISI.0000029664.99615.94) are matched, and the similarity transform
on which most matches agree is taken (RANSAC); both are OpenCV's. What was measured with it is in docs/running.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

SIDE = 512
"""Width at which pictures are compared: small ones have too few points of their own size, large ones take long."""
POINTS = 2000
RATIO = 0.8
"""A match counts where the second nearest point is this much farther away (Lowe's ratio)."""
MOST_TURNED = 30
"""Degrees between matched points: crops are moved and scaled, never turned far."""
LARGEST_MISS = 0.01
"""How far a point may lie from where the transform puts it, as a share of the width."""
FEWEST = 10
"""Points of different places that must agree."""


@dataclass(frozen=True)
class Alignment:
    """Where the content of a picture lies beside a reference picture.

    Attributes:
        scale: its size as a share of the picture's width, over that in the reference; 1 in the same section.
        x, y: how far it lies to the right and below after scaling about the middle, as shares of the width.
        points: places that agree.
    """

    scale: float
    x: float
    y: float
    points: int

    @property
    def shift(self) -> float:
        """Length of the move, as a share of the width."""
        return math.hypot(self.x, self.y)


def align(picture: np.ndarray, reference: np.ndarray) -> Alignment | None:
    """How the content of `reference` lies in `picture`, both (H, W, 3) uint8 RGB of any size; None: not to be found.

    A picture of another aspect shows another section or is stretched: what more points agree on is taken.
    """
    before, after = _grey(reference), _grey(picture)
    found = [_similarity(before, after)]
    if before.shape != after.shape:
        found.append(_similarity(before, cv2.resize(after, before.shape[::-1], interpolation=cv2.INTER_AREA)))
    return max((one for one in found if one is not None), key=lambda one: one.points, default=None)


def _similarity(before: np.ndarray, after: np.ndarray) -> Alignment | None:
    pairs = _matches(before, after)
    if pairs.shape[1] < FEWEST:
        return None
    old, new = pairs
    matrix, agree = cv2.estimateAffinePartial2D(
        old, new, method=cv2.RANSAC, ransacReprojThreshold=LARGEST_MISS * SIDE, maxIters=5000, confidence=0.999
    )
    if matrix is None:
        return None
    kept = agree[:, 0] > 0
    points = min(_places(old[kept]), _places(new[kept]))
    if points < FEWEST:
        return None
    middle = np.array([before.shape[1] / 2, before.shape[0] / 2, 1.0])
    moved = (matrix @ middle - np.array([after.shape[1] / 2, after.shape[0] / 2])) / SIDE
    return Alignment(math.hypot(matrix[0, 0], matrix[1, 0]), float(moved[0]), float(moved[1]), points)


def _grey(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (SIDE, max(1, round(height * SIDE / width)))
    method = cv2.INTER_AREA if width > SIDE else cv2.INTER_CUBIC
    return cv2.cvtColor(cv2.resize(picture, size, interpolation=method), cv2.COLOR_RGB2GRAY)


def _matches(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(2, N, 2) float64: places of points in the one picture, and of those that they resemble in the other."""
    finder = cv2.SIFT.create(nfeatures=POINTS, contrastThreshold=0.02)
    old, one = finder.detectAndCompute(before, None)  # pyright: ignore[reportArgumentType] - no mask
    new, two = finder.detectAndCompute(after, None)  # pyright: ignore[reportArgumentType]
    if min(len(old), len(new)) < FEWEST:
        return np.empty((2, 0, 2))
    found = []
    for nearest, second in cv2.BFMatcher().knnMatch(one, two, k=2):
        a, b = old[nearest.queryIdx], new[nearest.trainIdx]
        turned = abs((b.angle - a.angle + 180) % 360 - 180)
        if nearest.distance < RATIO * second.distance and turned < MOST_TURNED:
            found.append((a.pt, b.pt))
    return np.array(found, np.float64).reshape(-1, 2, 2).transpose(1, 0, 2).copy()


def _places(points: Sequence[Sequence[float]] | np.ndarray) -> int:
    """Points that are more than one: several lie on one corner, and a false transform draws many onto one."""
    return len(np.unique(np.asarray(points) // (2 * LARGEST_MISS * SIDE), axis=0))
