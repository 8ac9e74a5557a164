"""What does not move on a person: skin, hair, hair's volume, beard, freckles, and the surface they lie on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from floatbench.synthetic.identity import Identity
from floatbench.synthetic.shape import EXTENT, Anatomy, C, anatomy, directions, radius_map

_NOISE = 320
"""Side of the noise fields; fixed, so that a person's freckles do not depend on the size of the picture."""


@dataclass(frozen=True)
class Layers:
    """Static maps of one person, all (N, N) or (N, N, 3) float32, row 0 at the top; colours are linear light."""

    person: Identity
    anatomy: Anatomy
    way: np.ndarray  # unit directions
    radius: np.ndarray  # surface with hair
    albedo: np.ndarray
    gloss: np.ndarray
    hair: np.ndarray  # 0 skin .. 1 hair
    occlusion: np.ndarray  # 0 dark .. 1 open
    x: np.ndarray  # rest position of the skin
    y: np.ndarray
    z: np.ndarray
    hair_colour: np.ndarray
    skin_colour: np.ndarray
    lip_colour: np.ndarray
    iris_colour: np.ndarray


def step(edge0: float, edge1: float, x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at edge0 to 1 at edge1 (edge0 may be the larger)."""
    t = np.clip((x - edge0) * (1.0 / (edge1 - edge0)), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise (size, size) with standard deviation 1 and about `cells` blobs along a side."""
    field = cv2.resize(rng.standard_normal((cells, cells)).astype(np.float32), (_NOISE, _NOISE), interpolation=2)
    field /= field.std()
    return field if size == _NOISE else cv2.resize(field, (size, size), interpolation=1)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Linear RGB (3,) of a hue in turns."""
    turns = np.array([hue, hue - 1 / 3, hue - 2 / 3])
    wave = np.clip(np.abs((turns - np.floor(turns)) * 6 - 3) - 1, 0, 1)
    return (value * (1 - saturation + saturation * wave)).astype(np.float32)


def skin_colour(person: Identity) -> np.ndarray:
    """Linear RGB of the skin: four anchors from deep to fair, shifted warm or cool."""
    anchors = np.array([[0.11, 0.052, 0.03], [0.27, 0.14, 0.085], [0.47, 0.285, 0.195], [0.64, 0.44, 0.345]])
    at = (person["skin_tone"] * 0.5 + 0.5) * 3
    base = np.array([np.interp(at, range(4), anchors[:, c]) for c in range(3)])
    warm = person["skin_warmth"]
    return (base * np.array([1 + 0.03 * warm, 1, 1 - 0.1 * warm])).astype(np.float32)


def hair_colour(person: Identity) -> np.ndarray:
    """Linear RGB of the hair, from black over brown, red and blond to grey."""
    light = max(0.0, -person["hair_dark"] * 0.9 + 0.15 + 0.35 * person["skin_tone"])
    brown = np.array([0.02, 0.013, 0.01]) + light * np.array([0.3, 0.185, 0.085])
    red = np.array([1 + 0.5 * max(person["hair_warm"], 0), 1, 1 - 0.5 * max(person["hair_warm"], 0)])
    grey = float(np.clip(person["hair_grey"], 0, 1)) * 0.85
    return ((1 - grey) * brown * red + grey * np.array([0.34, 0.33, 0.32])).astype(np.float32)


def iris_colour(person: Identity) -> np.ndarray:
    """Linear RGB of the iris: brown, hazel, green, blue or grey."""
    hue = person["iris_hue"] - 0.5 * (1 - person["skin_tone"])
    stops = np.array(
        [[0.05, 0.02, 0.01], [0.12, 0.055, 0.02], [0.09, 0.11, 0.04], [0.06, 0.16, 0.25], [0.17, 0.23, 0.28]]
    )
    at = (np.clip(hue, -1, 1) * 0.5 + 0.5) * 4
    base = np.array([np.interp(at, range(5), stops[:, c]) for c in range(3)])
    return (base * (1 + 0.3 * person["iris_light"])).astype(np.float32)


def _hair_mask(person: Identity, p: np.ndarray, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Signed depth behind the hairline and the strand pattern."""
    x, y, z = p[..., 0], p[..., 1], p[..., 2]
    fringe = 0.2 * max(person["fringe"] - 0.3, 0.0)
    part = 0.12 * person["fringe"] * (person["fringe"] < 0)  # the parting lifts one side of the line
    front = 0.62 + 0.11 * person["hairline"] - fringe + part * np.cos((x - 0.25 * np.sign(part)) * 3.2) * 0.8
    temple = 0.10 * person["hairline"] * np.exp(-(((np.abs(x) - 0.38) / 0.14) ** 2))
    edge = 0.018 * noise(rng, size, 48) + 0.012 * noise(rng, size, 110)
    depth = (y - front - temple) + 0.84 * (0.70 - z) + edge
    depth = np.minimum(depth, 0.9 * (y + 0.12) + 2.2 * np.maximum(0.05 - z, -0.1) + edge + 0.35 * (z < -0.2))
    around = np.arctan2(x + 0.12 * person["fringe"] * (y - 0.4), z + 0.35)
    table = rng.standard_normal(1024).astype(np.float32)
    wave = 0.05 * noise(rng, size, 9)
    strands = np.interp((around + wave) * 110 % 1023, np.arange(1024), table)
    strands += 0.6 * np.interp((around + wave) * 260 % 1023, np.arange(1024), table)
    return depth.astype(np.float32), (strands / 1.2).astype(np.float32)


def _skin_albedo(person: Identity, a: Anatomy, p: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    x, y = np.abs(p[..., 0]), p[..., 1]
    skin = skin_colour(person)
    tone = 1 + 0.025 * noise(rng, size, 12) + 0.02 * noise(rng, size, 90)
    albedo = skin * tone[..., None]
    blush = 0.5 + 0.5 * person["blush"]
    red = np.exp(-(((x - 0.36) / 0.17) ** 2) - ((y + 0.22) / 0.15) ** 2) * (0.10 + 0.14 * blush)
    red += np.exp(-((x / 0.1) ** 2) - ((y - a.nose_y) / 0.1) ** 2) * (0.08 + 0.08 * blush)
    red += np.clip(x - 0.68, 0, 0.2) * 0.9  # ears
    albedo *= 1 - red[..., None] * np.array([0.05, 0.55, 0.5], np.float32)
    socket = np.exp(-(((x - a.eye_x) / 0.17) ** 2) - ((y - a.eye_y + 0.02) / 0.1) ** 2)
    albedo *= 1 - 0.16 * socket[..., None] * np.array([0.7, 1.0, 0.9], np.float32)
    spots = step(1.35, 1.9, noise(rng, size, 120)) * np.exp(-((x / 0.42) ** 2) - ((y + 0.15) / 0.2) ** 2)
    albedo *= 1 - max(person["freckles"], 0.0) * 0.5 * spots[..., None] * np.array([0.5, 0.8, 1.0], np.float32)
    nostril = np.exp(-(((x - 0.052) / 0.024) ** 2) - ((y - a.nose_y + 0.045) / 0.018) ** 2)
    return albedo * (1 - 0.8 * np.clip(nostril, 0, 1)[..., None])


def _beard(person: Identity, a: Anatomy, p: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Coverage of the beard, 0 .. 1; shadows of a shave below 0.3."""
    amount = (person["beard"] + 0.35) / 1.35
    if person["femininity"] > 0 or amount <= 0:
        return np.zeros((size, size), np.float32)
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    upper = a.mouth_y + 0.02 + 0.42 * np.clip(x - 0.26, 0, 1) * 2.0
    cheek = step(0.06, -0.06, y - upper) * step(-0.25, 0.05, z)
    moustache = step(0.34, 0.24, x) * step(a.mouth_y + 0.2, a.mouth_y + 0.13, y) * step(a.mouth_y, a.mouth_y + 0.05, y)
    region = np.clip(np.maximum(cheek, moustache), 0, 1)
    grain = 0.8 + 0.25 * noise(rng, size, 150) + 0.12 * noise(rng, size, 40)
    return np.clip(region * grain * amount * 0.95, 0, 0.95).astype(np.float32)


def build_layers(person: Identity, size: int) -> Layers:
    """Static maps of one person at a texture side of `size`."""
    a = anatomy(person)
    way = directions(size)
    bare = radius_map(person, size)
    p = way * bare[..., None]
    rng = person.rng("skin")
    depth, strands = _hair_mask(person, p, rng, size)
    hair = step(-0.03, 0.05, depth + 0.016 * strands)
    albedo = _skin_albedo(person, a, p, rng, size)
    beard = _beard(person, a, p, rng, size)
    shade = hair_colour(person)
    albedo += (beard * (1 + 0.0 * hair))[..., None] * (shade * 0.9 + 0.004 - albedo)
    strand_colour = shade * np.clip(1 + 0.26 * strands - 0.25 * step(0.1, 0.0, depth), 0.3, 2)[..., None]
    albedo += hair[..., None] * (strand_colour - albedo)
    volume = 0.085 + 0.05 * person["hair_volume"]
    radius = bare + volume * step(-0.02, 0.32, depth) + 0.014 * hair + 0.0022 * strands * hair
    radius += 0.004 * beard * (1 + noise(rng, size, 150))
    smooth = cv2.GaussianBlur(radius, (0, 0), size * 0.016)
    occlusion = np.clip(1 - 7.0 * np.maximum(smooth - radius - 0.002, 0), 0.35, 1)
    gloss = 0.9 + 0.5 * np.exp(-((p[..., 0] / 0.12) ** 2)) - 0.75 * np.clip(hair + beard, 0, 1)
    lips = skin_colour(person) * np.array([0.98, 0.52, 0.5], np.float32) + np.array([0.02, 0, 0.005], np.float32)
    pink = max(person["lip_colour"], 0.0) * (0.25 + 0.35 * (person["femininity"] > 0))
    lips = (1 - pink) * lips + pink * np.array([0.42, 0.06, 0.08], np.float32)
    return Layers(
        person, a, way, radius.astype(np.float32), albedo.astype(np.float32), gloss.astype(np.float32), hair,
        occlusion.astype(np.float32), p[..., 0], p[..., 1], p[..., 2], shade, skin_colour(person),
        lips.astype(np.float32), iris_colour(person),
    )  # fmt: skip


def texel(x: float, y: float, z: float, size: int) -> tuple[float, float]:
    """Column and row of a head point on a map of side `size`."""
    scale = size / (2 * EXTENT) / (C * float(np.sqrt(x * x + y * y + z * z)) + z)
    return (size - 1) / 2 + x * scale, (size - 1) / 2 - y * scale
