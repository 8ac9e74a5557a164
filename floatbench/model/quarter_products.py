"""The streamed decoder's 3 x 3 convolutions with a quarter of the products: Winograd's F(4 x 4, 3 x 3), for a CPU.

A tile of 4 x 4 results needs 36 products a channel instead of 144. The 6 x 6 pixels under each tile are gathered and
styled in one pass, one matrix takes them to 36 numbers, 36 matrix products lead from channels to channels, one matrix
takes the 36 numbers to the 4 x 4 results, which get gain and bias where they are put. Some tiles at a time, so that
they stay in the cache. The plain twin is the styled convolution.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE, SIDE = 4, 6
TILES = 128
"""At a time: so many rows have the matrix products that lead from channels to channels."""
LEAST_CHANNELS, LEAST_SIZE = 64, 16
"""With fewer channels, or fewer tiles, the small products cost more than the large ones save."""
DATA = (
    (1, -1.5, -2, 1.5, 1, 0),
    (0, -1, 0.5, 2.5, 1, 0),
    (0, 1, -2.5, 0.5, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 0.5, -1, -0.5, 1, 0),
    (0, 1, -1.5, -2, 1.5, 1),
)
"""Of the pixels: Cook and Toom's for polynomials evaluated at 0, 1, -1, 1/2, -2 and infinity, as the metrics' is."""
KERNEL = (
    (1, 0, 0),
    (1 / 3, 1 / 3, 1 / 3),
    (-1 / 3, 1 / 3, -1 / 3),
    (-16 / 15, -8 / 15, -4 / 15),
    (1 / 15, -2 / 15, 4 / 15),
    (0, 0, 1),
)
RESULT = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 0.5, -2, 0),
    (0, 1, 1, 0.25, 4, 0),
    (0, 1, -1, 0.125, -8, 1),
)


def pays(weight: Tensor, size: int) -> bool:
    """Whether a 3 x 3 convolution (O, C, 3, 3) of pictures of this size is computed faster here."""
    return min(weight.shape[:2]) >= LEAST_CHANNELS and size >= LEAST_SIZE and size % TILE == 0


class StyledWinograd:
    """gain * conv(style * x) + bias for a weight (O, C, 3, 3), zeros around the picture, float32."""

    def __init__(self, weight: Tensor) -> None:
        points = torch.tensor(KERNEL, dtype=torch.float64)
        kernels = torch.einsum("yk,ockl,xl->yxco", points, weight.double(), points)
        self._kernels = kernels.flatten(0, 1).float().contiguous()  # (36, C, O)
        self._data, self._result = (torch.kron(*[torch.tensor(m, dtype=torch.float32)] * 2) for m in (DATA, RESULT))

    def __call__(self, x: Tensor, style: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """x (b, C, H, W), H and W multiples of 4, style (b, C), gain (b, O), bias (O) -> (b, O, H, W) channels-last."""
        batch, channels, height, width = x.shape
        around = x.new_zeros(batch, height + 2, width + 2, channels)
        around[:, 1:-1, 1:-1] = x.permute(0, 2, 3, 1)
        made = x.new_empty(batch, height, width, self._kernels.shape[2])
        rows, columns = height // TILE, width // TILE
        several = max(1, TILES // (rows * columns))  # pictures at a time
        lines = max(1, min(rows, TILES // columns))
        for first in range(0, batch, several):
            some = slice(first, first + several)
            for row in range(0, rows, lines):
                here = slice(TILE * row, TILE * (row + lines))
                seen = around[some, here.start : here.stop + SIDE - TILE]
                self._tiles(seen, style[some], gain[some], bias, made[some, here])
        return made.permute(0, 3, 1, 2)

    def _tiles(self, seen: Tensor, style: Tensor, gain: Tensor, bias: Tensor, made: Tensor) -> None:
        """Pixels (n, 4 rows + 2, W + 2, C) -> `made` (n, 4 rows, W, O)."""
        count, height, width, outputs = made.shape
        channels, rows, columns = seen.shape[3], height // TILE, width // TILE
        item, line, pixel, _ = seen.stride()
        tiles = seen.as_strided(
            (SIDE, SIDE, count, rows, columns, channels), (line, pixel, item, TILE * line, TILE * pixel, 1)
        )
        styled = seen.new_empty(tiles.shape)
        torch.mul(tiles, style[:, None, None], out=styled)  # a new tensor would keep the pixels' order
        points = self._data @ styled.view(SIDE * SIDE, -1)
        products = torch.bmm(points.view(SIDE * SIDE, -1, channels), self._kernels)
        results = (self._result @ products.view(SIDE * SIDE, -1)).view(TILE, TILE, count, rows, columns, outputs)
        place = made.view(count, rows, TILE, columns, TILE, outputs).permute(2, 4, 0, 1, 3, 5)
        torch.addcmul(bias, results, gain[:, None, None], out=place)
