"""Perceptual losses of phase 1: pictures are compared by the features of a fixed network.

    L_lp      = sum over scales s and levels i of |phi_i(D_s') - phi_i(D_s)|
    L_comp-lp = sum over i of 1/|M_i| . || M_i phi_i(D') - M_i phi_i(D) ||_1          (supplement, Eq. 17)

phi is VGG-19 after the first ReLU of each block, unweighted. It is not LPIPS, whose package `lpips` weighs squared
differences of normalised features by factors learned from people's judgements: the paper's L_lp and LIA's, which it
builds on, have none, and Eq. 17 needs the maps themselves under a mask. The supplement does not say which levels and
scales L_lp takes; LIA's are used: five levels, four scales. M is the mask of mouth and eyes of the driving picture,
applied to the features. B batch, R pixels; pictures are in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
VGG19_TAPS = (1, 6, 11, 20, 29)
"""Positions of relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 among VGG-19's layers."""


class PerceptualNetwork(nn.Module):
    """A fixed network: pictures (B, 3, R, R) in [-1, 1] -> feature maps, finest first."""

    def forward(self, picture: Tensor) -> list[Tensor]:
        raise NotImplementedError


class Vgg19(PerceptualNetwork):
    """VGG-19 (Simonyan and Zisserman 2015) after relu1_1, 2_1, 3_1, 4_1, 5_1, frozen.

    Args:
        weights: torchvision's state dict file; None leaves random weights (for tests of shapes only).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path | None) -> None:
        from torchvision.models import vgg19

        super().__init__()
        network = vgg19(weights=None)
        if weights is not None:
            network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        layers = list(network.features.children())[: VGG19_TAPS[-1] + 1]
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False  # a tapped map must not be written over
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).reshape(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = ((picture.clamp(-1, 1) + 1) / 2 - self.mean) / self.std
        maps = []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index in VGG19_TAPS:
                maps.append(x)
        return maps


class RandomPyramid(PerceptualNetwork):
    """The stand-in for `float-tiny`, which must be trained without any download: the picture, then random features.

    Level 0 is the picture itself; each further level halves it with a seeded random 3x3 convolution and a ReLU.
    Random features compare local structure, not meaning: enough for drawn faces at 64 px, not for real ones.

    Args:
        widths: channels of the random levels. seed: of the weights.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64), seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        layers, c_in = [], 3
        for c_out in widths:
            layer = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
            weight = torch.randn(layer.weight.shape, generator=generator)
            layer.weight.data = weight * math.sqrt(2 / (9 * c_in))
            layers.append(layer)
            c_in = c_out
        self.layers = nn.ModuleList(layers)
        self.eval().requires_grad_(False)

    def forward(self, picture: Tensor) -> list[Tensor]:
        maps = [picture]
        for layer in self.layers:
            maps.append(F.relu(layer(maps[-1])))
        return maps


def shrink(picture: Tensor, factor: int) -> Tensor:
    """Every `factor`-th pixel after a Gaussian of sigma (factor - 1) / 2, size 2 round(4 sigma) + 1, zero padded."""
    if factor == 1:
        return picture
    sigma = (factor - 1) / 2
    half = round(4 * sigma)
    axis = torch.arange(-half, half + 1, dtype=picture.dtype, device=picture.device)
    row = torch.exp(-axis.square() / (2 * sigma**2))
    row = row / row.sum()
    channels = picture.shape[1]
    x = F.conv2d(picture, row.expand(channels, 1, 1, -1), padding=(0, half), groups=channels)
    x = F.conv2d(x, row[:, None].expand(channels, 1, -1, 1), padding=(half, 0), groups=channels)
    return x[:, :, ::factor, ::factor]


def perceptual_loss(
    network: PerceptualNetwork, generated: Tensor, real: Tensor, scales: Sequence[int] = (1, 2, 4, 8)
) -> Tensor:
    """L_lp: mean absolute difference of features, summed over levels and scales (shrink factors)."""
    total = generated.new_zeros(())
    for factor in scales:
        with torch.no_grad():
            target = network(shrink(real, factor))
        found = network(shrink(generated, factor))
        total = total + sum((a - b).abs().mean() for a, b in zip(found, target, strict=True))
    return total


def masked_perceptual_loss(
    network: PerceptualNetwork, generated: Tensor, real: Tensor, mask: Tensor, levels: int = 4
) -> Tensor:
    """L_comp-lp (Eq. 17) over the first levels.

    Args:
        mask: (B, 1, R, R), 1 inside mouth and eyes. It is averaged down to each level and cut at one half; a level at
            which nothing reaches one half takes every pixel that the mask touches. |M_i| counts pixels times channels;
            a sample without a mask contributes nothing.
    """
    with torch.no_grad():
        target = network(real)[:levels]
    total = generated.new_zeros(())
    for found, wanted in zip(network(generated)[:levels], target, strict=True):
        here = level_mask(mask, found.shape[-1])
        size = here.sum((1, 2, 3)) * found.shape[1]
        difference = (here * (found - wanted).abs()).sum((1, 2, 3))
        total = total + (difference / size.clamp(min=1)).mean()
    return total


def level_mask(mask: Tensor, size: int) -> Tensor:
    """The mask (B, 1, R, R) at a level of `size` pixels, 0 or 1."""
    share = F.adaptive_avg_pool2d(mask, size)
    half = (share > 0.5).to(mask.dtype)
    any_half = half.amax((1, 2, 3), keepdim=True) > 0
    return torch.where(any_half, half, (share > 0).to(mask.dtype))
