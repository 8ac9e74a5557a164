"""Pictures of a synthetic person from pose and expression: paint the head's map, light it, cast it on the screen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import lru_cache

import cv2
import numpy as np

from floatbench.errors import UsageError
from floatbench.synthetic import scene
from floatbench.synthetic.camera import HALF_VIEW, cast, frame_of, products, rotation
from floatbench.synthetic.expression import EXPRESSION
from floatbench.synthetic.identity import Identity, make_identity
from floatbench.synthetic.layers import build_layers, step, texel
from floatbench.synthetic.paint import JAW_DROP, Coefficients, MapWindow, paint_brow, paint_eye, paint_mouth
from floatbench.synthetic.shape import EXTENT, C

MIN_SIZE, MAX_SIZE = 64, 512
_GAMMA = np.round(255 * np.power(np.linspace(0, 1, 4097), 1 / 2.2)).astype(np.uint8)


def check_size(size: int) -> None:
    """Raises UsageError for a size that is not rendered."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UsageError(f"synthetic pictures are {MIN_SIZE} to {MAX_SIZE} px wide, got {size}")


class Renderer:
    """Renders one person at one size; keeps what does not move.

    Args:
        person: who.
        size: side of the square pictures in pixels, 64 to 512.

    Raises UsageError for a size out of range.
    """

    def __init__(self, person: Identity, size: int) -> None:
        check_size(size)
        self.person, self.size = person, size
        self._screen = size if size >= 128 else round(1.5 * size)  # very small pictures are made larger and averaged
        n = 32 * round(min(max(1.3 * size, 128), 640) / 32)
        self._layers = layers = build_layers(person, n)
        self._stand(person)
        left, top = texel(-0.74, 0.62, 0.62, n)[0], texel(0, 0.62, 0.62, n)[1]
        bottom = texel(0, layers.anatomy.chin_y - 0.3, 0.3, n)[1]
        self._rows = slice(int(top), int(bottom) + 1)
        self._cols = slice(int(left), n - int(left))
        self._normal = _normals(layers.radius, layers.way)
        lowest = layers.way * (layers.radius + 0.02)[..., None]
        lowest[..., 1] -= JAW_DROP * (lowest[..., 1] < -0.6)  # room for an open jaw
        self._hull = lowest[:: n // 32, :: n // 32].reshape(-1, 3)
        self._prepare_patch()

    def _stand(self, scenery: Identity) -> None:
        self._background = scene.background(scenery, self._screen)
        self._body = scene.body(self.person, self._screen)
        self._light, self._light_colour = scene.light_direction(self.person), scene.light_colour(self.person)

    def before(self, scenery: Identity) -> Renderer:
        """The same head in the background, light and shirt of `scenery`; its `person` has the traits to match."""
        twin = copy(self)
        twin.person = self.person.in_scenery(scenery)
        twin._stand(scenery)
        return twin

    def _prepare_patch(self) -> None:
        cut = (self._rows, self._cols)
        layers, a = self._layers, self._layers.anatomy
        x, y, z = layers.x[cut], layers.y[cut], layers.z[cut]
        n = layers.radius.shape[0]
        scale = n / (2 * EXTENT) / (C * np.sqrt(x * x + y * y + z * z) + z)
        row, col = np.mgrid[cut].astype(np.float32)
        self._grid = (col, row)
        side = np.abs(x)
        jaw = step(0.0, 0.36, a.mouth_y + 0.02 - y) * step(0.9, 0.35, side) * step(-0.1, 0.25, z)
        corner = np.exp(-(((side - a.mouth_w - 0.04) / 0.14) ** 2) - ((y - a.mouth_y) / 0.13) ** 2)
        cheek = np.exp(-(((side - 0.34) / 0.17) ** 2) - ((y - a.mouth_y - 0.2) / 0.17) ** 2)
        brow = np.exp(-(((y - a.brow_y - 0.06) / 0.13) ** 2)) * step(0.6, 0.35, side)
        wing = np.exp(-(((side - 0.12) / 0.08) ** 2) - ((y - a.nose_y) / 0.09) ** 2)
        fx, fy = np.sign(x) * scale, scale
        self._warp_y = {"jaw": -JAW_DROP * jaw * fy, "smile": (0.05 * corner + 0.05 * cheek) * fy,
                        "brow_raise": 0.06 * brow * fy, "sneer": (0.045 * wing + 0.03 * cheek) * fy}  # fmt: skip
        self._warp_x = {"smile": 0.05 * corner * fx, "lip_width": 0.03 * corner * fx, "lip_round": -0.05 * corner * fx,
                        "brow_knit": -0.025 * brow * np.exp(-((side / 0.2) ** 2)) * fx}  # fmt: skip
        ax, bx = 0.135, a.mouth_w + 0.085
        ay, by = a.nose_y + 0.0, a.mouth_y - 0.05
        t = np.clip(((side - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        off = np.hypot(side - ax - t * (bx - ax) - 0.03 * np.sin(np.pi * t), y - ay - t * (by - ay))
        self._fold = np.exp(-((off / 0.022) ** 2))
        self._cheek, self._wing = cheek, wing
        forehead = step(0.5, 0.2, side) * np.exp(-(((y - a.brow_y - 0.2) / 0.12) ** 2))
        self._furrow = forehead * np.sin(2 * np.pi * (y + 0.05 * side * side) / 0.062)
        self._static = np.concatenate([layers.albedo, layers.radius[..., None]], -1)
        self._windows = self._find_windows(x, y)

    def _find_windows(self, x: np.ndarray, y: np.ndarray) -> dict[str, tuple[slice, slice]]:
        a = self._layers.anatomy
        boxes = {"mouth": (-0.42, 0.42, a.mouth_y - 0.42, a.mouth_y + 0.19)}
        for name, side in (("left", -1), ("right", 1)):
            inner, outer = side * (a.eye_x - 0.19), side * (a.eye_x + 0.21)
            boxes["eye " + name] = (min(inner, outer), max(inner, outer), a.eye_y - 0.14, a.eye_y + 0.18)
            inner, outer = 0.0, side * (a.eye_x + 0.25)
            boxes["brow " + name] = (min(inner, outer), max(inner, outer), a.brow_y - 0.14, a.brow_y + 0.24)
        found = {}
        for name, (x0, x1, y0, y1) in boxes.items():
            rows, cols = np.nonzero((x > x0) & (x < x1) & (y > y0) & (y < y1))
            found[name] = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
        return found

    def _paint(self, c: Coefficients) -> tuple[np.ndarray, ...]:
        """Colour, radius, gloss and openness of the face's part of the map under an expression."""
        cut = (self._rows, self._cols)
        layers = self._layers
        col, row = self._grid
        map_x, map_y = col.copy(), row.copy()
        for name, field in self._warp_x.items():
            if c[name]:
                map_x -= c[name] * field
        for name, field in self._warp_y.items():
            if c[name]:
                map_y += c[name] * field
        warped = cv2.remap(self._static, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        colour = np.ascontiguousarray(warped[..., :3])
        # the blur hides that interpolation knows only 32 places between two texels
        radius = cv2.GaussianBlur(warped[..., 3], (0, 0), layers.radius.shape[0] / 400)
        smile = max(c["smile"], 0.0)
        fold = 0.12 + 0.85 * smile + 0.55 * c["sneer"]
        height = -0.02 * fold * self._fold + (0.03 * smile + 0.02 * c["sneer"]) * self._cheek
        height += 0.004 * max(c["brow_raise"], 0.6 * c["brow_inner"]) * self._furrow
        colour *= (1 - 0.22 * min(fold, 1.0) * self._fold)[..., None]
        gloss, openness = layers.gloss[cut].copy(), layers.occlusion[cut].copy()
        soft = 1.6 * 2 * EXTENT / layers.radius.shape[0] * 2.2
        x, y = layers.x[cut], layers.y[cut]

        def window(name: str) -> MapWindow:
            at = self._windows[name]
            return MapWindow(x[at], y[at], colour[at], height[at], gloss[at], openness[at], soft)

        paint_mouth(window("mouth"), layers, c)
        for name, side in (("left", -1), ("right", 1)):
            paint_eye(window("eye " + name), layers, c, side)
            paint_brow(window("brow " + name), layers, c, side)
        return colour, radius + height, gloss, openness

    def _shade(self, c: Coefficients, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lit colours (N, N, 3) and radius (N, N) of the whole map."""
        cut = (self._rows, self._cols)
        layers = self._layers
        albedo, radius, gloss = layers.albedo.copy(), layers.radius.copy(), layers.gloss.copy()
        openness, normal = layers.occlusion.copy(), self._normal.copy()
        albedo[cut], radius[cut], gloss[cut], openness[cut] = self._paint(c)
        rows, cols = (slice(part.start + 1, part.stop - 1) for part in cut)  # differences need a neighbour
        normal[:, rows, cols] = _normals(radius[cut], layers.way[cut])[:, 1:-1, 1:-1]
        key, view = self._light, np.array([0, 0, 1], np.float32)
        half = (key + view) / np.sqrt(((key + view) ** 2).sum())
        ways = np.stack([key, [0, 1, 0.2], key * [-1, 0.2, 0.9], half, view]).astype(np.float32) @ turn
        dots = products(ways, normal.reshape(3, -1)).reshape(5, *radius.shape)
        facing, up, fill, shine, front = dots
        sky = 0.5 + 0.5 * up
        ambient = (0.15 + 0.17 * sky + 0.13 * np.maximum(fill, 0)) * openness
        lit = np.empty_like(albedo)
        direct = 0.93 * openness
        for i, wrap in enumerate((0.3, 0.19, 0.15)):  # red light wanders furthest under skin
            soft = np.maximum(facing + wrap, 0)
            soft *= direct
            soft *= np.float32(self._light_colour[i] / (1 + wrap))
            soft += ambient
            np.multiply(soft, albedo[..., i], out=lit[..., i])
        shine = np.maximum(shine, 0)
        for _ in range(4):
            shine = shine * shine
        tight = shine * shine
        tight *= tight
        grazing = 1 - np.maximum(front, 0)
        spec = (0.045 * shine + 0.09 * tight * np.maximum(gloss - 0.9, 0)) * np.minimum(gloss, 1.6)
        spec += 0.05 * grazing * grazing * grazing * sky
        spec *= openness
        lit += spec[..., None]
        return lit, radius

    def picture(self, pose: np.ndarray, expression: np.ndarray) -> np.ndarray:
        """One picture (size, size, 3) uint8 RGB.

        Args:
            pose: (6,) in the order of POSE.
            expression: (len(EXPRESSION),) in the order of EXPRESSION.
        """
        c = dict(zip(EXPRESSION, (float(v) for v in expression), strict=True))
        turn, shift = rotation(*(float(v) for v in pose[:3])), np.asarray(pose[3:], np.float32)
        lit, radius = self._shade(c, turn)
        screen = self._background.copy()
        behind = scene.hair_behind(self.person, turn, shift, self._screen)
        if behind is not None:
            screen += behind[1][..., None] * (behind[0] - screen)
        colour, cover = self._follow(shift)
        screen += cover[..., None] * (colour - screen)
        box = frame_of(self._hull, turn, shift, self._screen)
        map_x, map_y, alpha = cast(radius, turn, shift, self._screen, box)
        head = cv2.remap(lit, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        head -= screen[box]
        head *= alpha[..., None]
        screen[box] += head
        if scene.wears_glasses(self.person):
            a = self._layers.anatomy
            scene.draw_glasses(screen, self.person, turn, shift, (a.eye_x, a.eye_y))
        if self._screen != self.size:
            screen = cv2.resize(screen, (self.size, self.size), interpolation=cv2.INTER_AREA)
        screen *= 1.12 / (1 + 0.12 * screen)
        return _GAMMA[(np.clip(screen, 0, 1) * np.float32(4096) + np.float32(0.5)).astype(np.int32)]

    def _follow(self, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Neck and shoulders, moved half as far as the head."""
        pixels = 0.25 * self._screen / HALF_VIEW
        move = np.array([[1, 0, shift[0] * pixels], [0, 1, -shift[1] * pixels]], np.float32)
        side = (self._screen, self._screen)
        return tuple(  # type: ignore[return-value]
            cv2.warpAffine(part, move, side, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for part in self._body
        )

    def frames(self, pose: np.ndarray, expression: np.ndarray, threads: int = 1) -> np.ndarray:
        """(T, size, size, 3) uint8 from pose (T, 6) and expression (T, E); the number of threads changes nothing."""
        if threads == 1:
            return np.stack([self.picture(p, e) for p, e in zip(pose, expression, strict=True)])
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(self.picture, pose, expression)))


def _normals(radius: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Unit normals (3, H, W) of the star-shaped surface by central differences."""
    p = way * radius[..., None]
    dx, dy = np.empty_like(p), np.empty_like(p)
    dx[:, 1:-1] = p[:, 2:] - p[:, :-2]
    dx[:, 0], dx[:, -1] = dx[:, 1], dx[:, -2]
    dy[1:-1] = p[:-2] - p[2:]
    dy[0], dy[-1] = dy[1], dy[-2]
    n = np.empty((3, *radius.shape), np.float32)
    n[0] = dx[..., 1] * dy[..., 2] - dx[..., 2] * dy[..., 1]
    n[1] = dx[..., 2] * dy[..., 0] - dx[..., 0] * dy[..., 2]
    n[2] = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
    n /= np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + 1e-12
    return n


@lru_cache(maxsize=4)
def renderer(index: int, seed: int, size: int) -> Renderer:
    """A renderer kept for the next clip of the same person."""
    return Renderer(make_identity(index, seed), size)
