"""The tiles of `floatbench.metrics.winograd` in compiled loops: numbers go from pictures to matrix products and back.

A tile is made where its numbers lie in the nearest cache, a vector of channels at a time; as passes of torch over whole
pictures the same transforms cost as much as the products. Numba compiles both functions once and keeps them on disk.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from floatbench.metrics.matrix_products import LANES, Vectors, compiled

TILE, TAPS = 4, 3
SIDE = TILE + TAPS - 1
POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)
"""Where the polynomials are evaluated, besides infinity. With these float32 errs by a half to a third of what Lavin's
(0, 1, -1, 2, -2) cost, and twice as much as a plain convolution does."""


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


def _mix(matrix: np.ndarray) -> Any:
    """A function that applies a matrix (R, S) to S vectors of channels; its zeros and ones cost nothing."""

    @intrinsic
    def mix(context, source, first, step, target, place, stride):  # pyright: ignore
        """target[place + r stride + c] = sum over s of matrix[r, s] source[first + s step + c], for LANES channels."""
        return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate

    def generate(context: Any, build: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, build, signature)
        source, target = v.first(0, values[0]), v.first(3, values[3])
        vectors = [v.load(source, v.further(values[1], s, values[2])) for s in range(matrix.shape[1])]
        for r, row in enumerate(matrix):
            order = sorted(np.flatnonzero(row).tolist(), key=lambda s, row=row: row[s] != 1)
            made = vectors[order[0]]  # every row has a 1
            for s in order[1:]:
                if row[s] == 1:
                    made = build.fadd(made, vectors[s])
                else:
                    made = v.multiply_add(v.kind([float(row[s])] * LANES), vectors[s], made)
            v.store(made, target, v.further(values[4], r, values[5]))
        return context.get_dummy_value()

    return mix


@intrinsic
def _finish(context, results, first, bias, slope, number, films, place):  # pyright: ignore
    """films[place + c] = results[first + c] + bias[number + c], times the slope where it is below 0."""

    def generate(context: Any, build: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, build, signature)
        arrays = {i: v.first(i, values[i]) for i in (0, 2, 3, 5)}
        whole = build.fadd(v.load(arrays[0], values[1]), v.load(arrays[2], values[4]))
        v.store(v.bent(whole, v.load(arrays[3], values[4])), arrays[5], values[6])
        return context.get_dummy_value()

    return types.void(results, types.intp, bias, slope, types.intp, films, types.intp), generate


_to_points, _to_results = _mix(transforms()[0]), _mix(transforms()[2])


@compiled
def gather(films, above, left, rows, columns, first, count, taps, points):  # pyright: ignore
    """Transforms tiles of 6 x 6 along both sides.

    Args:
        films: (B, T, H, W, C) float32, contiguous, C at least `LANES`. above, left: zeros before the first row, column.
        rows, columns: tiles of a picture. first, count: tiles, counted film by film, row by row.
        taps: pictures that give to a result, K.
        points: written, (36, count T' K C or more), T' = T - K + 1: what the K pictures of each result give.
    """
    _, frames, height, width, channels = films.shape
    made = frames - taps + 1
    border = np.zeros((1, 1, SIDE, SIDE, channels), np.float32)
    half = np.empty(SIDE * SIDE * LANES, np.float32)
    for tile in range(count):
        film, place = divmod(first + tile, rows * columns)
        top, start = place // columns * TILE - above, place % columns * TILE - left
        for frame in range(frames):
            source, corner, line = films, (((film * frames + frame) * height + top) * width + start) * channels, width
            if not (0 <= top <= height - SIDE and 0 <= start <= width - SIDE):
                for y in range(SIDE):
                    for x in range(SIDE):
                        inside = 0 <= top + y < height and 0 <= start + x < width
                        for c in range(channels):
                            border[0, 0, y, x, c] = films[film, frame, top + y, start + x, c] if inside else 0
                source, corner, line = border, 0, SIDE
            for following in range(0, channels, LANES):
                c = min(following, channels - LANES)
                for x in range(SIDE):
                    _to_points(source, corner + x * channels + c, line * channels, half, x * LANES, SIDE * LANES)
                for tap in range(max(0, frame - made + 1), min(taps, frame + 1)):
                    number = ((tile * made + frame - tap) * taps + tap) * channels + c
                    for y in range(SIDE):
                        place = number + y * SIDE * points.shape[1]
                        _to_points(half, y * SIDE * LANES, LANES, points, place, points.shape[1])


@compiled
def scatter(products, size, bias, slope, rows, columns, first, count, films):  # pyright: ignore
    """Takes products back to tiles of 4 x 4 results.

    Args:
        products: (36, count T' size or more). size: of a row of products, O or more.
        bias, slope: (O,), what is added to a result, and what it is multiplied with where it is below 0.
        rows, columns, first, count: as for `gather`.
        films: written where the tiles lie, (B, T', H', W', O), contiguous, O at least `LANES`; what a tile has beyond
            H' and W' is left out.
    """
    _, made, height, width, outputs = films.shape
    half = np.empty(TILE * SIDE * LANES, np.float32)
    results = np.empty(TILE * TILE * LANES, np.float32)
    for tile in range(count):
        film, place = divmod(first + tile, rows * columns)
        top, start = place // columns * TILE, place % columns * TILE
        for frame in range(made):
            corner = (((film * made + frame) * height + top) * width + start) * outputs
            for following in range(0, outputs, LANES):
                c = min(following, outputs - LANES)
                number = (tile * made + frame) * size + c
                for x in range(SIDE):
                    place = x * products.shape[1] + number
                    _to_results(products, place, SIDE * products.shape[1], half, x * LANES, SIDE * LANES)
                for y in range(TILE):
                    _to_results(half, y * SIDE * LANES, LANES, results, y * TILE * LANES, LANES)
                for y in range(min(TILE, height - top)):
                    for x in range(min(TILE, width - start)):
                        place = corner + (y * width + x) * outputs + c
                        _finish(results, (y * TILE + x) * LANES, bias, slope, c, films, place)  # pyright: ignore
