"""Convolutions with a quarter to half of the products, Winograd's F(4 x 4, 3 x 3) and its like, for processors.

A tile of 4 x 4 results of a 3 x 3 kernel needs 36 products a channel instead of 144, one of 2 x 2 results of a 5 x 5
kernel 36 instead of 100, 3 results of seven taps along one side 9 instead of 21, and 4 of three taps 6 instead of 12.
A kernel of 5 x 5 or 7 x 7 taps that steps over every second pixel is one of 3 x 3 or 4 x 4 taps on the four pictures of
every second row and column: 9 products a channel instead of 25, 16 instead of 49.
What is a convolution elsewhere is here, in channels-last memory: every tile of the input becomes as many numbers
(`winograd_kernels`), for each of them there is one matrix product of channels, and its results become tiles again. GPUs
have such kernels in cuDNN.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

LEAST_CHANNELS = 32
"""With fewer channels going in (counted over the frames of a kernel) or coming out the transforms cost more than the
products save."""
VECTOR = 16
"""Channels of a picture that a processor transforms at once, at most: with fewer it would have to fill them up."""
KERNELS = ((3, 3), (4, 4), (5, 5), (1, 7), (7, 1), (1, 3), (3, 1))
"""Kernels that are computed so."""
TOGETHER = 48
"""Tiles at a time: a kernel's numbers are read once for all of them, and what is made of them stays in the cache."""
FAR_BYTES = 3 << 20
"""Kernels larger than this come from far away each time: `MANY` tiles then."""
MANY = 120
STRIDED = ((5, 5), (7, 7))
"""Kernels with stride 2 that are computed so. Of 3 x 3 taps the halves have 2 and 1: too little is saved."""
LEAST_STRIDED = 12
"""Channels going into such a kernel, counted over its frames: with three the transforms cost more than is saved."""
APART = 16
"""Numbers between what belongs to two of the 36 products, so that not all of them fall into one set of a cache."""


def available() -> bool:
    """Whether the transforms can be compiled; without numba convolutions stay what they are."""
    return find_spec("numba") is not None


def fits(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Whether `WinogradConv` computes this layer, and faster: a kernel of its kinds, stride 1, enough channels."""
    if not isinstance(layer, (nn.Conv2d, nn.Conv3d)) or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    if layer.kernel_size[-2:] not in KERNELS or isinstance(layer.padding, str):
        return False
    if set(layer.stride) | set(layer.dilation) != {1} or layer.padding[:-2] not in ((), (0,)):
        return False
    frames = layer.kernel_size[0] if isinstance(layer, nn.Conv3d) else 1
    return layer.in_channels >= VECTOR and min(layer.in_channels * frames, layer.out_channels) >= LEAST_CHANNELS


def halves(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Whether `StridedWinogradConv` computes this layer, and faster: stride 2 along both sides of a picture."""
    if not isinstance(layer, (nn.Conv2d, nn.Conv3d)) or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    if layer.kernel_size[-2:] not in STRIDED or isinstance(layer.padding, str) or layer.padding[:-2] not in ((), (0,)):
        return False
    if layer.stride[-2:] != (2, 2) or set(layer.dilation) != {1}:
        return False
    frames = layer.kernel_size[0] if isinstance(layer, nn.Conv3d) else 1
    return layer.in_channels * frames >= LEAST_STRIDED and layer.out_channels >= LEAST_CHANNELS


class WinogradConv(nn.Module):
    """What a convolution that `fits` computes, up to rounding; float32 on the CPU, results channels-last.

    Args:
        layer: a Conv2d (O, C, h, w), or a Conv3d (O, C, K, h, w) that pads in the picture only.
    """

    kernels: torch.Tensor
    start: torch.Tensor
    bias: torch.Tensor
    slope: torch.Tensor

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        from floatbench.metrics.matrix_products import packed, width  # numba takes 0.4 s to import
        from floatbench.metrics.winograd_kernels import TILES, transforms

        super().__init__()
        self.padding = (int(layer.padding[-2]), int(layer.padding[-1]))
        weight = layer.weight.detach().double()
        weight = weight if weight.dim() == 5 else weight[:, :, None]
        self.outputs, self.channels, *size = weight.shape
        self.kernel = (size[0], size[1], size[2])
        self.tile = (TILES[size[1]], TILES[size[2]])
        tall, wide = (torch.from_numpy(transforms(taps)[1]) for taps in size[1:])
        products = torch.einsum("yk,ocfkl,xl->yxfco", tall, weight, wide).flatten(2, 3).flatten(0, 1)  # (P, K C, O)
        self.register_buffer("kernels", torch.from_numpy(packed(products.numpy())))
        self.register_buffer("start", torch.zeros(width(self.outputs)))
        bias = torch.zeros(self.outputs) if layer.bias is None else layer.bias.detach()
        self.register_buffer("bias", bias)
        self.register_buffer("slope", torch.ones(self.outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) or (B, C, T, H, W) -> (B, O, H', W') or (B, O, T', H', W')."""
        films = x[:, :, None] if x.dim() == 4 else x
        y = self._films(films.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        return y[:, :, 0] if x.dim() == 4 else y

    def _films(self, films: torch.Tensor) -> torch.Tensor:
        """(B, T, H, W, C) -> (B, T', H', W', O), its tiles shared by torch's threads."""
        count, frames, height, width, _ = films.shape
        taps, tall, wide = self.kernel
        height, width = height + 2 * self.padding[0] - tall + 1, width + 2 * self.padding[1] - wide + 1
        made = films.new_empty(count, frames - taps + 1, height, width, self.outputs)
        tiles = count * -(-height // self.tile[0]) * -(-width // self.tile[1])
        share = -(-tiles // torch.get_num_threads())
        run = partial(self._tiles, films.contiguous().numpy(), made.numpy())
        parts = [range(start, min(start + share, tiles)) for start in range(0, tiles, share)]
        if len(parts) == 1:
            run(parts[0])
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                list(pool.map(run, parts))
        return made

    def _tiles(self, films: np.ndarray, made: np.ndarray, part: range) -> None:
        """The results of some tiles, counted film by film, row by row: (B, T, H, W, C) into (B, T', H', W', O)."""
        from floatbench.metrics.matrix_products import multiply
        from floatbench.metrics.winograd_kernels import gather, scatter

        kernels, start = self.kernels.numpy(), self.start.numpy()
        bias, slope, size = self.bias.numpy(), self.slope.numpy(), len(start)
        shape = (-(-made.shape[2] // self.tile[0]), -(-made.shape[3] // self.tile[1]))
        inputs = self.kernel[0] * self.channels
        together = MANY if kernels.nbytes > FAR_BYTES else TOGETHER
        step = min(max(1, together // made.shape[1]), len(part))
        points = np.empty((len(kernels), step * made.shape[1] * inputs + APART), np.float32)
        products = np.empty((len(kernels), step * made.shape[1] * size + APART), np.float32)
        for first in part[::step]:
            count = min(step, part.stop - first)
            gather(films, *self.padding, self.kernel, self.tile, *shape, first, count, points)
            multiply(points, count * made.shape[1], kernels, start, start + 1, start, 0, products)
            scatter(products, size, bias, slope, self.kernel, self.tile, *shape, first, count, made)


class StridedWinogradConv(WinogradConv):
    """What a convolution that `halves` computes, up to rounding; float32 on the CPU, results channels-last.

    Args:
        layer: a Conv2d (O, C, h, w), or a Conv3d (O, C, K, h, w) that pads in the picture only and may skip frames.
    """

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        weight = layer.weight.detach()
        kernels = (weight if weight.dim() == 5 else weight[:, :, None]).movedim(1, -1)  # (O, K, h, w, C)
        steps = (int(layer.stride[0]) if weight.dim() == 5 else 1, 2, 2)
        more = max(0, -(-VECTOR // math.prod(steps)) - layer.in_channels)
        ends = [-taps % step for taps, step in zip(kernels.shape[1:4], steps, strict=True)]
        parts = apart(F.pad(kernels, (0, more, 0, ends[2], 0, ends[1], 0, ends[0])), steps).movedim(-1, 1)
        halved = nn.Conv3d(parts.shape[1], parts.shape[0], parts.shape[2:], bias=False)  # type: ignore[arg-type]
        halved.weight.data, halved.bias = parts, layer.bias
        super().__init__(halved)
        self.steps, self.more, self.taps = steps, more, kernels.shape[1:4]
        self.edge = (0, int(layer.padding[-2]), int(layer.padding[-1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) or (B, C, T, H, W) -> (B, O, H', W') or (B, O, T', H', W')."""
        films = (x[:, :, None] if x.dim() == 4 else x).permute(0, 2, 3, 4, 1)
        pads = [0, self.more]
        for axis in (2, 1, 0):
            size, edge, step = films.shape[axis + 1], self.edge[axis], self.steps[axis]
            results = (size + 2 * edge - self.taps[axis]) // step + 1
            pads += [edge, step * (results + self.kernel[axis] - 1) - size - edge]  # what no result sees is cut off
        y = self._films(apart(F.pad(films, pads), self.steps)).permute(0, 4, 1, 2, 3)
        return y[:, :, 0] if x.dim() == 4 else y


def apart(films: torch.Tensor, steps: tuple[int, ...]) -> torch.Tensor:
    """(B, T, H, W, C) -> (B, T / t, H / h, W / w, t h w C) for steps (t, h, w): what they part, side by side."""
    parts = films.unflatten(3, (-1, steps[2])).unflatten(2, (-1, steps[1])).unflatten(1, (-1, steps[0]))
    return parts.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4)
