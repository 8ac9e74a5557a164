"""3 x 3 convolutions with a quarter of the products: Winograd's F(4 x 4, 3 x 3), for processors.

A tile of 4 x 4 results needs 36 products a channel instead of 144. What is a convolution elsewhere is here, in
channels-last memory: two small products that take every 6 x 6 tile of the input to 36 numbers, one matrix product of
channels for each of the 36, two small products back. GPUs have such kernels in cuDNN.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
"""

from __future__ import annotations

from typing import TypeGuard

import numpy as np
import torch
from torch import nn

TILE, TAPS = 4, 3
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Where the polynomials are evaluated, besides infinity. With these float32 errs by a half to a third of what Lavin's
(0, 1, -1, 2, -2) cost, and twice as much as a plain convolution does."""
SIDE = TILE + TAPS - 1
LEAST_CHANNELS = 128
"""With fewer channels going in (counted over the frames of a kernel) or coming out the small products cost more than
the large one saves."""
WORKING_BYTES = 16 << 20
"""Of transformed input and products at a time: pictures share a pass over the kernels, and stay in the cache."""


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


def fits(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Whether `WinogradConv` computes this layer, and faster: 3 x 3 in the picture, stride 1, enough channels."""
    if not isinstance(layer, (nn.Conv2d, nn.Conv3d)) or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    if layer.kernel_size[-2:] != (TAPS, TAPS) or isinstance(layer.padding, str):
        return False
    if set(layer.stride) | set(layer.dilation) != {1} or layer.padding[:-2] not in ((), (0,)):
        return False
    frames = layer.kernel_size[0] if isinstance(layer, nn.Conv3d) else 1
    return min(layer.in_channels * frames, layer.out_channels) >= LEAST_CHANNELS


class WinogradConv(nn.Module):
    """What a convolution that `fits` computes, up to rounding; float32 on the CPU, results channels-last.

    Args:
        layer: a Conv2d (O, C, 3, 3), or a Conv3d (O, C, K, 3, 3) that pads in the picture only.
    """

    kernels: torch.Tensor
    data: torch.Tensor
    result: torch.Tensor

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        data, kernel, result = transforms()
        self.padding = (int(layer.padding[-2]), int(layer.padding[-1]))
        g = torch.from_numpy(kernel)
        weight = layer.weight.detach().double()
        weight = weight if weight.dim() == 5 else weight[:, :, None]
        products = torch.einsum("yk,ocfkl,xl->fxyco", g, weight, g)
        self.register_buffer("kernels", products.flatten(1, 2).float().contiguous())  # (K, 36, C, O)
        self.register_buffer("data", torch.from_numpy(data).float())
        self.register_buffer("result", torch.from_numpy(result).float())
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) or (B, C, T, H, W) -> (B, O, H', W') or (B, O, T', H', W')."""
        films = x[:, :, None] if x.dim() == 4 else x
        y = self._films(films.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        return y[:, :, 0] if x.dim() == 4 else y

    def _films(self, films: torch.Tensor) -> torch.Tensor:
        """(B, T, H, W, C) -> (B, T', H', W', O), some films at a time."""
        taps, _, channels, outputs = self.kernels.shape
        count, frames, height, width, _ = films.shape
        height, width = height + 2 * self.padding[0] - TAPS + 1, width + 2 * self.padding[1] - TAPS + 1
        rows, columns = -(-height // TILE), -(-width // TILE)
        tiled = films.new_empty(count, frames - taps + 1, TILE * rows, TILE * columns, outputs)
        size = SIDE * SIDE * frames * rows * columns * (channels + outputs) * films.element_size()
        step = max(1, WORKING_BYTES // size)
        for start in range(0, count, step):
            points = self._points(films[start : start + step], rows, columns)
            self._tiles(self._products(points), tiled[start : start + step])
        cut = tiled[:, :, :height, :width]
        return cut if self.bias is None else cut.add_(self.bias)

    def _points(self, films: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """(B, T, H, W, C) -> (36, B, T, rows x columns, C): each tile of 6 x 6, transformed along both sides."""
        count, frames, height, width, channels = films.shape
        above, left = self.padding
        x = films.new_zeros(count * frames, TILE * rows + TAPS - 1, TILE * columns + TAPS - 1, channels)
        x[:, above : above + height, left : left + width] = films.flatten(0, 1)
        across = x.shape[2] * channels
        high = x.new_empty(SIDE, len(x) * rows, across)
        for number, picture in enumerate(x):
            tiles = picture.as_strided((rows, SIDE, across), (TILE * across, across, 1), picture.storage_offset())
            part = high[:, number * rows : (number + 1) * rows]
            torch.bmm(self.data.expand(rows, SIDE, SIDE), tiles, out=part.transpose(0, 1))
        lines = high.view(SIDE * len(x) * rows, x.shape[2], channels)
        both = x.new_empty(SIDE, len(lines), columns, channels)
        for column in range(columns):
            tiles = lines[:, TILE * column : TILE * column + SIDE]
            torch.bmm(self.data.expand(len(lines), SIDE, SIDE), tiles, out=both[:, :, column].transpose(0, 1))
        return both.view(SIDE * SIDE, count, frames, rows * columns, channels)

    def _products(self, points: torch.Tensor) -> torch.Tensor:
        """(36, B, T, P, C) -> (36, B, T', P, O), summed over the channels and the frames of the kernel."""
        _, count, frames, tiles, channels = points.shape
        taps, _, _, outputs = self.kernels.shape
        if taps == 1:
            return torch.bmm(points.flatten(1, 3), self.kernels[0]).view(SIDE * SIDE, count, frames, tiles, outputs)
        found = points.new_empty(SIDE * SIDE, count, frames - taps + 1, tiles, outputs)
        for number in range(count):
            film = found[:, number].flatten(1, 2)
            for tap in range(taps):
                seen = points[:, number, tap : tap + frames - taps + 1].flatten(1, 2)
                torch.baddbmm(film, seen, self.kernels[tap], beta=min(tap, 1), out=film)
        return found

    def _tiles(self, products: torch.Tensor, out: torch.Tensor) -> None:
        """(36, B, T', rows x columns, O) -> `out` (B, T', 4 rows, 4 columns, O): the 4 x 4 results of each tile."""
        count, frames, height, width, outputs = out.shape
        lines, across = count * frames * height // TILE, width // TILE * outputs
        square = products.view(SIDE, SIDE, lines, across)
        high = out.new_empty(SIDE, lines, TILE, across)
        for point in range(SIDE):
            tiles = square[point].transpose(0, 1)
            torch.bmm(self.result.expand(lines, TILE, SIDE), tiles, out=high[point])
        tiles = high.view(SIDE, -1, outputs).transpose(0, 1)
        torch.bmm(self.result.expand(len(tiles), TILE, SIDE), tiles, out=out.view(-1, TILE, outputs))
