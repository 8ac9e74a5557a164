"""Synthetic people as photographs and drawings might show them: both pictures of a pair are changed alike.

Drawn heads are alike in what real ones differ in. A pair gets another background, other colours and light, another
framing and face (a smooth distortion), something in front of it, or the look of a drawing; the truth about its motion
follows. Nothing but random numbers goes in. R pixels, P points.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from floatbench.training.clips import TrainingClip
from floatbench.training.ground_truth import MOTION_NAMES, SPREAD

LOOKED_AT = 6
"""Frames of a clip that are compared to find what never moves."""
SAME = 1
"""Levels by which a pixel that does not move may differ."""
EDGE = 3
"""Pixels around what moves that keep the true background."""
CONTROL = 5
"""Points along a side from which the distortion is interpolated."""
_ROLL, _X, _Y = (MOTION_NAMES.index(name) for name in ("roll", "x", "y"))


def background(clips: tuple[TrainingClip, TrainingClip]) -> np.ndarray | None:
    """(R, R) uint8, 1 where no frame of the clips differs, as far as that reaches the border; None for still heads."""
    for clip in clips:
        if np.ptp(clip.truth["pose"], axis=0).max() < 1e-6:
            return None
    first = clips[0].frames[0]
    same = np.ones(first.shape[:2], bool)
    for clip in {clip.id: clip for clip in clips}.values():
        for at in np.linspace(0, len(clip.frames) - 1, LOOKED_AT).astype(int):
            same &= cv2.absdiff(clip.frames[at], first).max(-1) <= SAME
    parts = cv2.connectedComponents(same.astype(np.uint8), connectivity=4)[1]
    border = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    reaching = np.isin(parts, border[border > 0]).astype(np.uint8)
    return cv2.erode(reaching, np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8), borderValue=1)


def texture(rng: np.random.Generator, size: int) -> np.ndarray:
    """(R, R, 3) uint8: patches, clouds, stripes or grain of two to five sizes."""
    total = np.zeros((size, size, 3), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        cells = int(rng.choice((2, 3, 5, 9, 17, 33, 64)))
        shape = [(cells, cells), (1, cells), (cells, 1)][int(rng.choice(3, p=(0.7, 0.15, 0.15)))]
        small = rng.normal(0, 50, (*shape, 3 if rng.random() < 0.7 else 1)).astype(np.float32)
        kind = int(rng.choice((cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
        whole = cv2.resize(small, (size, size), interpolation=kind).reshape(size, size, -1)
        total += whole * (0.3 + rng.random())
    total += rng.uniform(20, 235, 3).astype(np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


@dataclass
class Variation:
    """One change of a pair, drawn from `rng`; the same for both pictures but for grain.

    Args:
        rng: decides everything. size: R.
    """

    rng: np.random.Generator
    size: int
    angle: float = field(init=False)

    def __post_init__(self) -> None:
        rng, size = self.rng, self.size
        self._behind = texture(rng, size) if rng.random() < 0.7 else None
        self._frame()
        self._colours()
        self._style = str(rng.choice(("none", "flat", "ink", "soft", "sketch"), p=(0.68, 0.08, 0.1, 0.06, 0.08)))
        self._levels = int(rng.integers(4, 10))
        self._ink = float(rng.uniform(0.5, 1.6))
        self._light = None
        if rng.random() < 0.5:
            small = rng.normal(1, 0.22, (3, 3, 3 if rng.random() < 0.3 else 1)).astype(np.float32)
            light = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC).reshape(size, size, -1)
            self._light = np.broadcast_to(np.clip(light, 0.35, 1.6), (size, size, 3))
        self._front = self._occluder() if rng.random() < 0.25 else None
        self._grain = float(rng.uniform(1, 5)) if rng.random() < 0.3 else 0.0

    def _frame(self) -> None:
        """Where the pixels come from: turned, stretched, moved and gently distorted."""
        rng, size = self.rng, self.size
        self.angle = float(rng.normal(0, 0.09))
        stretch = np.exp(rng.normal(0, 0.09)) * np.exp(rng.normal(0, 0.05, 2))
        turn = np.array([[np.cos(self.angle), -np.sin(self.angle)], [np.sin(self.angle), np.cos(self.angle)]])
        self._into = np.diag(1 / stretch) @ turn.T  # from the changed picture to the drawn one
        self._shift = rng.normal(0, 0.045, 2) * size
        self._centre = (size - 1) / 2
        small = rng.normal(0, 0.012 * size, (CONTROL, CONTROL, 2)).astype(np.float32)
        self._bend = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
        x, y = np.meshgrid(np.arange(size), np.arange(size))
        at = np.stack((x, y), -1) - self._centre - self._shift
        source = (at @ self._into.T + self._centre + self._bend).astype(np.float32)
        self._from = (np.ascontiguousarray(source[..., 0]), np.ascontiguousarray(source[..., 1]))

    def _colours(self) -> None:
        rng = self.rng
        mix = np.eye(3)
        grey = np.full((3, 3), 1 / 3)
        saturation = 0.0 if rng.random() < 0.15 else rng.uniform(0.3, 1.6)
        mix = saturation * mix + (1 - saturation) * grey
        if rng.random() < 0.3:  # other hues
            mix = (0.7 * np.eye(3)[rng.permutation(3)] + 0.3 * np.eye(3)) @ mix
        mix = np.diag(rng.uniform(0.75, 1.25, 3)) @ mix
        contrast, bright = rng.uniform(0.6, 1.4), rng.normal(0, 18)
        self._mix = np.concatenate([contrast * mix, np.full((3, 1), 127.5 * (1 - contrast) + bright)], 1)
        gamma = np.exp(rng.normal(0, 0.3))
        self._tone = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)

    def _occluder(self) -> tuple[np.ndarray, np.ndarray]:
        """Something in front, rather at the edge: its pixels and where it is."""
        rng, size = self.rng, self.size
        mask = np.zeros((size, size), np.uint8)
        turn = rng.uniform(0, 2 * np.pi)
        centre = size / 2 + size * rng.uniform(0.3, 0.55) * np.array([np.cos(turn), np.sin(turn)])
        axes = rng.uniform(0.05, 0.25, 2) * size
        if rng.random() < 0.5:
            box = cv2.boxPoints((tuple(centre), tuple(2 * axes), float(np.degrees(turn))))
            cv2.fillPoly(mask, [np.round(box).astype(np.int32)], 1)
        else:
            at, half = np.round(centre).astype(int), np.round(axes).astype(int)
            cv2.ellipse(mask, at.tolist(), half.tolist(), float(np.degrees(turn)), 0, 360, 1, -1)
        return texture(rng, size), mask[..., None] > 0

    def picture(self, picture: np.ndarray, still: np.ndarray | None) -> np.ndarray:
        """The changed picture (R, R, 3) uint8.

        Args:
            still: (R, R) of `background`; what it marks is replaced.
        """
        if self._behind is not None and still is not None:
            picture = np.where(still[..., None] > 0, self._behind, picture)
        made = cv2.remap(picture, *self._from, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
        made = cv2.LUT(cv2.transform(made, self._mix), self._tone)
        if self._light is not None:
            made = cv2.multiply(made, self._light, dtype=cv2.CV_8U)
        made = self._styled(made)
        if self._front is not None:
            made = np.where(self._front[1], self._front[0], made)
        if self._grain:
            noise = self.rng.normal(0, self._grain, made.shape).astype(np.float32)
            made = np.clip(made + noise, 0, 255).astype(np.uint8)
        return made

    def _styled(self, picture: np.ndarray) -> np.ndarray:
        """As a drawing: few tones, inked edges, soft, or lines alone."""
        if self._style == "none":
            return picture
        if self._style == "soft":
            return cv2.medianBlur(picture, 5)
        if self._style == "flat":
            step = 255 / self._levels
            return np.clip(np.round(picture / step) * step, 0, 255).astype(np.uint8)
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        lines = cv2.GaussianBlur(grey, (0, 0), 1.6) - cv2.GaussianBlur(grey, (0, 0), 0.7)
        lines = np.clip(self._ink * 6 * lines, 0, 200)[..., None]
        if self._style == "ink":
            return np.clip(picture - lines, 0, 255).astype(np.uint8)
        paper = 0.25 * grey[..., None] + 185 - lines
        return np.clip(np.repeat(paper, 3, -1), 0, 255).astype(np.uint8)

    def points(self, at: np.ndarray) -> np.ndarray:
        """Places (P, 2) in pixels of the drawn picture -> of the changed one."""
        back = np.linalg.inv(self._into)
        found = (at - self._centre) @ back.T + self._centre + self._shift
        for _ in range(3):  # the distortion is told at the changed place
            x, y = np.clip(np.round(found), 0, self.size - 1).astype(int).T
            found = (at - self._centre - self._bend[y, x]) @ back.T + self._centre + self._shift
        return found

    def tracks(self, tracks: np.ndarray) -> np.ndarray:
        """Surface points (P, 3) of the changed picture; those beyond its edge are not visible."""
        at = ((tracks[:, :2].astype(np.float64) + 1) * self.size - 1) / 2
        moved = (2 * self.points(at) + 1) / self.size - 1
        seen = tracks[:, 2] * (np.abs(moved) < 1).all(1)
        return np.concatenate([moved, seen[:, None]], 1).astype(np.float32)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (N, 4), fractions of the side, around the changed corners."""
        corners = boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 2) * self.size - 0.5
        moved = (self.points(corners).reshape(-1, 4, 2) + 0.5) / self.size
        return np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)

    def motion(self, motion: np.ndarray) -> np.ndarray:
        """True motion (M,) of a head seen turned: roll, and the directions of its shift."""
        found = motion * SPREAD
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x, y = found[_X], found[_Y]
        found[_ROLL] += self.angle  # both turn clockwise on the screen
        found[_X], found[_Y] = cos * x + sin * y, cos * y - sin * x  # y counts upwards here, downwards there
        return (found / SPREAD).astype(np.float32)
