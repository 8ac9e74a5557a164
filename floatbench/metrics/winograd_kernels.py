"""The tiles of `floatbench.metrics.winograd` in compiled loops: numbers go from pictures to matrix products and back.

A tile is made where its numbers lie in the nearest cache; as passes of torch over whole pictures the same transforms
cost as much as the products. Numba compiles both functions once and keeps them on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

SIDE, TILE = 6, 4


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled when it is first called, and kept on disk where there is a place for it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package nor the user's cache can be written: compiled anew in every process
        return njit(nogil=True)(function)


@compiled
def gather(films, above, left, rows, columns, first, matrix, points):  # pyright: ignore
    """Transforms tiles of 6 x 6 along both sides.

    Args:
        films: (B, T, H, W, C) float32, contiguous. above, left: zeros before the first row and column.
        rows, columns: tiles of a picture. first: number of the first tile, counted film by film, row by row.
        matrix: (6, 6), the transform of a side.
        points: written, (36, tiles x T', K, C), T' = T - K + 1: what the K pictures of each tap give to a result.
    """
    _, frames, height, width, channels = films.shape
    _, count, taps, _ = points.shape
    made = frames - taps + 1
    window = np.zeros((SIDE, SIDE, channels), np.float32)
    high = np.zeros((SIDE, channels), np.float32)
    for tile in range(count // made):
        film, place = divmod(first + tile, rows * columns)
        top, start = place // columns * TILE - above, place % columns * TILE - left
        for frame in range(frames):
            for y in range(SIDE):
                for x in range(SIDE):
                    inside = 0 <= top + y < height and 0 <= start + x < width
                    for c in range(channels):
                        window[y, x, c] = films[film, frame, top + y, start + x, c] if inside else np.float32(0)
            for i in range(SIDE):
                p, q, r, s, t, u = matrix[i]
                for x in range(SIDE):
                    for c in range(channels):
                        high[x, c] = (
                            p * window[0, x, c] + q * window[1, x, c] + r * window[2, x, c]
                            + s * window[3, x, c] + t * window[4, x, c] + u * window[5, x, c]
                        )  # fmt: skip
                for j in range(SIDE):
                    p, q, r, s, t, u = matrix[j]
                    for tap in range(taps):
                        if 0 <= frame - tap < made:
                            row = tile * made + frame - tap
                            for c in range(channels):
                                points[SIDE * i + j, row, tap, c] = (
                                    p * high[0, c] + q * high[1, c] + r * high[2, c]
                                    + s * high[3, c] + t * high[4, c] + u * high[5, c]
                                )  # fmt: skip


@compiled
def scatter(products, bias, rows, columns, first, matrix, films):  # pyright: ignore
    """Takes products back to tiles of 4 x 4 results.

    Args:
        products: (36, tiles x T', O). bias: (O,). rows, columns, first: as for `gather`. matrix: (4, 6).
        films: written where the tiles lie, (B, T', H', W', O); what a tile has beyond H' and W' is left out.
    """
    _, made, height, width, outputs = films.shape
    high = np.zeros((SIDE, outputs), np.float32)
    for row in range(products.shape[1]):
        film, place = divmod(first + row // made, rows * columns)
        top, start = place // columns * TILE, place % columns * TILE
        for y in range(min(TILE, height - top)):
            p, q, r, s, t, u = matrix[y]
            for j in range(SIDE):
                for c in range(outputs):
                    high[j, c] = (
                        p * products[j, row, c] + q * products[6 + j, row, c] + r * products[12 + j, row, c]
                        + s * products[18 + j, row, c] + t * products[24 + j, row, c] + u * products[30 + j, row, c]
                    )  # fmt: skip
            for x in range(min(TILE, width - start)):
                p, q, r, s, t, u = matrix[x]
                for c in range(outputs):
                    films[film, row % made, top + y, start + x, c] = bias[c] + (
                        p * high[0, c] + q * high[1, c] + r * high[2, c]
                        + s * high[3, c] + t * high[4, c] + u * high[5, c]
                    )  # fmt: skip
