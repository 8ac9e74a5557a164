"""One perspective camera, the head's rotation, and the first crossing of every pixel's ray with the head."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from floatbench.synthetic.shape import EXTENT, C

DISTANCE = 7.0
"""Camera to origin, head units."""
HALF_VIEW = 1.4
"""Half of the picture's side at the origin's depth, head units."""


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Head to camera rotation (3, 3): roll about z after pitch about x after yaw about y; see POSE for the signs."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, -pitch, -roll) for f in (np.cos, np.sin))
    around_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    around_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    around_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return (around_z @ around_x @ around_y).astype(np.float32)


def project(points: np.ndarray, turn: np.ndarray, shift: np.ndarray, size: int) -> np.ndarray:
    """Pixel coordinates (N, 2) of head points (N, 3); pixel centres are at whole numbers."""
    q = points @ turn.T + shift
    scale = size / (2 * HALF_VIEW) * DISTANCE / (DISTANCE - q[:, 2])
    return np.stack([(size - 1) / 2 + q[:, 0] * scale, (size - 1) / 2 - q[:, 1] * scale], -1)


@lru_cache(maxsize=4)
def rays(size: int) -> np.ndarray:
    """Unit directions (3, size, size) of the pixels' rays in camera coordinates."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * (HALF_VIEW / DISTANCE)
    x, y = np.meshgrid(axis, -axis)
    ray = np.stack([x, y, -np.ones_like(x)])
    return ray / np.sqrt((ray * ray).sum(0))


def cast(radius: np.ndarray, turn: np.ndarray, shift: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Where the pixels' rays meet the star-shaped surface `radius` (N, N).

    Returns:
        map_x, map_y: (size, size) float32 texel coordinates of the crossing (or of the nearest miss).
        alpha: (size, size) float32, coverage of the pixel by the head.
    """
    n = radius.shape[0]
    eye = turn.T @ (np.array([0, 0, DISTANCE], np.float32) - shift)
    dx, dy, dz = np.tensordot(turn.T, rays(size), 1)
    near = -(eye[0] * dx + eye[1] * dy + eye[2] * dz)  # path to the point nearest to the origin
    closest = np.sqrt(np.maximum(float(eye @ eye) - near * near, 0))
    last = near + 0.12
    t = near - np.sqrt(np.maximum(1.3**2 - closest * closest, 0))
    half, gain = (n - 1) / 2, n / (2 * EXTENT)
    for step in range(9):
        x, y, z = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
        length = np.sqrt(x * x + y * y + z * z)
        scale = gain / (C * length + z)
        map_x, map_y = half + x * scale, half - y * scale
        surface = cv2.remap(radius, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        miss = length - surface
        if step < 8:
            t = np.minimum(t + 0.8 * miss, last)
    pixel = 2 * HALF_VIEW / size
    alpha = np.clip(1.0 - miss / pixel, 0, 1)
    alpha[t < last - pixel] = 1  # on the way when the steps ran out: a steep flank, not a miss
    return map_x, map_y, alpha
