"""8-bit RGB to the planes that H.264 takes, on the device that made the pictures: half the bytes to copy."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA = (65.481, 128.553, 24.966)
BLUE = (-37.797, -74.203, 112.0)
RED = (112.0, -93.786, -18.214)
"""Rows of ITU-R BT.601: limited range from R'G'B' in [0, 1]."""


@cache
def _matrix(device: torch.device) -> Tensor:
    """Rows for 8-bit values, copied to a device once: a copy there makes the host wait."""
    return torch.tensor([LUMA, BLUE, RED], device=device) / 255


def to_yuv420(pixels: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3 H / 2, W) uint8: planes Y, U, V of yuv420p one after the other.

    BT.601, limited range, each chroma sample the mean of its four pixels, laid out as FFmpeg's planar frames.

    Raises:
        ValueError: an odd height or width.
    """
    batch, height, width, _ = pixels.shape
    if height % 2 or width % 2:
        raise ValueError(f"4:2:0 needs even sizes, got {width}x{height}")
    planes = torch.einsum("bhwc,kc->bkhw", pixels.float(), _matrix(pixels.device))
    luma = planes[:, 0] + 16
    chroma = F.avg_pool2d(planes[:, 1:], 2) + 128
    parts = [luma.flatten(1), chroma[:, 0].flatten(1), chroma[:, 1].flatten(1)]
    return torch.cat(parts, dim=1).round().clamp(0, 255).to(torch.uint8).view(batch, height * 3 // 2, width)
