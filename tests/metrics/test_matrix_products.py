"""Products with kernels laid out once: NumPy's numbers, whatever the rows, the columns and the processor's vectors."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.metrics.matrix_products import LANES, ROWS, multiply, packed, width

NUMBERS = np.random.default_rng(0)


def product(
    left: np.ndarray, kernels: np.ndarray, start: np.ndarray, slope: np.ndarray, added: np.ndarray | None = None
) -> np.ndarray:
    """(P, M, N), with numbers that stay as they are behind the rows of each pair."""
    count, rows = left.shape[:2]
    size = width(kernels.shape[2])
    out = np.full((count, rows * size + 3), np.float32(7))
    padded = [np.pad(numbers, (0, size - len(numbers))) for numbers in (start, slope)]
    behind = np.pad(left.reshape(count, -1), ((0, 0), (0, 5)))
    more, line = (np.zeros(size, np.float32), 0) if added is None else (np.zeros_like(out), size)
    if added is not None:
        more[:, : rows * size].reshape(count, rows, size)[..., : added.shape[2]] = added
    multiply(behind, rows, packed(kernels), *padded, more, line, out)
    assert (out[:, rows * size :] == 7).all()
    return out[:, : rows * size].reshape(count, rows, size)[..., : kernels.shape[2]]


@pytest.mark.parametrize("rows", [1, ROWS - 1, ROWS, 2 * ROWS + 1])
@pytest.mark.parametrize("outputs", [1, LANES, 2 * LANES, 5 * LANES - 1])
def test_a_product_is_the_matrix_product(rows, outputs):
    left, kernels = (NUMBERS.standard_normal(shape, np.float32) for shape in ((2, rows, 70), (2, 70, outputs)))
    found = product(left, kernels, np.zeros(outputs, np.float32), np.ones(outputs, np.float32))
    expected = left.astype(np.float64) @ kernels
    assert np.abs(found - expected).max() <= 70 * 2**-24 * np.abs(left).max() * np.abs(kernels).max() * 70**0.5


def test_rows_beyond_one_block_follow():
    left, kernels = NUMBERS.standard_normal((1, 5000, 64), np.float32), np.eye(64, dtype=np.float32)[None]
    np.testing.assert_array_equal(product(left, kernels, np.zeros(64, np.float32), np.ones(64, np.float32)), left)


def test_every_row_begins_with_its_start_and_bends_below_zero():
    left, kernels = np.array([[[1.0], [-1.0], [np.nan]]], np.float32), np.array([[[2.0, 2.0, 2.0]]], np.float32)
    found = product(left, kernels, np.array([1, 1, 0], np.float32), np.array([1, 0, 0.25], np.float32))
    np.testing.assert_array_equal(found[0], [[3, 3, 2], [-1, 0, -0.5], [np.nan] * 3])


@pytest.mark.parametrize("rows", [1, ROWS, 2 * ROWS + 1])
@pytest.mark.parametrize("outputs", [LANES - 1, 3 * LANES])
def test_every_number_may_have_one_of_its_own_added(rows, outputs):
    left, kernels = (NUMBERS.standard_normal(shape, np.float32) for shape in ((2, rows, 20), (2, 20, outputs)))
    start, added = (NUMBERS.standard_normal(shape, np.float32) for shape in ((outputs,), (2, rows, outputs)))
    found = product(left, kernels, start, np.zeros(outputs, np.float32), added)
    expected = np.maximum(start + added + left.astype(np.float64) @ kernels, 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=22 * 2**-24 * 10 * 22**0.5)
