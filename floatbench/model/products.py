"""The smallest float64 convolutions of the streamed decoder as matrix products of all its pictures, for a CPU.

Torch convolves float64 picture by picture. The plain twins are `conv2d`, and `conv_transpose2d` with the blur.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TAPS = 3
BLUR = 0.25, 0.75, 0.75, 0.25
"""Behind the up-sampling, along each side; the factor four included."""


def kernel_of(weight: Tensor, up: bool) -> Tensor:
    """A weight (O, C, 3, 3) -> (9 C, O), or of an up-sampling (C, O, 3, 3) -> (C, 9 O)."""
    if up:
        return weight.permute(0, 2, 3, 1).flatten(1).contiguous()
    return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous()


def convolved(x: Tensor, kernel: Tensor) -> Tensor:
    """(b, C, H, W) -> (b, O, H, W), zeros around the picture."""
    batch, _, height, width = x.shape
    around = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    seen = [around[:, a : a + height, b : b + width] for a in range(TAPS) for b in range(TAPS)]
    made = torch.cat(seen, dim=3).flatten(0, 2) @ kernel
    return made.view(batch, height, width, -1).permute(0, 3, 1, 2)


def up_sampled(x: Tensor, kernel: Tensor) -> Tensor:
    """(b, C, H, W) -> (b, O, 2 H, 2 W): transposed convolution of stride 2, then the blur."""
    batch, _, height, width = x.shape
    taps = (x.permute(0, 2, 3, 1).flatten(0, 2) @ kernel).view(batch, height, width, TAPS, TAPS, -1)
    made = x.new_zeros(batch, 2 * height + 3, 2 * width + 3, taps.shape[-1])  # a border of one for the blur
    for a in range(TAPS):
        for b in range(TAPS):
            made[:, 1 + a : 1 + a + 2 * height : 2, 1 + b : 1 + b + 2 * width : 2] += taps[:, :, :, a, b]
    for side in (1, 2):
        made = sum((made.narrow(side, k, made.shape[side] - 3) * tap for k, tap in enumerate(BLUR)), x.new_zeros(()))
    return made.permute(0, 3, 1, 2)
