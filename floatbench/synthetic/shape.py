"""The resting head as a star-shaped surface: ellipsoids joined smoothly, sampled once per person.

Head units: the origin lies between the ears, x to the picture's right, y up, z towards the camera; a head is about 2.2
units high. A direction is stored at ``(u, v) = (x, y) / (C + z)`` of its unit vector, which spends most texels on
the face and reaches to the nape.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from floatbench.synthetic.identity import Identity

C = 1.6
"""Constant of the projection; larger values spend more texels on the face."""
EXTENT = 0.79
"""The map covers u and v in [-EXTENT, EXTENT]."""

_GRID = 160
"""Side of the grid on which a head is sculpted; larger maps are interpolated from it."""


def directions(size: int) -> np.ndarray:
    """Unit vectors (size, size, 3) float32 of the texels, row 0 at the top; beyond the rim they stay at the rim."""
    axis = (np.arange(size, dtype=np.float64) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(axis * EXTENT, -axis * EXTENT)
    rho = np.hypot(u, v)
    limit = 0.7999  # the projection's rim: sin / (C + cos) has its maximum 0.8006 at cos = -1 / C
    scale = np.minimum(1.0, limit / np.maximum(rho, 1e-9))
    rho = np.minimum(rho, limit)
    # sin t = rho (C + cos t), solved for cos t on the near branch
    cosine = (-C * rho**2 + np.sqrt(np.maximum(1 + rho**2 - C**2 * rho**2, 0))) / (1 + rho**2)
    factor = scale * (C + cosine)
    return np.stack([u * factor, v * factor, cosine], -1).astype(np.float32)


@dataclass(frozen=True)
class Anatomy:
    """Places of the features in head units, from an identity."""

    eye_x: float
    eye_y: float
    eye_w: float
    eye_tilt: float
    brow_y: float
    mouth_y: float
    mouth_w: float
    nose_y: float
    chin_y: float


def anatomy(person: Identity) -> Anatomy:
    """Feature places of one person."""
    length = 1 + 0.07 * person["face_length"]
    eye_y = 0.03 + 0.03 * person["eye_height"]
    eye_w = 0.152 * (1 + 0.13 * person["eye_size"])
    return Anatomy(
        eye_x=0.285 + 0.03 * person["eye_spacing"],
        eye_y=eye_y,
        eye_w=eye_w,
        eye_tilt=0.1 * person["eye_tilt"],
        brow_y=eye_y + 0.165 + 0.02 * person["brow_arch"],
        mouth_y=(-0.53 + 0.03 * person["mouth_height"]) * length,
        mouth_w=0.235 * (1 + 0.14 * person["mouth_width"]),
        nose_y=(-0.27 - 0.045 * person["nose_length"]) * length,
        chin_y=-0.9 * length,
    )


Point = tuple[float, float, float]


def _ellipsoid(p: np.ndarray, centre: Point, radii: Point) -> np.ndarray:
    first, second = np.zeros_like(p[0]), np.zeros_like(p[0])
    for axis, middle, radius in zip(p, centre, radii, strict=True):
        q = (axis - np.float32(middle)) * np.float32(1 / radius)
        q *= q
        first += q
        second += q * np.float32(1 / radius**2)
    first = np.sqrt(first)
    return first * (first - 1) / np.maximum(np.sqrt(second), 1e-6)


def _capsule(p: np.ndarray, a: Point, b: Point, ra: float, rb: float) -> np.ndarray:
    axis = np.asarray(b, np.float32) - np.asarray(a, np.float32)
    rest = [x - np.float32(start) for x, start in zip(p, a, strict=True)]
    along = np.clip(sum(x * way for x, way in zip(rest, axis, strict=True)) / float(axis @ axis), 0, 1)
    off = sum((x - along * way) ** 2 for x, way in zip(rest, axis, strict=True))
    return np.sqrt(off) - (ra + (rb - ra) * along)


def _join(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Smooth union; k is the width of the blend."""
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def _carve(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Smooth difference a minus b."""
    return -_join(-a, b, k)


def _distance(p: np.ndarray, person: Identity, a: Anatomy) -> np.ndarray:
    """Signed distance (about) of points (3, N), all in the right half, to the resting head without hair."""
    width = 1 + 0.05 * person["head_width"]
    jaw = 1 + 0.15 * person["jaw_width"]
    d = _ellipsoid(p, (0, 0.27, -0.14), (0.77 * width, 0.84, 0.95))
    d = _join(d, _ellipsoid(p, (0, -0.16, 0.12), (0.615 * width, 0.79, 0.66)), 0.14)
    d = _join(d, _ellipsoid(p, (0, a.chin_y + 0.34, 0.18), (0.43 * jaw, 0.37, 0.46)), 0.13)
    chin_r = 0.15 + 0.03 * person["chin"]
    d = _join(d, _ellipsoid(p, (0, a.chin_y + 0.12, 0.5), (chin_r * 1.25, chin_r, 0.17)), 0.14)
    d = _join(d, _ellipsoid(p, (0.36, -0.2, 0.48), (0.2, 0.2, 0.2 + 0.04 * person["cheeks"])), 0.2)
    d = _join(d, _ellipsoid(p, (0, a.mouth_y, 0.56), (0.25, 0.2, 0.23)), 0.14)
    ridge = 0.13 + 0.025 * person["brow_ridge"]
    d = _join(d, _ellipsoid(p, (0.22, a.brow_y - 0.01, 0.63), (0.28, 0.07, ridge)), 0.14)
    d = _carve(d, _ellipsoid(p, (a.eye_x, a.eye_y, 1.0), (0.2, 0.13, 0.24)), 0.14)
    d = _join(d, _ellipsoid(p, (a.eye_x, a.eye_y, 0.575), (0.165, 0.15, 0.165)), 0.05)
    depth = 0.04 * person["nose_depth"]
    wide = 1 + 0.2 * person["nose_width"]
    tip = (0.0, a.nose_y + 0.03, 0.86 + depth)
    d = _join(d, _capsule(p, (0, a.eye_y + 0.1, 0.66), tip, 0.055, 0.075 * wide), 0.1)
    d = _join(d, _ellipsoid(p, tip, (0.095 * wide, 0.08, 0.095)), 0.08)
    d = _join(d, _ellipsoid(p, (0.095 * wide, a.nose_y + 0.005, 0.76 + 0.5 * depth), (0.055, 0.05, 0.08)), 0.075)
    d = _carve(d, _ellipsoid(p, (0, a.mouth_y + 0.15, 0.84), (0.025, 0.06, 0.045)), 0.06)  # philtrum
    ear = 0.755 * width + 0.015 * person["ears"]
    d = _join(d, _ellipsoid(p, (ear, 0.0, -0.08), (0.085 + 0.015 * person["ears"], 0.19, 0.12)), 0.06)
    return d


def radius_map(person: Identity, size: int) -> np.ndarray:
    """Distance of the resting skin from the origin in every stored direction, (size, size) float32.

    Walks from outside to the surface by sphere tracing along the direction, for one half of the symmetric head.
    """
    a = anatomy(person)
    way = np.ascontiguousarray(directions(_GRID)[:, _GRID // 2 :].reshape(-1, 3).T)
    radius = np.full(way.shape[1], 1.3, np.float32)
    for _ in range(14):
        radius -= 0.9 * _distance(way * radius, person, a).astype(np.float32)
    half = radius.reshape(_GRID, _GRID // 2)
    whole = cv2.GaussianBlur(np.concatenate([half[:, ::-1], half], 1), (0, 0), 0.9)
    return np.maximum(cv2.resize(whole, (size, size), interpolation=cv2.INTER_CUBIC), 0.3)
