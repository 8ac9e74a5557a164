"""Around the head: background, neck and shoulders, long hair behind, and spectacles."""

from __future__ import annotations

import cv2
import numpy as np

from floatbench.synthetic.camera import HALF_VIEW, project, rays
from floatbench.synthetic.identity import Identity
from floatbench.synthetic.skin import hair_colour, hsv, noise, skin_colour, step


def light_direction(person: Identity) -> np.ndarray:
    """Unit vector (3,) towards the main light, camera coordinates."""
    side = 0.75 * person["light_side"]
    way = np.array([side + (0.25 if side >= 0 else -0.25), 0.55 + 0.3 * person["light_height"], 0.85])
    return (way / np.linalg.norm(way)).astype(np.float32)


def light_colour(person: Identity) -> np.ndarray:
    """Colour of the main light (3,)."""
    warm = person["light_warmth"]
    return np.array([1 + 0.06 * warm, 1.0, 1 - 0.1 * warm], np.float32)


def _plane(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) * HALF_VIEW
    x, y = np.meshgrid(axis, -axis)
    return x, y


def background(person: Identity, size: int) -> np.ndarray:
    """An out-of-focus wall with soft lights, (size, size, 3) linear."""
    rng = person.rng("background")
    x, y = _plane(size)
    base = hsv(person["back_hue"], 0.35 + 0.2 * float(rng.random()), 0.10 + 0.22 * (person["back_light"] * 0.5 + 0.5))
    other = hsv(person["back_hue"] + 0.12 * float(rng.standard_normal()), 0.4, 0.05 + 0.1 * float(rng.random()))
    angle = float(rng.uniform(-1, 1))
    mix = step(-1.6, 1.6, x * np.sin(angle) + y * np.cos(angle))[..., None]
    picture = other + mix * (base - other)
    for _ in range(int(rng.integers(3, 8))):
        cx, cy, r = rng.uniform(-1.5, 1.5), rng.uniform(-0.6, 1.5), rng.uniform(0.12, 0.4)
        glow = hsv(person["back_hue"] + float(rng.uniform(-0.1, 0.25)), 0.4, float(rng.uniform(0.04, 0.16)))
        picture = picture + step(r, 0.6 * r, np.hypot(x - cx, y - cy))[..., None] * glow
    halo = np.exp(-((x / 1.1) ** 2) - ((y / 1.2) ** 2))[..., None]
    picture = picture * (0.72 + 0.4 * halo)
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), size * 0.012)


def body(person: Identity, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Neck and shoulders: colour (size, size, 3) linear, coverage (size, size)."""
    x, y = _plane(size)
    soft = 2 * HALF_VIEW / size
    rng = person.rng("body")
    wide = 0.33 - 0.045 * person["femininity"]
    way = light_direction(person)
    neck_w = wide + 0.05 * step(-0.95, -1.35, y) + 0.02 * step(-0.9, -0.6, y)
    nx = np.clip(x / neck_w, -0.999, 0.999)
    lit = np.clip(nx * way[0] + np.sqrt(1 - nx * nx) * way[2], 0, 1) * 0.72 + 0.12
    shadow = 0.28 + 0.72 * step(-0.85, -1.35, y + 0.12 * x * way[0])
    tendon = 1 - 0.08 * np.exp(-(((np.abs(x) - 0.14 + 0.1 * (y + 1.3)) / 0.03) ** 2))
    neck = skin_colour(person) * (lit * shadow * tendon)[..., None]
    slope = -1.19 - 0.1 * person["femininity"] - 0.24 * np.maximum(np.abs(x) - neck_w * 0.9, 0) ** 0.75
    ny = np.clip((y - slope) / -0.5, 0, 1)
    cloth = hsv(person["shirt_hue"], 0.55, 0.09 + 0.3 * (person["shirt_light"] * 0.5 + 0.5) ** 2)
    folds = 1 + 0.07 * noise(rng, size, 10) * ny
    shirt_lit = (0.3 + 0.5 * np.clip(way[1] * (1 - ny) + way[2] * ny + 0.35 * way[0] * x, 0, 1.2)) * folds
    shirt = cloth * shirt_lit[..., None]
    collar = -1.3 - 0.05 * float(rng.random()) + (0.5 + 0.4 * float(rng.random())) * x * x
    cloth_mask = np.clip((slope - y) / soft + 0.5, 0, 1) * np.clip((collar - y + 0.0) / soft + 0.5, 0, 1)
    cloth_mask = np.maximum(
        cloth_mask, np.clip((slope - y) / soft + 0.5, 0, 1) * step(neck_w[0, 0] + 0.06, neck_w[0, 0] + 0.09, np.abs(x))
    )
    hem = np.exp(-(((y - collar + 0.025) / 0.012) ** 2))
    shirt *= (1 - 0.25 * hem)[..., None]
    neck_mask = np.clip((neck_w - np.abs(x)) / soft + 0.5, 0, 1) * step(-0.3, -0.4, y)
    neck_mask = np.maximum(neck_mask, np.clip((slope - y) / soft + 0.5, 0, 1))
    colour = neck + cloth_mask[..., None] * (shirt - neck)
    return colour.astype(np.float32), np.maximum(neck_mask, cloth_mask).astype(np.float32)


def hair_behind(
    person: Identity, turn: np.ndarray, shift: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Long hair behind the head: colour and coverage, or None for short hair."""
    length = person["hair_length"]
    if length < 0.05:
        return None
    centre = np.array([0, 0.25 - 0.42 * length, -0.42], np.float32)
    radii = np.array([0.86 + 0.07 * person["hair_volume"], 0.85 + 0.45 * length, 0.5], np.float32)
    eye = turn.T @ (np.array([0, 0, 7.0], np.float32) - shift) - centre
    ray = np.tensordot(turn.T, rays(size), 1)
    o, d = eye / radii, ray / radii[:, None, None]
    a = (d * d).sum(0)
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    gap = b * b - a * (float(o @ o) - 1)
    root = np.sqrt(np.maximum(gap, 0))
    t = (-b - root) / a
    n = (o[:, None, None] + t * d) / radii[:, None, None]
    n /= np.sqrt((n * n).sum(0))
    around = np.arctan2(n[0], n[2] + 0.3)
    table = person.rng("hair-behind").standard_normal(256).astype(np.float32)
    fine = np.interp(np.arange(1024) / 4, np.arange(256), table).astype(np.float32)
    strands = fine[(around * 180).astype(np.int32) & 1023]
    way = turn.T @ light_direction(person)
    lit = 0.25 + 0.5 * np.clip(n[0] * way[0] + n[1] * way[1] + n[2] * way[2], 0, 1)
    colour = hair_colour(person) * (lit * np.clip(1 + 0.3 * strands, 0.4, 1.8))[..., None]
    closest = np.sqrt(np.maximum((float(o @ o)) - b * b / a, 0))  # in units of the ellipsoid
    pixel = 2 * HALF_VIEW / size
    return colour.astype(np.float32), np.clip(0.5 + (1 - closest) * 0.9 / pixel, 0, 1).astype(np.float32)


def wears_glasses(person: Identity) -> bool:
    return person["glasses"] > 0.45


def draw_glasses(
    picture: np.ndarray, person: Identity, turn: np.ndarray, shift: np.ndarray, eye: tuple[float, float]
) -> None:
    """Spectacles over a linear picture (size, size, 3), in place; `eye` is (x, y) of the right pupil at rest."""
    size = picture.shape[0]
    rng = person.rng("glasses")
    square = float(rng.uniform(2.2, 4.5))
    w, h = float(rng.uniform(0.2, 0.235)), float(rng.uniform(0.15, 0.19))
    metal = float(rng.random()) < 0.4
    colour = hsv(float(rng.random()), 0.3 if metal else 0.6, float(rng.uniform(0.02, 0.22)))
    angle = np.linspace(0, 2 * np.pi, 49)
    cx = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / square) * w
    cy = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** (2 / square) * h
    mask = np.zeros((size, size), np.uint8)
    glass = np.zeros((size, size), np.uint8)
    thick = max(1, round(size * (0.006 if metal else 0.011)))
    facing = turn[2, 0]  # how far the head's right side turns towards the camera
    for side in (-1, 1):
        ring = np.stack([side * (eye[0] + cx), eye[1] - 0.012 + cy, 0.86 - 0.55 * (eye[0] + cx - 0.2) ** 2], -1)
        at = _fixed(project(ring.astype(np.float32), turn, shift, size))
        cv2.fillPoly(glass, [at], 255, cv2.LINE_AA, 4)
        cv2.polylines(mask, [at], True, 255, thick, cv2.LINE_AA, 4)
        if side * facing > -0.32:  # the arm on the far side is hidden by the head
            arm = np.array([[side * (eye[0] + w), eye[1] + 0.03, 0.8], [side * 0.79, eye[1] + 0.04, 0.1]], np.float32)
            cv2.polylines(mask, [_fixed(project(arm, turn, shift, size))], False, 255, thick, cv2.LINE_AA, 4)
    bridge = np.array(
        [[x, eye[1] + 0.02 + 0.03 * (1 - (x / 0.1) ** 2), 0.885] for x in np.linspace(-1, 1, 9) * (eye[0] - w)]
    )
    cv2.polylines(
        mask, [_fixed(project(bridge.astype(np.float32), turn, shift, size))], False, 255, thick, cv2.LINE_AA, 4
    )
    glare = (np.float32(1 / 255) * glass)[..., None]
    x, y = _plane(size)
    streak = step(0.05, 0.0, np.abs((x + y * 0.8) % 0.62 - 0.2))[..., None]
    picture += glare * (0.012 + 0.03 * streak)
    picture += (np.float32(1 / 255) * mask)[..., None] * (colour - picture)


def _fixed(points: np.ndarray) -> np.ndarray:
    """Points in sixteenths of a pixel, as OpenCV's drawing takes them."""
    return np.round(points * 16).astype(np.int32).reshape(-1, 1, 2)
