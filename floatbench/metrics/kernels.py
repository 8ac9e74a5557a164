"""Kernels of the squared distances between feature sets, and how their estimates are put together.

cubic     (x . y / d + 1)^3, unbiased               KID: Binkowski et al. 2018
square    (x . y / d)^2, over all pairs, times 100  JEDi: Luo et al. 2025, its mmd_polynomial at c03d1785
gaussian  exp(-|x - y|^2 / 200), all pairs, 1000    CMMD: Jayasumana et al. 2024, cmmd-pytorch at f7673a9f
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCK = 2048
"""Rows of one side that are multiplied at a time: 32 MB of kernel values."""
SIGMA = 10.0
"""Bandwidth of CMMD's Gaussian."""


@dataclass(frozen=True)
class Kernel:
    """A kernel and its estimate.

    Attributes:
        name: of the kernel.
        values: from dot products (N, M), squared lengths (N,) and (M,) and the dimension to kernel values (N, M).
        formula: of the whole estimate.
        unbiased: leaves out k(x, x); otherwise all pairs count, so that the estimate is never negative.
        factor: what the estimate is multiplied by.
    """

    name: str
    values: Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
    formula: str
    unbiased: bool = True
    factor: float = 1.0

    def total(self, x: np.ndarray, y: np.ndarray) -> float:
        """Sum of k over all pairs of rows of (N, d) and (M, d), in float64."""
        lengths = np.square(x).sum(1), np.square(y).sum(1)
        total = 0.0
        for a in range(0, len(x), BLOCK):
            for b in range(0, len(y), BLOCK):
                rows, columns = slice(a, a + BLOCK), slice(b, b + BLOCK)
                dots = x[rows] @ y[columns].T
                total += float(self.values(dots, lengths[0][rows], lengths[1][columns], x.shape[1]).sum())
        return total

    def diagonal(self, x: np.ndarray) -> float:
        """Sum of k(x, x) over the rows of (N, d)."""
        lengths = np.square(x).sum(1)
        return float(sum(self.values(s[None, None], s[None], s[None], x.shape[1])[0, 0] for s in lengths))

    def estimate(self, within: float, own: float, across: float, n: int) -> float:
        """From the sums over both sides' own pairs, of these k(x, x), and over pairs across, n rows a side."""
        if self.unbiased:
            return self.factor * ((within - own) / (n * (n - 1)) - 2 * across / n**2)
        return self.factor * max((within - 2 * across) / n**2, 0.0)  # below 0 by rounding only


def _cubic(dots: np.ndarray, x: np.ndarray, y: np.ndarray, d: int) -> np.ndarray:
    dots /= d
    dots += 1
    return dots * dots * dots


def _square(dots: np.ndarray, x: np.ndarray, y: np.ndarray, d: int) -> np.ndarray:
    return np.square(dots / d)


def _gaussian(dots: np.ndarray, x: np.ndarray, y: np.ndarray, d: int) -> np.ndarray:
    return np.exp((2 * dots - x[:, None] - y[None]) / (2 * SIGMA**2))


_FORM = "mean k(x, x') + mean k(y, y') - 2 mean k(x, y)"
CUBIC = Kernel("cubic", _cubic, f"{_FORM}, k = (x . y / d + 1)^3, all pairs of different rows")
SQUARE = Kernel("square", _square, f"100 ({_FORM}), k = (x . y / d)^2, all pairs", unbiased=False, factor=100)
GAUSSIAN = Kernel(
    "gaussian", _gaussian, f"1000 ({_FORM}), k = exp(-|x - y|^2 / 200), all pairs", unbiased=False, factor=1000
)
