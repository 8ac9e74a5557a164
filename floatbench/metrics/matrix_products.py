"""Matrix products with kernels that never change, at the pace of the processor's multiply-adds.

A network's kernels are laid out once, in strips as wide as two of the processor's vectors; a product then reads both
factors from start to end, and keeps a handful of rows of one strip in registers. Libraries lay their factors out anew
at every call, which costs small products a third of their time. Each number is summed over the channels in their
order, with one multiply-add each, whatever the processor's vectors are.

Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_FEATURES = get_host_cpu_features()
LANES = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4
"""Float32 numbers in a vector of this processor."""
ROWS = 8 if LANES == 16 else 6
"""Rows at a time: with two vectors of results each, those of a strip and a factor they fit into the registers."""
STRIP = 2 * LANES
LINE = 16
"""Numbers that memory hands over at once: 64 bytes."""
BLOCK_BYTES = 1 << 18
"""Of rows that one strip after the other multiplies: they stay in the second cache."""
NEAR_BYTES = 1 << 19
"""Of kernels that stay there instead, while rows pass by."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled when it is first called, and kept on disk where there is a place for it."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package nor the user's cache can be written: compiled anew in every process
        return njit(nogil=True)(function)


class Vectors:
    """Instructions on vectors of float32 in contiguous arrays, for functions that numba compiles.

    Args:
        context, build, signature: as numba hands them to a generator of code.
    """

    def __init__(self, context: Any, build: Any, signature: Any) -> None:
        self.context, self.build, self.signature = context, build, signature
        self.kind = ir.VectorType(ir.FloatType(), LANES)
        name, function = f"llvm.fmuladd.v{LANES}f32", ir.FunctionType(self.kind, [self.kind] * 3)
        self._multiply_add = cgutils.get_or_insert_function(build.module, function, name)

    def first(self, number: int, array: Any) -> Any:
        """Where the first number of the `number`-th argument, an array, lies."""
        return self.context.make_array(self.signature.args[number])(self.context, self.build, array).data

    def load(self, array: Any, offset: Any) -> Any:
        return self.build.load(self._at(array, offset), align=4)

    def store(self, vector: Any, array: Any, offset: Any) -> None:
        self.build.store(vector, self._at(array, offset), align=4)

    def _at(self, array: Any, offset: Any) -> Any:
        return self.build.bitcast(self.build.gep(array, [offset]), self.kind.as_pointer())

    def everywhere(self, number: Any) -> Any:
        """A vector of one number."""
        undefined, lanes = self.kind(ir.Undefined), ir.VectorType(ir.IntType(32), LANES)([0] * LANES)
        return self.build.shuffle_vector(
            self.build.insert_element(undefined, number, ir.IntType(32)(0)), undefined, lanes
        )

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.build.call(self._multiply_add, [a, b, c])

    def bent(self, numbers: Any, slopes: Any) -> Any:
        """The numbers above 0, and the others (NaN, too) times the slopes."""
        above = self.build.fcmp_ordered(">", numbers, self.kind([0.0] * LANES))
        return self.build.select(above, numbers, self.build.fmul(numbers, slopes))

    def fetch(self, array: Any, offset: Any) -> None:
        """Has the number's line of memory brought into the nearest cache; beyond the array nothing happens."""
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        name, function = "llvm.prefetch.p0i8", ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        place = self.build.bitcast(self.build.gep(array, [offset]), byte)
        self.build.call(
            cgutils.get_or_insert_function(self.build.module, function, name),
            [place, number(0), number(3), number(1)],  # to be read, kept in all caches, data
        )

    def further(self, offset: Any, count: int, step: Any = None) -> Any:
        """offset + count step."""
        whole = offset.type(count) if step is None else self.build.mul(step, offset.type(count))
        return self.build.add(offset, whole)


def _tile(rows: int, vectors: int, ahead: bool = False) -> Any:
    """A function that multiplies rows with one strip, all in registers; `ahead` fetches the strip that follows."""

    @intrinsic
    def tile(context, left, first, channels, kernels, strip, start, slope, column, added, line, out, place, step):  # pyright: ignore
        """out[place + r step + i] is the `multiply` of row r of `left` (from `first` on) and number i of the strip.

        Added to row r is what lies at place and column of a row of `added`, or in its only row where `line` is 0.
        """
        size = types.intp
        kinds = left, size, size, kernels, size, start, slope, size, added, size, out, size, size
        return types.void(*kinds), generate

    def generate(context: Any, build: Any, signature: Any, values: Any) -> Any:
        v = Vectors(context, build, signature)
        _, first, channels, _, strip, _, _, column, _, line, _, place, step = values
        left, kernels, start, slope, added, out = (v.first(i, values[i]) for i in (0, 3, 5, 6, 8, 10))
        index, here = first.type, build.block
        further = build.select(build.icmp_signed("==", line, index(0)), column, place)
        for r in range(rows):  # what the next rows of this strip will want
            v.fetch(added, v.further(further, r + rows, line))
            v.fetch(out, v.further(place, r + rows, step))
        before = [
            [
                build.fadd(
                    v.load(start, v.further(column, i * LANES)),
                    v.load(added, v.further(v.further(further, r, line), i * LANES)),
                )
                for i in range(vectors)
            ]
            for r in range(rows)
        ]
        loop, after = build.append_basic_block("channels"), build.append_basic_block("store")
        build.branch(loop)
        build.position_at_end(loop)
        k = build.phi(index)
        sums = [[build.phi(v.kind) for _ in range(vectors)] for _ in range(rows)]
        position = v.further(strip, vectors * LANES, k)
        kernel = [v.load(kernels, v.further(position, i * LANES)) for i in range(vectors)]
        for i in range(0, vectors * LANES if ahead else 0, LINE):
            v.fetch(kernels, v.further(v.further(position, vectors * LANES, channels), i))
        made = []
        for r in range(rows):
            number = build.add(v.further(first, r, channels), k)
            factor = v.everywhere(build.load(build.gep(left, [number]), align=4))
            made.append([v.multiply_add(factor, kernel[i], sums[r][i]) for i in range(vectors)])
        following = v.further(k, 1)
        build.cbranch(build.icmp_signed("<", following, channels), loop, after)
        k.add_incoming(index(0), here)
        k.add_incoming(following, loop)
        build.position_at_end(after)
        for r in range(rows):
            for i in range(vectors):
                sums[r][i].add_incoming(before[r][i], here)
                sums[r][i].add_incoming(made[r][i], loop)
                bent = v.bent(made[r][i], v.load(slope, v.further(column, i * LANES)))
                v.store(bent, out, v.further(v.further(place, r, step), i * LANES))
        return context.get_dummy_value()

    return tile


_wide, _narrow, _wide_row, _narrow_row = _tile(ROWS, 2), _tile(ROWS, 1), _tile(1, 2), _tile(1, 1)
_wide_ahead = _tile(ROWS, 2, ahead=True)


def width(outputs: int) -> int:
    """Columns of a product with this many outputs: whole vectors."""
    return -(-outputs // LANES) * LANES


def packed(kernels: np.ndarray) -> np.ndarray:
    """(P, K, N) -> (P, K width(N)) float32: strip by strip, each (K, STRIP); the last may be one vector wide."""
    padded = np.pad(kernels, ((0, 0), (0, 0), (0, width(kernels.shape[2]) - kernels.shape[2])))
    strips = [padded[:, :, i : i + STRIP].reshape(len(padded), -1) for i in range(0, padded.shape[2], STRIP)]
    return np.ascontiguousarray(np.concatenate(strips, 1), np.float32)


@compiled
def multiply(left, rows, kernels, start, slope, added, line, out):  # pyright: ignore
    """y = start + added + left @ kernels for each of P pairs, and out = y where y > 0, else slope y.

    Args:
        left: (P, rows K or more) float32, contiguous. kernels: (P, K width) as `packed` lays them.
        start, slope: (width,) float32. A slope of 1 changes nothing, one of 0 is a ReLU.
        added: of the shape of `out`, with `line` = width; or (width,) for all rows, with `line` = 0.
        out: written, (P, rows width or more).
    """
    columns = len(start)
    channels = kernels.shape[1] // columns
    block = max(BLOCK_BYTES // (4 * channels * ROWS), 1) * ROWS
    if len(left) == 1 and 4 * kernels.shape[1] <= NEAR_BYTES:
        block = ROWS  # long products: each row is read and written from its start to its end, once
    step = ROWS if rows >= ROWS else 1
    for pair in range(len(left)):
        for begin in range(0, rows, block):
            for column in range(0, columns, STRIP):
                strip = (pair * columns + column) * channels
                for number in range(begin, min(begin + block, rows), step):
                    row = min(number, rows - step)  # the last rows of all may be computed twice
                    first, place = pair * left.shape[1] + row * channels, pair * out.shape[1] + row * columns + column
                    if column + STRIP <= columns:
                        if step > 1 and number == begin:
                            _wide_ahead(left, first, channels, kernels, strip, start, slope, column, added, line, out,
                                        place, columns)  # fmt: skip
                        elif step > 1:
                            _wide(left, first, channels, kernels, strip, start, slope, column, added, line, out,
                                  place, columns)  # fmt: skip
                        else:
                            _wide_row(left, first, channels, kernels, strip, start, slope, column, added, line, out,
                                      place, columns)  # fmt: skip
                    elif step > 1:
                        _narrow(left, first, channels, kernels, strip, start, slope, column, added, line, out,
                                place, columns)  # fmt: skip
                    else:
                        _narrow_row(left, first, channels, kernels, strip, start, slope, column, added, line, out,
                                    place, columns)  # fmt: skip
