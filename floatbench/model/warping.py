"""The warp of the streamed decoder on a CPU: a pixel is four weighted rows of channels; grid_sample is its twin."""

from __future__ import annotations

from torch import Tensor, stack
from torch.nn import functional as F

BEFORE, AFTER = 1, 2
"""Zeros around a map, so that what lies beyond its border needs no case of its own."""


def bordered(feature: Tensor) -> Tensor:
    """(1, C, R, R) -> (1, C, R + 3, R + 3) with zeros around it, channels side by side, for `warp_rows`."""
    rows = feature.permute(0, 2, 3, 1).contiguous()
    return F.pad(rows, (0, 0, BEFORE, AFTER, BEFORE, AFTER)).permute(0, 3, 1, 2)


def warp_rows(feature: Tensor, coordinates: Tensor) -> Tensor:
    """Bilinear samples of a map, zero beyond its border: `grid_sample(..., "bilinear", "zeros", align_corners=False)`.

    That reads the channels of a pixel from as many places as there are channels. Here they lie side by side, and
    `embedding_bag` adds up the four rows of a pixel in one pass, two to three times as fast.

    Args:
        feature: as `bordered` makes it. coordinates: (b, H, W, 2), x and y, -1 to 1 from edge to edge.

    Returns:
        (b, C, H, W), channels-last. Coordinates that are not finite give values that are not.
    """
    batch, height, width, _ = coordinates.shape
    channels, side = feature.shape[1], feature.shape[-1]
    size = side - BEFORE - AFTER
    place = (((coordinates.reshape(-1, 2) + 1) * size - 1) / 2).clamp(-1, size)
    corner = place.floor()
    right, down = (place - corner).unbind(1)
    left, up = 1 - right, 1 - down
    column, row = corner.unbind(1)
    first = ((row + BEFORE) * side + column + BEFORE).int().clamp(0, (side - 2) * (side + 1))
    rows = stack((first, first + 1, first + side, first + side + 1), dim=1)
    weights = stack((left * up, right * up, left * down, right * down), dim=1)
    table = feature.permute(0, 2, 3, 1).reshape(-1, channels)
    moved = F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights)
    return moved.view(batch, height, width, channels).permute(0, 3, 1, 2)
