"""Two terms that the paper does not have, for data that know their own motion [ours].

L_motion = mean |lambda - m|                       lambda (B, M) the coefficients, m the true motion
L_warp   = mean over visible points |c(d) - s|     c the decoder's 64 x 64 coordinates, d and s one point of the
                                                   head in the driving and in the source picture
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def motion_loss(coefficients: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of coefficients and true motion, both (B, M)."""
    return (coefficients.float() - true).abs().mean()


def warp_loss(coordinates: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Mean distance in half picture widths between where the decoder looks for a point and where it is.

    Args:
        coordinates: (B, 64, 64, 2) where each pixel of the driving picture takes its colour from, channel 0 = x.
        source, driving: (B, P, 3), x and y in [-1, 1] and 1 where visible; a point counts when it is visible in both.
    """
    at = driving[:, None, :, :2]
    looked = F.grid_sample(coordinates.permute(0, 3, 1, 2).float(), at, align_corners=False)[:, :, 0].transpose(1, 2)
    both = source[..., 2] * driving[..., 2]
    distance = (looked - source[..., :2]).abs().sum(-1)
    # mean of each sample first, so that the loss of a batch does not depend on how processes share it
    return ((distance * both).sum(1) / both.sum(1).clamp(min=1)).mean()


def choose(predicted: Tensor, true: Tensor, relative: Tensor) -> Tensor:
    """The true motion (B, M) where `relative` (B,) holds, else the predicted one."""
    return torch.where(relative[:, None], true, predicted)
