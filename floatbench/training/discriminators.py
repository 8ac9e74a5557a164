"""The critics of phase 1: a StyleGAN2 discriminator on two scales, and small ones for eyes and lips.

The large one has LIA's form: 1x1 stem, residual blocks down to 4x4, mini-batch deviation, one convolution, two linear
layers. The small ones have GFPGAN's. B batch, R pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from floatbench.model.autoencoder import channels_at
from floatbench.model.layers import ConvLayer, EqualConv2d, EqualLinear, ResidualBlock, leaky
from floatbench.training.across import gathered_rows, own_rows, processes
from floatbench.training.losses.perceptual import shrink

DEVIATION_GROUP = 4


def batch_deviation(x: Tensor, group: int = DEVIATION_GROUP) -> Tensor:
    """Appends one channel: the mean over everything of the standard deviation within groups of the batch.

    The batch is that of all processes together, so that the value does not depend on how many there are. Sample i
    belongs to group i mod (B / group); a batch that is no multiple of `group` is one group.
    """
    whole = x.float()
    if processes() > 1:
        whole = gathered_rows(whole)
    batch, channels, height, width = whole.shape
    group = group if batch % group == 0 else batch
    y = whole.reshape(group, batch // group, channels, height, width)
    deviation = torch.sqrt(y.var(0, correction=0) + 1e-8).mean((1, 2, 3)).repeat(group)  # (B,)
    if processes() > 1:
        deviation = deviation[own_rows(len(x), x.device)]
    plane = deviation[:, None, None, None].expand(-1, 1, height, width)
    return torch.cat((x, plane.to(x.dtype)), dim=1)


class Discriminator(nn.Module):
    """(B, 3, R, R) -> (B, 1)."""

    def __init__(self, size: int, channel_max: int, channel_base: int) -> None:
        super().__init__()
        channels = channels_at(size, channel_max, channel_base)
        blocks: list[nn.Module] = [ConvLayer(3, channels, 1)]
        for level in range(int(math.log2(size)) - 1, 1, -1):
            following = channels_at(2**level, channel_max, channel_base)
            blocks.append(ResidualBlock(channels, following))
            channels = following
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvLayer(channels + 1, channels, 3)
        self.hidden = EqualLinear(channels * 16, channels)
        self.score = EqualLinear(channels, 1)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.last(batch_deviation(self.blocks(picture)))
        return self.score(leaky(self.hidden(x.flatten(1))))


class TwoScaleDiscriminator(nn.Module):
    """One discriminator for the picture and one for its half-size copy: (B, 3, R, R) -> (B, 2)."""

    def __init__(self, size: int, channel_max: int, channel_base: int) -> None:
        super().__init__()
        self.fine = Discriminator(size, channel_max, channel_base)
        self.coarse = Discriminator(size // 2, channel_max, channel_base)

    def forward(self, picture: Tensor) -> Tensor:
        return torch.cat((self.fine(picture), self.coarse(shrink(picture, 2))), dim=1)


class ComponentDiscriminator(nn.Module):
    """Crops of one facial part (B, 3, r, r) -> a map of scores, and the two feature maps that style is measured on.

    Args:
        width: channels of the first layer (64 in GFPGAN); the others have 2 and 4 times as many.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first = ConvLayer(3, width, 3)
        self.second = nn.Sequential(ConvLayer(width, 2 * width, 3, down=True), ConvLayer(2 * width, 2 * width, 3))
        self.third = nn.Sequential(ConvLayer(2 * width, 4 * width, 3, down=True), ConvLayer(4 * width, 4 * width, 3))
        self.score = EqualConv2d(4 * width, 1, 3, padding=1)

    def forward(self, crop: Tensor) -> tuple[Tensor, list[Tensor]]:
        fine = self.second(self.first(crop))
        coarse = self.third(fine)
        return self.score(coarse), [fine, coarse]
