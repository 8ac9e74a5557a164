"""How sharp and of what colour the parts of a picture are, kept small enough to be asked about any box later.

The statistics of a 16 x 16 grid are kept, so that a measure can look at the face's box without another pass of the
network that finds it, and at the whole picture where nobody has looked for a face.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics.base import Backbone
from floatbench.types import ClipMedia, Features

GRID = 16
"""Tiles on either side."""
EVERY = 5
"""Every fifth frame is looked at: what drifts takes seconds."""


class PictureTiles(Backbone):
    """Features of every fifth frame, for each of 16 x 16 tiles.

    `laplacian` (n, 16, 16, 2) float32: mean and mean square of the Laplacian (four neighbours) of the grey picture in
    levels of 255, at the picture's own size. `lab` (n, 16, 16, 3) float32: mean CIE L*a*b* (D65). `frames` (1,) int32.
    """

    id = "picture-tiles"
    on_device = False

    def settings(self) -> dict[str, Any]:
        return {"grid": GRID, "every": EVERY, "version": 1}

    def load(self, device: str = "cpu") -> None:
        """Nothing to load."""

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `empty` for a clip without frames."""
        if clip.n_frames == 0:
            raise ClipError("empty")
        rows = [_tiles(frame) for frame in clip.frames[::EVERY]]
        laplacian, lab = (np.stack(part) for part in zip(*rows, strict=True))
        return {"laplacian": laplacian, "lab": lab, "frames": np.array([clip.n_frames], np.int32)}


def _tiles(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(16, 16, 2) and (16, 16, 3) of one (H, W, 3) uint8 RGB frame."""
    edges = cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F, ksize=1)
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return _means(np.dstack([edges, edges * edges])), _means(lab)


def _means(values: np.ndarray) -> np.ndarray:
    """(16, 16, c) means of an (H, W, c) array over tiles whose borders may cut pixels."""
    return np.asarray(cv2.resize(values, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32)


def shares(boxes: np.ndarray) -> np.ndarray:
    """(n, 16, 16) share of each tile in (n, 4) boxes left, top, right, bottom in fractions; each box sums to 1.

    A box outside of the picture has no share in any tile: its row is 0.
    """
    borders = np.arange(GRID) / GRID
    along = []
    for low, high in ((boxes[:, 1], boxes[:, 3]), (boxes[:, 0], boxes[:, 2])):
        inside = np.minimum(high[:, None], borders + 1 / GRID) - np.maximum(low[:, None], borders)
        along.append(inside.clip(0))
    area = along[0][:, :, None] * along[1][:, None, :]
    whole = area.sum(axis=(1, 2), keepdims=True)
    return np.divide(area, whole, out=np.zeros_like(area), where=whole > 0)


def sharpness(features: Features, weights: np.ndarray) -> np.ndarray:
    """(n,) variance of the Laplacian over the tiles with these (n, 16, 16) shares."""
    mean, square = np.einsum("nyx,nyxc->cn", weights, features["laplacian"].astype(np.float64))
    return np.maximum(square - mean**2, 0.0)


def colour(features: Features, weights: np.ndarray) -> np.ndarray:
    """(n, 3) mean L*a*b* over the tiles with these (n, 16, 16) shares."""
    return np.einsum("nyx,nyxc->nc", weights, features["lab"].astype(np.float64))
