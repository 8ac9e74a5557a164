"""3 x 3 convolutions with a quarter of the products: Winograd's F(4 x 4, 3 x 3), for processors.

A tile of 4 x 4 results needs 36 products a channel instead of 144. What is a convolution elsewhere is here, in
channels-last memory: every 6 x 6 tile of the input becomes 36 numbers (`winograd_kernels`), for each of the 36 there is
one matrix product of channels, and its results become tiles again. GPUs have such kernels in cuDNN.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from typing import TypeGuard

import numpy as np
import torch
from torch import nn

TILE, TAPS = 4, 3
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Where the polynomials are evaluated, besides infinity. With these float32 errs by a half to a third of what Lavin's
(0, 1, -1, 2, -2) cost, and twice as much as a plain convolution does."""
SIDE = TILE + TAPS - 1
LEAST_CHANNELS, LEAST_TOGETHER = 32, 80
"""With fewer channels going in (counted over the frames of a kernel) or coming out, or fewer of both, the transforms
cost more than the products save."""
SMALL_PRODUCT = 10**6
"""Multiplications up to which OpenBLAS multiplies two matrices without packing them first: half as long again."""
CACHED_KERNELS = 10**7
"""Bytes of transformed kernels that stay in the cache while one handful of tiles follows the other."""
WORKING_BYTES = 16 << 20
"""Of transformed input and products at a time, where the kernels do not."""


@cache
def transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cook and Toom's matrices of F(4, 3): of the input (6, 6), of the kernel (6, 3), of the products (4, 6), float64.

    For d (6,) and g (3,): output @ ((kernel @ g) * (input @ d)) is the correlation of d with g, (4,).
    """
    points = np.array(POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.array([np.prod(point - rest) for point, rest in zip(points, others, strict=True)])
    data = np.zeros((SIDE, SIDE))
    for row, rest in enumerate(others):
        data[row, :-1] = np.poly(rest)[::-1]
    data[-1] = np.poly(points)[::-1]
    kernel = np.vstack([points[:, None] ** np.arange(TAPS) / scale[:, None], np.eye(TAPS)[-1:]])
    result = np.hstack([points ** np.arange(TILE)[:, None], np.eye(TILE)[:, -1:]])
    return data, kernel, result


def available() -> bool:
    """Whether the transforms can be compiled; without numba convolutions stay what they are."""
    return find_spec("numba") is not None


def fits(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Whether `WinogradConv` computes this layer, and faster: 3 x 3 in the picture, stride 1, enough channels."""
    if not isinstance(layer, (nn.Conv2d, nn.Conv3d)) or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    if layer.kernel_size[-2:] != (TAPS, TAPS) or isinstance(layer.padding, str):
        return False
    if set(layer.stride) | set(layer.dilation) != {1} or layer.padding[:-2] not in ((), (0,)):
        return False
    frames = layer.kernel_size[0] if isinstance(layer, nn.Conv3d) else 1
    inputs, outputs = layer.in_channels * frames, layer.out_channels
    return min(inputs, outputs) >= LEAST_CHANNELS and inputs + outputs >= LEAST_TOGETHER


class WinogradConv(nn.Module):
    """What a convolution that `fits` computes, up to rounding; float32 on the CPU, results channels-last.

    Args:
        layer: a Conv2d (O, C, 3, 3), or a Conv3d (O, C, K, 3, 3) that pads in the picture only.
    """

    kernels: torch.Tensor
    bias: torch.Tensor

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        kernel = torch.from_numpy(transforms()[1])
        self.padding = (int(layer.padding[-2]), int(layer.padding[-1]))
        weight = layer.weight.detach().double()
        weight = weight if weight.dim() == 5 else weight[:, :, None]
        self.taps = weight.shape[2]
        products = torch.einsum("yk,ocfkl,xl->yxfco", kernel, weight, kernel)
        self.register_buffer("kernels", products.flatten(2, 3).flatten(0, 1).float().contiguous())  # (36, K C, O)
        self.register_buffer("bias", layer.weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) or (B, C, T, H, W) -> (B, O, H', W') or (B, O, T', H', W')."""
        films = x[:, :, None] if x.dim() == 4 else x
        y = self._films(films.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        return y[:, :, 0] if x.dim() == 4 else y

    def _films(self, films: torch.Tensor) -> torch.Tensor:
        """(B, T, H, W, C) -> (B, T', H', W', O), some tiles at a time, shared by torch's threads."""
        count, frames, height, width, _ = films.shape
        height, width = height + 2 * self.padding[0] - TAPS + 1, width + 2 * self.padding[1] - TAPS + 1
        made = films.new_empty(count, frames - self.taps + 1, height, width, self.kernels.shape[2])
        tiles = count * -(-height // TILE) * -(-width // TILE)
        step = min(self._at_a_time(made.shape[1]), -(-tiles // torch.get_num_threads()))
        run = partial(self._tiles, films.contiguous().numpy(), made.numpy())
        parts = [range(start, min(start + step, tiles)) for start in range(0, tiles, step)]
        if torch.get_num_threads() == 1:
            for part in parts:
                run(part)
        else:
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                list(pool.map(run, parts))
        return made

    def _at_a_time(self, made: int) -> int:
        """Tiles that share a matrix product, each of `made` pictures."""
        size, channels, outputs = self.kernels.shape
        if self.kernels.nbytes <= CACHED_KERNELS:
            return max(1, SMALL_PRODUCT // (made * channels * outputs))
        return max(1, WORKING_BYTES // (made * size * (channels + outputs) * self.kernels.itemsize))

    def _tiles(self, films: np.ndarray, made: np.ndarray, part: range) -> None:
        """The results of some tiles, counted film by film, row by row: (B, T, H, W, C) into (B, T', H', W', O)."""
        from floatbench.metrics.winograd_kernels import gather, scatter  # numba takes 0.4 s to import

        data, _, result = (matrix.astype(np.float32) for matrix in transforms())
        size, channels, outputs = self.kernels.shape
        rows, columns = -(-made.shape[2] // TILE), -(-made.shape[3] // TILE)
        count = len(part) * made.shape[1]
        points = np.empty((size, count, self.taps, channels // self.taps), np.float32)
        gather(films, *self.padding, rows, columns, part.start, data, points)
        products = np.matmul(points.reshape(size, count, channels), self.kernels.numpy())
        scatter(products, self.bias.numpy(), rows, columns, part.start, result, made)
