"""How far two ways of computing one number may lie apart: from the size of the numbers and the length of the sums.

A sum of n products in floating point is off by at most about n u times the sum of the magnitudes (u: the unit roundoff,
half the machine epsilon); in practice the roundings have both signs and the error grows like sqrt(n) u. Which of the
many orders of summation a processor takes depends on its vector width, its cache and the number of threads, so that no
test may ask for less than `rounding`, and bit equality only where the same program runs on the same operands.
"""

from __future__ import annotations

import math

import numpy as np


def unit_roundoff(dtype: str = "float32") -> float:
    """Half the distance from 1 to the next number: 6e-8 for float32, 1.1e-16 for float64."""
    return float(np.finfo(dtype).eps) / 2


def rounding(length: int, magnitude: float = 1.0, sums: int = 1, dtype: str = "float32") -> float:
    """The difference that rounding can make between two orders of summation.

    Args:
        length: products in the longest sum, e.g. input channels times kernel height times kernel width.
        magnitude: size of the numbers that are compared.
        sums: sums that follow one another, e.g. the layers of a network that neither amplify nor damp.

    Returns:
        magnitude * u * 2 * sqrt(length * sums): roundings add up like a random walk, over each sum and from sum to
        sum. A single one is uniform in +-u of a partial sum that is half the whole on average, so that this is about
        six standard deviations: chance does not turn a test red.
    """
    return magnitude * unit_roundoff(dtype) * 2 * math.sqrt(length * sums)


def worst_rounding(length: int, magnitude: float = 1.0, dtype: str = "float32") -> float:
    """The most that one sum can be off, all roundings in one direction: magnitude * u * length."""
    return magnitude * unit_roundoff(dtype) * length
