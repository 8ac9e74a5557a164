"""The moving parts of a face, painted on the head's map: brows, eyes and mouth, from expression coefficients.

Each painter changes a small window of the maps in place. `x` and `y` are the rest position of the skin in head units;
`MapWindow` carries the colour (linear RGB), the height above the resting skin, the gloss and the light that reaches the
place (`open`, for the inside of a mouth).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from floatbench.synthetic.layers import Layers, step

Coefficients = dict[str, float]


@dataclass
class MapWindow:
    """A rectangle of the maps as views: changing them changes the maps."""

    x: np.ndarray
    y: np.ndarray
    colour: np.ndarray
    height: np.ndarray
    gloss: np.ndarray
    open: np.ndarray
    soft: float  # width of a soft edge, head units

    def edge(self, distance: np.ndarray) -> np.ndarray:
        """Coverage 0 .. 1 of the side where `distance` (head units) is positive."""
        return np.clip(distance * (1 / self.soft) + 0.5, 0, 1)

    def lay(self, mask: np.ndarray, colour: np.ndarray | tuple[float, float, float]) -> None:
        """Covers the mask with a colour, (3,) or one per texel."""
        self.colour += mask[..., None] * (np.asarray(colour, np.float32) - self.colour)


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    return np.power(np.maximum(base, 0), exponent)


def paint_brow(w: MapWindow, layers: Layers, c: Coefficients, side: int) -> None:
    """One eyebrow; side is -1 or 1 (picture's left or right)."""
    a, person = layers.anatomy, layers.person
    x = w.x * side
    inner, outer = a.eye_x - 0.185 - 0.035 * c["brow_knit"], a.eye_x + 0.215
    s = np.clip((x - inner) / (outer - inner), -0.2, 1.2)
    t = np.clip(s, 0, 1)
    line = a.brow_y + (0.035 + 0.02 * person["brow_arch"]) * np.sin(np.pi * _power(t, 0.85)) - 0.03 * t
    line += 0.075 * c["brow_raise"] + 0.085 * c["brow_inner"] * (1 - t) ** 2
    line -= c["brow_knit"] * (0.075 * (1 - t) ** 1.4 + 0.015)
    thick = (0.03 + 0.011 * person["brow_thickness"]) * (1 - 0.72 * t * t) * step(-0.12, 0.12, s)
    grain = np.sin(x * 190 + 70 * (w.y - line)) * 0.25 + np.sin(x * 97 - 50 * (w.y - line) + 1.3) * 0.25
    body = np.clip(1.25 - np.abs(w.y - line) / np.maximum(thick, 1e-4) + 0.5 * grain, 0, 1)
    body *= step(1.04, 0.92, s) * step(-0.06, 0.1, s) * (0.78 + 0.14 * person["brow_thickness"])
    w.lay(body, layers.hair_colour * 0.55 + 0.006)
    w.height += 0.008 * body
    crease = np.exp(-(((x - 0.055) / 0.013) ** 2) - ((w.y - a.brow_y + 0.02) / 0.07) ** 2)
    w.colour *= (1 - 0.42 * c["brow_knit"] * crease)[..., None]
    w.height -= 0.012 * c["brow_knit"] * crease


def paint_eye(w: MapWindow, layers: Layers, c: Coefficients, side: int) -> None:
    """One eye with lids, lashes, iris and highlight; side as in `paint_brow`."""
    a, person = layers.anatomy, layers.person
    across = w.x * side - a.eye_x
    y = w.y - a.eye_y - a.eye_tilt * across
    s = across / a.eye_w
    arc = np.clip(1 - s * s, 0, 1)
    low = -0.043 * _power(arc, 0.75) * (1 + 0.12 * s) + 0.02 * max(c["smile"], 0.0) * arc
    high_open = (0.068 + 0.006 * person["eye_size"]) * _power(arc, 0.62) * (1 - 0.1 * s)
    opening = float(np.clip(1 - c["lids"] - 0.12 * max(c["smile"], 0.0) - 0.15 * c["sneer"], 0, 1.5))
    high = low + 0.002 + (high_open - low) * opening
    ball = w.edge(high - y) * w.edge(y - low) * w.edge((1 - np.abs(s)) * a.eye_w)
    _lay_eyeball(w, layers, c, ball, across * side, y, s, high)
    inside = np.abs(s) < 1.1
    dark = layers.hair_colour * 0.3 + 0.006
    width = (0.0075 + 0.004 * max(person["femininity"], 0)) * (0.7 + 0.6 * step(-0.6, 0.9, s))
    lash = np.clip(1.2 - np.abs(y - high - 0.003) / width, 0, 1) * step(1.1, 0.96, np.abs(s))
    w.lay(lash * 0.92, dark)
    low_lash = np.clip(1.0 - np.abs(y - low + 0.002) / 0.006, 0, 1) * step(1.02, 0.85, np.abs(s))
    w.lay(low_lash * 0.38, dark)
    fold = high_open * (0.75 + 0.25 * opening) + 0.03 + 0.004 * s
    crease = np.exp(-(((y - fold) / 0.0095) ** 2)) * step(1.15, 0.6, np.abs(s)) * inside
    w.colour *= (1 - (0.26 + 0.12 * min(opening, 1.0)) * crease)[..., None]
    lid = step(0.0, 0.02, y - high) * step(0.03, 0.0, y - fold) * inside
    w.height += 0.010 * lid
    bag = np.exp(-(((y - low + 0.045) / 0.016) ** 2)) * step(1.1, 0.3, np.abs(s))
    w.colour *= (1 - 0.1 * bag)[..., None]
    w.gloss += ball * (0.95 - w.gloss)


def _lay_eyeball(w, layers, c, ball, x, y, s, high) -> None:
    white = np.array([0.70, 0.66, 0.63], np.float32) * (1 - 0.35 * s * s)[..., None]
    pink = np.exp(-(((s + 0.95) / 0.16) ** 2))[..., None]
    white = white * (1 - pink * np.array([0.1, 0.5, 0.45], np.float32))
    dx, dy = x - 0.05 * c["gaze_x"], y - 0.008 - 0.03 * c["gaze_y"]
    r = np.sqrt(dx * dx + dy * dy)
    radius = 0.064
    spokes = 1 + 0.16 * np.sin(np.arctan2(dy, dx) * 17) * step(0.02, 0.06, r)
    glow = (0.75 + 0.55 * step(0.0, -0.05, dy) + 0.2 * np.exp(-(((r - 0.034) / 0.012) ** 2))) * spokes
    iris = layers.iris_colour * (glow * (1 - 0.72 * step(0.047, radius, r)))[..., None]
    iris = iris * (1 - w.edge(0.027 - r))[..., None] + 0.004
    ring = w.edge(radius - r)[..., None]
    eye = white + ring * (iris - white)
    shadow = 0.42 + 0.58 * step(-0.002, 0.045, high - y)
    eye *= shadow[..., None]
    spot = w.edge(0.0125 - np.hypot(dx + 0.02, dy - 0.022)) + 0.35 * w.edge(0.008 - np.hypot(dx - 0.022, dy + 0.022))
    eye += 0.95 * np.clip(spot, 0, 1)[..., None]
    w.lay(ball, eye.astype(np.float32))


def paint_mouth(w: MapWindow, layers: Layers, c: Coefficients) -> None:
    """Lips, and behind them teeth, tongue and the dark of the mouth."""
    a, person = layers.anatomy, layers.person
    smile = max(c["smile"], 0.0)
    half = a.mouth_w * (1 + 0.24 * c["lip_width"] + 0.22 * smile - 0.42 * c["lip_round"] - 0.06 * c["jaw"])
    s = w.x / half
    arc = np.clip(1 - s * s, 0, 1)
    drop = JAW_DROP * c["jaw"]
    part = 1 - 0.97 * c["lip_press"]
    line = a.mouth_y + (0.08 * c["smile"] - 0.008) * np.minimum(s * s, 1.3) - 0.02 * smile
    up = (0.03 * c["jaw"] + 0.02 * c["lip_round"] + 0.022 * smile * min(1.0, 5 * c["jaw"]) + 0.02 * c["sneer"]) * part
    down = (0.94 * drop + 0.022 * c["lip_round"]) * part * (1 - 0.6 * c["lip_bite"])
    top = line + up * _power(arc, 0.75)
    low = line - down * _power(arc, 0.62)
    full = 1 + 0.38 * person["lip_fullness"]
    thick_u = 0.052 * full * (1 - 0.5 * c["lip_press"]) * (1 + 0.3 * c["lip_round"]) * (1 - 0.18 * smile)
    thick_l = 0.072 * full * (1 - 0.45 * c["lip_press"] - 0.5 * c["lip_bite"]) * (1 + 0.25 * c["lip_round"])
    bow = 0.22 * np.exp(-(((np.abs(s) - 0.2) / 0.15) ** 2)) - 0.12 * np.exp(-((s / 0.09) ** 2))
    rim_u = top + thick_u * _power(arc, 0.8) * (0.95 + bow)
    rim_l = low - thick_l * _power(arc, 0.58)
    sides = w.edge((1.0 - np.abs(s)) * half)
    lips = w.edge(rim_u - w.y) * w.edge(w.y - rim_l) * sides
    at_u = np.clip((w.y - top) / np.maximum(rim_u - top, 1e-3), 0, 1)
    at_l = np.clip((low - w.y) / np.maximum(low - rim_l, 1e-3), 0, 1)
    tone = np.where(w.y > line, 0.8 + 0.1 * at_u, 1.02 - 0.1 * at_l) * (1 + 0.05 * np.sin(w.x * 210))
    strength = lips * (0.86 - 0.3 * np.maximum(at_u, at_l) ** 3)
    w.lay(strength, layers.lip_colour * tone[..., None])
    pout = np.exp(-((w.x / (1.05 * half)) ** 2) - ((w.y - line + 0.5 * down) / (0.12 + 0.5 * down)) ** 2)
    w.height += 0.07 * c["lip_round"] * pout
    w.height += (
        lips
        * np.where(w.y > line, 0.026 * 4 * at_u * (1 - at_u), 0.036 * 4 * at_l * (1 - at_l))
        * full
        * _power(arc, 0.6)
    )
    below = np.exp(-(((w.y - rim_l + 0.03) / 0.03) ** 2)) * _power(arc, 0.8)
    w.colour *= (1 - 0.16 * below)[..., None]
    w.gloss += lips * 0.9
    _lay_inside(w, layers, c, (s, half, top + 0.0045, low - 0.0045, drop))


JAW_DROP = 0.2
"""How far the chin moves down at jaw = 1, head units."""


def _lay_inside(w: MapWindow, layers: Layers, c: Coefficients, mouth: tuple) -> None:
    s, half, top, low, drop = mouth
    hole = w.edge(top - w.y) * w.edge(w.y - low) * w.edge((0.985 - np.abs(s)) * half)
    depth = np.clip((top - w.y) / np.maximum(top - low, 1e-3), 0, 1)
    inside = np.array([0.085, 0.014, 0.012], np.float32) * (0.35 + 0.8 * depth)[..., None]
    x = np.abs(w.x)
    hidden = 1 - 0.75 * c["lip_round"]  # rounded lips leave the teeth in the dark
    tongue_y = low + 0.012 + (0.028 + 0.05 * c["tongue"]) * (0.3 + 0.7 * c["jaw"])
    tongue_h = 0.03 + 0.055 * c["jaw"] + 0.03 * c["tongue"]
    tongue = w.edge((1 - (w.x / (0.66 * half)) ** 2 - ((w.y - tongue_y) / tongue_h) ** 2) * tongue_h * 0.5)
    red = (
        np.array([0.36, 0.09, 0.085], np.float32)
        * (0.45 + 0.5 * step(0.0, 0.09, top - w.y) - 0.25 * np.exp(-((w.x / 0.012) ** 2)) * 0.6)[..., None]
    )
    inside = inside + tongue[..., None] * (red - inside)
    for edge, sign in (
        (layers.anatomy.mouth_y - 0.027 + 0.18 * x * x, 1),
        (layers.anatomy.mouth_y - 0.004 - 0.86 * drop, -1),
    ):
        width = 0.041 if sign > 0 else 0.032
        phase = x / width
        gap = np.abs(phase - np.round(phase)) * width  # distance to the nearest gap between two teeth
        tooth = w.edge(sign * (w.y - edge) - 0.012 * np.exp(-((gap / 0.007) ** 2))) * step(0.21, 0.17, x)
        light = (0.55 + 0.45 * step(0.0, 0.03, top - w.y)) * (1 - 1.9 * x) * (0.8 if sign < 0 else 1.0)
        enamel = (
            np.array([0.74, 0.70, 0.61], np.float32)
            * (light * hidden * (1 - 0.4 * np.exp(-((gap / 0.0035) ** 2))))[..., None]
        )
        inside = inside + tooth[..., None] * (np.maximum(enamel, 0.01) - inside)
    w.lay(hole, inside.astype(np.float32))
    w.height -= 0.02 * hole * (1 - s * s)
    w.gloss += hole * 0.4
    w.open *= 1 - 0.25 * hole
