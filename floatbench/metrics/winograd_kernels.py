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

TILES = {1: 1, 3: 4, 4: 3, 5: 2, 7: 3}
"""Taps of a kernel along a side -> results that one tile has there."""
SIDE = max(taps + tile - 1 for taps, tile in TILES.items())
"""Numbers of the largest tile along a side."""
POINTS = {6: (0.0, 1.0, -1.0, 0.5, -2.0), 9: (0.0, 1.0, -1.0, -0.5, -2.0, 0.25, 0.75, 3.0)}
"""Numbers of a tile along a side -> where the polynomials are evaluated, besides infinity. With the six float32 errs by
a half to a third of what Lavin's (0, 1, -1, 2, -2) cost, and twice as much as a plain convolution does; the nine are
those that err least among the halves, quarters and thirds up to 4."""


@cache
def transforms(taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cook and Toom's matrices of F(tile, taps): of the input, of the kernel, of the products, float64.

    For d (S,) and g (taps,), S = tile + taps - 1: output @ ((kernel @ g) * (input @ d)) is the correlation of d with g,
    (tile,). Their shapes are (S, S), (S, taps) and (tile, S); one tap leaves numbers as they are.
    """
    if taps == 1:
        return np.eye(1), np.eye(1), np.eye(1)
    tile, side = TILES[taps], TILES[taps] + taps - 1
    points = np.array(POINTS[side])
    others = [np.delete(points, i) for i in range(len(points))]
    scale = np.array([np.prod(point - rest) for point, rest in zip(points, others, strict=True)])
    data = np.zeros((side, side))
    for row, rest in enumerate(others):
        data[row, :-1] = np.poly(rest)[::-1]
    data[-1] = np.poly(points)[::-1]
    kernel = np.vstack([points[:, None] ** np.arange(taps) / scale[:, None], np.eye(taps)[-1:]])
    result = np.hstack([points ** np.arange(tile)[:, None], np.eye(tile)[:, -1:]])
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


_as_it_is = _mix(np.eye(1))
_six_points, _nine_points = _mix(transforms(3)[0]), _mix(transforms(7)[0])
_of_three_taps, _of_four_taps, _of_five_taps, _of_seven_taps = (_mix(transforms(taps)[2]) for taps in (3, 4, 5, 7))


@compiled
def _to_points(taps, source, first, step, target, place, stride):  # pyright: ignore
    if taps == 7:
        _nine_points(source, first, step, target, place, stride)
    elif taps == 1:
        _as_it_is(source, first, step, target, place, stride)
    else:
        _six_points(source, first, step, target, place, stride)


@compiled
def _to_results(taps, source, first, step, target, place, stride):  # pyright: ignore
    if taps == 3:
        _of_three_taps(source, first, step, target, place, stride)
    elif taps == 4:
        _of_four_taps(source, first, step, target, place, stride)
    elif taps == 5:
        _of_five_taps(source, first, step, target, place, stride)
    elif taps == 7:
        _of_seven_taps(source, first, step, target, place, stride)
    else:
        _as_it_is(source, first, step, target, place, stride)


@compiled
def gather(films, above, left, kernel, tile, rows, columns, first, count, points):  # pyright: ignore
    """Transforms tiles along both sides.

    Args:
        films: (B, T, H, W, C) float32, contiguous, C at least `LANES`. above, left: zeros before the first row, column.
        kernel: pictures, rows and columns that give to a result, K and taps of `TILES`.
        tile: rows and columns of a tile's results. rows, columns: tiles of a picture.
        first, count: tiles, counted film by film, row by row.
        points: written, (P, count T' K C or more), P the numbers of a tile, T' = T - K + 1: what the K pictures of each
            result give.
    """
    taps, tall, wide = kernel
    side, across = tile[0] + tall - 1, tile[1] + wide - 1
    _, frames, height, width, channels = films.shape
    made = frames - taps + 1
    border = np.zeros((1, 1, side, across, channels), np.float32)
    half = np.empty(SIDE * SIDE * LANES, np.float32)
    for number in range(count):
        film, place = divmod(first + number, rows * columns)
        top, start = place // columns * tile[0] - above, place % columns * tile[1] - left
        for frame in range(frames):
            source, corner, line = films, (((film * frames + frame) * height + top) * width + start) * channels, width
            if not (0 <= top <= height - side and 0 <= start <= width - across):
                for y in range(side):
                    for x in range(across):
                        inside = 0 <= top + y < height and 0 <= start + x < width
                        for c in range(channels):
                            border[0, 0, y, x, c] = films[film, frame, top + y, start + x, c] if inside else 0
                source, corner, line = border, 0, across
            for following in range(0, channels, LANES):
                c = min(following, channels - LANES)
                for x in range(across):
                    _to_points(tall, source, corner + x * channels + c, line * channels, half, x * LANES, SIDE * LANES)
                for tap in range(max(0, frame - made + 1), min(taps, frame + 1)):
                    here = ((number * made + frame - tap) * taps + tap) * channels + c
                    for y in range(side):
                        place = here + y * across * points.shape[1]
                        _to_points(wide, half, y * SIDE * LANES, LANES, points, place, points.shape[1])


@compiled
def scatter(products, size, bias, slope, kernel, tile, rows, columns, first, count, films):  # pyright: ignore
    """Takes products back to tiles of results.

    Args:
        products: (P, count T' size or more). size: of a row of products, O or more.
        bias, slope: (O,), what is added to a result, and what it is multiplied with where it is below 0.
        kernel, tile, rows, columns, first, count: as for `gather`.
        films: written where the tiles lie, (B, T', H', W', O), contiguous, O at least `LANES`; what a tile has beyond
            H' and W' is left out.
    """
    _, made, height, width, outputs = films.shape
    _, tall, wide = kernel
    across = tile[1] + wide - 1
    half = np.empty(SIDE * SIDE * LANES, np.float32)
    results = np.empty(SIDE * SIDE * LANES, np.float32)
    for each in range(count):
        film, place = divmod(first + each, rows * columns)
        top, start = place // columns * tile[0], place % columns * tile[1]
        for frame in range(made):
            corner = (((film * made + frame) * height + top) * width + start) * outputs
            for following in range(0, outputs, LANES):
                c = min(following, outputs - LANES)
                number = (each * made + frame) * size + c
                for x in range(across):
                    place = x * products.shape[1] + number
                    _to_results(tall, products, place, across * products.shape[1], half, x * LANES, SIDE * LANES)
                for y in range(tile[0]):
                    _to_results(wide, half, y * SIDE * LANES, LANES, results, y * SIDE * LANES, LANES)
                for y in range(min(tile[0], height - top)):
                    for x in range(min(tile[1], width - start)):
                        place = corner + (y * width + x) * outputs + c
                        _finish(results, (y * SIDE + x) * LANES, bias, slope, c, films, place)  # pyright: ignore
