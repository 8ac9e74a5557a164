"""Mouth and eyes of a picture: masks, crops and style (supplement, Eq. 17 and 21, after GFPGAN, Wang et al. 2021).

Boxes are (B, 3, 4): mouth, left eye, right eye, each x0, y0, x1, y1 as fractions of the side; a box
of zeros is unknown.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MOUTH, LEFT_EYE, RIGHT_EYE = 0, 1, 2
LIP_POINTS = 20
LIP_MARGIN = 0.1
"""Of the mouth's width, by which the region of the lips is wider than their outer edge on all sides."""


def component_mask(boxes: Tensor, size: int, lips: Tensor | None = None) -> Tensor:
    """(B, 3, 4) -> (B, 1, size, size): 1 at the pixels whose centre lies inside any of the boxes.

    Args:
        lips: (B, 20, 2) outer edge of the lips: where it is known (not all zeros) it stands instead of the mouth's box.
    """
    centre = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
    x0, y0, x1, y1 = (boxes[..., i, None] for i in range(4))
    across = (centre >= x0) & (centre < x1)  # (B, 3, size)
    down = (centre >= y0) & (centre < y1)
    inside = down[..., :, None] & across[..., None, :]
    if lips is not None:
        known = lips.abs().sum((1, 2)) > 0
        inside[known, MOUTH] = polygon(lips[known].to(boxes.dtype), size, LIP_MARGIN)
    return inside.any(1, keepdim=True).to(boxes.dtype)


def polygon(points: Tensor, size: int, margin: float) -> Tensor:
    """(B, P, 2) corners as fractions of the side -> (B, size, size) bool: pixel centres inside or near the edge.

    Args:
        margin: how near, as a share of the polygon's width.
    """
    centre = (torch.arange(size, device=points.device, dtype=points.dtype) + 0.5) / size
    x, y = centre[None, None, :], centre[None, :, None]
    inside = torch.zeros(len(points), size, size, dtype=torch.bool, device=points.device)
    near = torch.full(inside.shape, torch.inf, dtype=points.dtype, device=points.device)  # squared distance
    for a, b in zip(points.unbind(1), points.roll(-1, 1).unbind(1), strict=True):
        (ax, ay), (bx, by) = (corner[:, :, None, None].unbind(1) for corner in (a, b))
        crossing = ((ay > y) != (by > y)) & (x < ax + (bx - ax) * (y - ay) / torch.where(by == ay, 1.0, by - ay))
        inside ^= crossing  # even-odd rule: a ray to the right leaves the polygon
        length = ((bx - ax).square() + (by - ay).square()).clamp(min=1e-12)
        along = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length).clamp(0, 1)
        near = torch.minimum(near, (x - ax - along * (bx - ax)).square() + (y - ay - along * (by - ay)).square())
    width = points[..., 0].amax(1) - points[..., 0].amin(1)
    return inside | (near <= (margin * width)[:, None, None].square())


def enlarge(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (..., 4) grown about their centres to squares of the longer side times `factor`."""
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = (boxes[..., 2:] - boxes[..., :2]).amax(-1, keepdim=True) / 2 * factor
    return torch.cat((centre - half, centre + half), dim=-1)


def crop(pictures: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Bilinear crops (B, 3, size, size) of pictures (B, 3, R, R) at boxes (B, 4); zero outside the picture.

    The picture is sampled at the centres of the crop's pixels, so the whole picture at its own size is the identity.
    """
    x0, y0, x1, y1 = boxes.unbind(-1)
    theta = torch.zeros(len(boxes), 2, 3, device=pictures.device, dtype=torch.float32)
    theta[:, 0, 0], theta[:, 0, 2] = x1 - x0, x0 + x1 - 1
    theta[:, 1, 1], theta[:, 1, 2] = y1 - y0, y0 + y1 - 1
    grid = F.affine_grid(theta, [len(boxes), pictures.shape[1], size, size], align_corners=False)
    return F.grid_sample(pictures.float(), grid, padding_mode="zeros", align_corners=False)


def eyes_and_lips(
    pictures: Tensor, boxes: Tensor, eye_size: int, lip_size: int, eye_factor: float = 1.4
) -> tuple[Tensor, Tensor]:
    """Crops of all eyes (2 B, 3, e, e), right ones mirrored for one network, and of lips (B, 3, l, l)."""
    left = crop(pictures, enlarge(boxes[:, LEFT_EYE], eye_factor), eye_size)
    right = crop(pictures, enlarge(boxes[:, RIGHT_EYE], eye_factor), eye_size).flip(-1)
    return torch.cat((left, right)), crop(pictures, enlarge(boxes[:, MOUTH], 1.0), lip_size)


def gram(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, C): inner products of channels over C H W."""
    batch, channels, height, width = features.shape
    flat = features.float().reshape(batch, channels, height * width)
    return flat @ flat.transpose(1, 2) / (channels * height * width)


def style_loss(generated: list[Tensor], real: list[Tensor], weights: tuple[float, ...] = (0.5, 1.0)) -> Tensor:
    """L_FSM: mean absolute difference of Gram matrices, weighted by level; the real side takes no gradient."""
    pairs = zip(weights, generated, real, strict=True)
    return torch.stack([w * (gram(a) - gram(b.detach())).abs().mean() for w, a, b in pairs]).sum()
