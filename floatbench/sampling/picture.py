"""From a picture to what the encoder takes: choosing the face, cropping, resizing, and pixels back to 8 bits."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from floatbench.errors import ClipError, UsageError
from floatbench.media.boxes import Box, BoxBackend, Detection
from floatbench.media.crop import cut, from_boxes, padded_share

DETECTOR_HEIGHT = 360
"""Height at which the released code looks for faces; its crop filter depends on it too."""
SIMILAR_AREA = 0.8
"""Faces with at least this share of the largest face's area compete by how central they are."""

FaceRule = Literal["central", "first"]
FilterRule = Literal["auto", "official"]


def check_picture(picture: Any, size: int | None = None) -> np.ndarray:
    """The picture as (H, W, 3) uint8 RGB, H = W = `size` where that is given; raises UsageError for anything else."""
    found = np.asarray(picture)
    if found.ndim != 3 or found.shape[2] != 3 or found.dtype != np.uint8:
        raise UsageError(
            f"a picture must be a file or (H, W, 3) uint8 RGB, not {found.shape} {found.dtype}",
            fix="for values in 0..1: (255 * picture).round().astype(np.uint8)",
        )
    if size is not None and found.shape[:2] != (size, size):
        shape = f"{found.shape[1]} x {found.shape[0]}"
        raise UsageError(f"the picture must be cropped to {size} x {size} pixels, not {shape}")
    return found


def choose_face(found: list[Detection], height: int, width: int, least_score: float, rule: FaceRule = "central") -> Box:
    """The face to animate: the largest, the most central one among similar sizes; or the detector's first.

    Raises:
        ClipError: `no_face`.
    """
    able = [d.box for d in found if d.score > least_score and d.box.area > 0]
    if not able:
        raise ClipError("no_face", "no face was found in the picture; crop it yourself and use --no-crop")
    if rule == "first":
        return able[0]
    largest = max(box.area for box in able)

    def off_centre(box: Box) -> float:
        x, y = (box.left + box.right) / 2 - width / 2, (box.top + box.bottom) / 2 - height / 2
        return x * x + y * y

    return min((box for box in able if box.area >= SIMILAR_AREA * largest), key=off_centre)


def crop_face(
    picture: np.ndarray, boxes: BoxBackend, size: int, rule: FaceRule = "central", filters: FilterRule = "auto"
) -> tuple[np.ndarray, list[str]]:
    """Cuts the face out of (H, W, 3) uint8 RGB as FLOAT does (half side 1.6 times that of the box, black beyond).

    Returns:
        (size, size, 3) uint8, and notes on what a user should know: several faces, padding, enlargement.

    Raises:
        ClipError: `no_face`, or `too_small` when the crop is below half of `size`; the release enlarges any crop, and
            so does `filters="official"`.
    """
    height, width = picture.shape[:2]
    boxes.begin("")
    found = boxes.detect(picture, 0)
    box = choose_face(found, height, width, boxes.start_score, rule)
    crop = from_boxes([box])
    side = 2 * crop.h
    if filters != "official":
        _check_side(side, size, "the face crop")
    notes = []
    count = sum(d.score > boxes.start_score for d in found)
    if count > 1:
        notes.append(f"{count} faces were found; the {'first' if rule == 'first' else 'main'} one is animated")
    if (share := padded_share(crop, height, width)) > 0:
        notes.append(f"{share:.0%} of the crop lies outside the picture and is black")
    if side < size:
        notes.append(f"the crop is {side} pixels wide and was enlarged to {size}")
    if filters == "official":
        method = cv2.INTER_AREA if height > DETECTOR_HEIGHT else cv2.INTER_CUBIC
        return cv2.resize(cut(picture, crop, side), (size, size), interpolation=method), notes
    return cut(picture, crop, size), notes


def whole_picture(picture: np.ndarray, size: int, filters: FilterRule = "auto") -> tuple[np.ndarray, list[str]]:
    """Resizes a picture that is already cropped to (size, size, 3), squeezing it when it is not square.

    Raises:
        ClipError: `too_small` when a side is below half of `size`, unless `filters="official"`, as in `crop_face`.
    """
    height, width = picture.shape[:2]
    if filters != "official":
        _check_side(min(height, width), size, "the picture")
    notes = []
    if height != width:
        notes.append(f"the picture is {width}x{height}, not square, and was squeezed")
    if (height, width) == (size, size):
        return picture, notes
    shrinking = height >= size and width >= size
    if not shrinking:
        notes.append(f"the picture is {width}x{height} and was enlarged to {size}")
    method = cv2.INTER_AREA if shrinking or filters == "official" else cv2.INTER_CUBIC
    return cv2.resize(picture, (size, size), interpolation=method), notes


def _check_side(side: int, size: int, what: str) -> None:
    if 2 * side < size:
        raise ClipError("too_small", f"{what} is {side} pixels wide, at least {size // 2} are needed")


def to_tensor(picture: np.ndarray) -> Tensor:
    """(R, R, 3) uint8 RGB -> (1, 3, R, R) float32 in [-1, 1]: x / 127.5 - 1."""
    return torch.tensor(picture).permute(2, 0, 1)[None].float() / 127.5 - 1  # a copy: decoders give read-only arrays


def to_pixels(image: Tensor, mode: Literal["round", "truncate"] = "round") -> Tensor:
    """(B, 3, R, R) in [-1, 1], clamped -> (B, R, R, 3) uint8 on the same device."""
    scaled = (image.float().clamp(-1, 1) + 1) / 2 * 255
    return (scaled.round() if mode == "round" else scaled).to(torch.uint8).permute(0, 2, 3, 1)
