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


Box = tuple[slice, slice]


def frame_of(surface: np.ndarray, turn: np.ndarray, shift: np.ndarray, size: int) -> Box:
    """Rows and columns of the picture that the surface points (N, 3) cover, a little enlarged."""
    at = project(surface, turn, shift, size)
    low = np.clip(np.floor(at.min(0)) - 4, 0, size - 12).astype(int)
    high = np.clip(np.ceil(at.max(0)) + 5, low + 12, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def products(ways: np.ndarray, points: np.ndarray, block: int = 8192) -> np.ndarray:
    """(W, 3) times (3, P), in blocks too small for the threads of BLAS, which wait longer than they work here."""
    out = np.empty((len(ways), points.shape[1]), np.float32)
    for start in range(0, points.shape[1], block):
        out[:, start : start + block] = ways @ points[:, start : start + block]
    return out


def _march(
    radius: np.ndarray, eye: np.ndarray, way: np.ndarray, t: np.ndarray, last: np.ndarray, steps: int
) -> tuple[np.ndarray, ...]:
    """Walks along the rays towards the surface; returns texel coordinates, path and gap to the surface."""
    n = radius.shape[0]
    half, gain = np.float32((n - 1) / 2), np.float32(n / (2 * EXTENT))
    x, y, z, length, scale, map_x, map_y = (np.empty_like(t) for _ in range(7))
    for step in range(steps):
        for out, start, ray in ((x, eye[0], way[0]), (y, eye[1], way[1]), (z, eye[2], way[2])):
            np.multiply(t, ray, out=out)
            out += start
        np.multiply(x, x, out=length)
        length += y * y
        length += z * z
        np.sqrt(length, out=length)
        np.multiply(length, np.float32(C), out=scale)
        scale += z
        np.divide(gain, scale, out=scale)
        np.multiply(x, scale, out=map_x)
        map_x += half
        np.multiply(y, scale, out=map_y)
        np.subtract(half, map_y, out=map_y)
        length -= cv2.remap(radius, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if step < steps - 1:
            t += np.float32(0.8) * length
            np.minimum(t, last, out=t)
    return map_x, map_y, t, length


def cast(radius: np.ndarray, turn: np.ndarray, shift: np.ndarray, size: int, box: Box) -> tuple[np.ndarray, ...]:
    """Where the rays of the pixels in `box` meet the star-shaped surface `radius` (N, N).

    A coarse pass on every third pixel finds the path but for its last part, three fine steps finish it.

    Returns:
        map_x, map_y: float32 texel coordinates of the crossing (or of the nearest miss), of the box's shape.
        alpha: float32, coverage of the pixel by the head.
    """
    eye = turn.T @ (np.array([0, 0, DISTANCE], np.float32) - shift)
    ray = rays(size)[:, box[0], box[1]]
    way = products(turn.T, ray.reshape(3, -1)).reshape(ray.shape)
    near = -np.tensordot(eye, way, 1)  # path to the point nearest to the origin
    last = near + np.float32(0.12)
    rough = (slice(None, None, 3), slice(None, None, 3))
    closest = np.maximum(np.float32(eye @ eye) - near[rough] ** 2, 0)
    t = near[rough] - np.sqrt(np.maximum(np.float32(1.3**2) - closest, 0))
    t = _march(radius, eye, np.ascontiguousarray(way[:, rough[0], rough[1]]), t, last[rough], 8)[2]
    rows, cols = near.shape
    row, col = np.mgrid[0:rows, 0:cols].astype(np.float32)
    t = cv2.remap(
        cv2.erode(t, np.ones((3, 3), np.uint8)), col / 3, row / 3, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
    )
    map_x, map_y, t, miss = _march(radius, eye, way, t, last, 4)
    pixel = 2 * HALF_VIEW / size
    alpha = np.clip(1 - miss * np.float32(1 / pixel), 0, 1)
    alpha[t < last - pixel] = 1  # on the way when the steps ran out: a steep flank, not a miss
    return map_x, map_y, alpha
