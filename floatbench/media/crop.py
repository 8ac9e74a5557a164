"""The pp1 crop: one fixed square per clip, black beyond the picture, resized to the output size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from floatbench.errors import ClipError
from floatbench.media.boxes import Box, BoxBackend, FaceFollower

SIZE = 512
MOST_PADDING = 0.25
ROUNDED = 2
"""Pixels that a width may differ from its share of the original's: codecs want even sides."""


class Crop(NamedTuple):
    """A square of side 2 h around the pixel corner (cx, cy): columns cx - h to cx + h - 1."""

    cx: int
    cy: int
    h: int


class Cut(NamedTuple):
    """How the pictures of a clip were made of their original: the square, the original's size, the side they got."""

    crop: Crop
    width: int
    height: int
    size: int = SIZE


def from_boxes(boxes: Sequence[Box | None]) -> Crop:
    """The square of a clip from its face boxes, frames without one left out.

    Half side max(int(1.6 int(m / 2)), ceil(0.6 u)): m is the median over the frames of the longer box side, u the
    longer side of the union of all boxes. The centre is the truncated middle of the union. One box gives FLOAT's crop.
    """
    found = [box for box in boxes if box is not None]
    union = Box(
        min(box.left for box in found),
        min(box.top for box in found),
        max(box.right for box in found),
        max(box.bottom for box in found),
    )
    median = float(np.median([box.longer for box in found]))
    half = max(int(1.6 * int(median / 2)), -(-3 * union.longer // 5))
    return Crop(int((union.left + union.right) / 2), int((union.top + union.bottom) / 2), half)


def whole_picture(height: int, width: int) -> Crop:
    """The centre square of a picture that is already cropped."""
    return Crop(width // 2, height // 2, min(height, width) // 2)


def padded_share(crop: Crop, height: int, width: int) -> float:
    """Share of the square that lies outside a picture of this size."""
    columns = min(crop.cx + crop.h, width) - max(crop.cx - crop.h, 0)
    rows = min(crop.cy + crop.h, height) - max(crop.cy - crop.h, 0)
    return 1 - max(columns, 0) * max(rows, 0) / (2 * crop.h) ** 2


def flags(crop: Crop, height: int, width: int, size: int = SIZE) -> tuple[str, ...]:
    """`padded` and `upscaled` where they hold; raises ClipError `too_small` (below half the size) or `padding`."""
    if 4 * crop.h < size:
        raise ClipError("too_small", f"the crop is {2 * crop.h} pixels wide, at least {size // 2} are needed")
    share = padded_share(crop, height, width)
    if share > MOST_PADDING:
        raise ClipError("padding", f"{share:.0%} of the crop lies outside the picture")
    return tuple(name for name, holds in (("padded", share > 0), ("upscaled", 2 * crop.h < size)) if holds)


def cut(rgb: np.ndarray, crop: Crop, size: int = SIZE) -> np.ndarray:
    """Cuts the square out of a (H, W, 3) uint8 picture, black outside, and resizes it to (size, size, 3).

    OpenCV's area filter shrinks, cubic enlarges; equal sizes are copied.
    """
    height, width = rgb.shape[:2]
    side = 2 * crop.h
    left, top = crop.cx - crop.h, crop.cy - crop.h
    x0, x1 = np.clip((left, left + side), 0, width)
    y0, y1 = np.clip((top, top + side), 0, height)
    square = np.zeros((side, side, 3), np.uint8)
    square[y0 - top : y1 - top, x0 - left : x1 - left] = rgb[y0:y1, x0:x1]
    if side == size:
        return square
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)


def cut_alike(rgb: np.ndarray, how: Cut) -> np.ndarray:
    """Cuts a (H, W, 3) uint8 picture of the whole scene as the original was cut: (size, size, 3).

    A picture smaller or larger than the original is brought to its size first, so that equal pictures stay equal.

    Raises:
        ClipError: `size_mismatch` where its sides are not in the original's proportion (up to the rounding of a codec).
    """
    height, width = rgb.shape[:2]
    if abs(width - height * how.width / how.height) > ROUNDED:
        what = f"{width}x{height} is not cropped as the reference, whose original has {how.width}x{how.height}"
        raise ClipError("size_mismatch", what)
    if (width, height) != (how.width, how.height):
        method = cv2.INTER_AREA if width > how.width else cv2.INTER_CUBIC
        rgb = cv2.resize(rgb, (how.width, how.height), interpolation=method)
    return cut(rgb, how.crop, how.size)


def crop_still(image: np.ndarray, boxes: BoxBackend, size: int = SIZE) -> np.ndarray:
    """Crops a (H, W, 3) uint8 RGB picture as a clip of one frame: (size, size, 3).

    Raises:
        ClipError: `no_face`, `too_small`, `padding`.
    """
    if boxes.whole_picture:
        crop = whole_picture(*image.shape[:2])
    else:
        track = FaceFollower(1, boxes.start_score, boxes.follow_score)
        boxes.begin("")
        track.add(boxes.detect(image, 0))
        crop = from_boxes(track.boxes)
    flags(crop, image.shape[0], image.shape[1], size)
    return cut(image, crop, size)
