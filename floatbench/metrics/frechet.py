"""The Frechet distance between two sets of feature vectors, shared by FID, FVD, E-FID and P-FID.

    d2 = |m1 - m2|^2 + Tr S1 + Tr S2 - 2 Tr (S1 S2)^(1/2)

Everything is float64. With fewer samples than dimensions the last trace is the sum of the singular values of
`Xc Yc^T / sqrt((n1 - 1)(n2 - 1))`, exact and cheap; otherwise it comes from two symmetric eigenproblems. No
non-symmetric matrix root is taken, so the result cannot become complex.
Source: Dowson and Landau (1982); Heusel et al. (2017) for FID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from floatbench.errors import FloatbenchError

Array = np.ndarray | torch.Tensor | ArrayLike


class FrechetError(FloatbenchError, ValueError):
    """Features that have no Frechet distance: NaN, one sample, unequal dimensions."""


class NotFiniteError(FrechetError):
    """Features, means or covariances with NaN or infinities."""


def as_rows(x: Array, device: str | torch.device | None = None, name: str = "features") -> torch.Tensor:
    """(N, d) float64 tensor of finite numbers; raises FrechetError for another shape, NaN or infinity."""
    rows = torch.as_tensor(x, device=device).to(torch.float64)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise FrechetError(f"{name} must be (N, d), got {tuple(rows.shape)}")
    if not bool(torch.isfinite(rows).all()):
        raise NotFiniteError(f"{name} hold NaN or infinite values", fix="drop the failed frames from both sides first")
    return rows


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of a set of vectors; sets that were counted apart are merged exactly.

    Attributes:
        n: number of vectors.
        mean: (d,) float64.
        scatter: (d, d) float64, sum of (x - mean)(x - mean)^T. Unlike sum of x x^T it does not lose digits when the
            mean is large beside the spread.
    """

    n: int
    mean: torch.Tensor
    scatter: torch.Tensor

    @classmethod
    def of(cls, x: Array, device: str | torch.device | None = None) -> Moments:
        """Moments of the rows of `x` (N, d); N may be 0 or 1."""
        rows = as_rows(x, device)
        mean = rows.mean(0) if len(rows) else rows.new_zeros(rows.shape[1])
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def merge(self, other: Moments) -> Moments:
        """Moments of the union (Chan, Golub, LeVeque 1979)."""
        _same_dimension(len(self.mean), len(other.mean))
        n = self.n + other.n
        if n == 0:
            return self
        delta = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(delta, delta) * (self.n * other.n / n)
        return Moments(n, self.mean + delta * (other.n / n), scatter)

    def update(self, x: Array) -> Moments:
        """Moments with the rows of `x` added."""
        return self.merge(Moments.of(x, self.mean.device))

    def covariance(self, biased: bool = False) -> torch.Tensor:
        """(d, d) covariance, over N - 1 or, `biased`, over N; raises FrechetError for a single sample."""
        _enough(self.n)
        return self.scatter / (self.n if biased else self.n - 1)


class Sample:
    """Feature vectors of one side: rows while fewer than dimensions, moments from then on (bounded memory).

    Samples of parts are joined with `Sample.join`, which is what jackknife, n-curve and merging of shards need.
    """

    def __init__(self, dimension: int, device: str | torch.device | None = None) -> None:
        self.dimension = dimension
        self.device = device
        self._rows: list[torch.Tensor] = []
        self._moments: Moments | None = None
        self._pending = 0

    @classmethod
    def of(cls, x: Array, device: str | torch.device | None = None) -> Sample:
        rows = as_rows(x, device)
        sample = cls(rows.shape[1], device)
        sample.add(rows)
        return sample

    @classmethod
    def join(cls, parts: Sequence[Sample]) -> Sample:
        """The union of several samples; the parts stay as they are."""
        if not parts:
            raise FrechetError("there is no sample")
        joined = cls(parts[0].dimension, parts[0].device)
        for part in parts:
            _same_dimension(joined.dimension, part.dimension)
            if part._moments is not None:
                joined._absorb(part._moments)
            for rows in part._rows:
                joined.add(rows)
        return joined

    @property
    def n(self) -> int:
        return self._pending + (self._moments.n if self._moments else 0)

    def add(self, x: Array) -> None:
        """Adds rows (N, d)."""
        rows = as_rows(x, self.device)
        _same_dimension(self.dimension, rows.shape[1])
        self._rows.append(rows)
        self._pending += len(rows)
        if self._pending >= self.dimension:
            self._absorb(Moments.of(torch.cat(self._rows)))
            self._rows, self._pending = [], 0

    def _absorb(self, moments: Moments) -> None:
        self._moments = moments if self._moments is None else self._moments.merge(moments)

    def rows(self) -> torch.Tensor | None:
        """(n, d) rows while they are still held, else None."""
        if self._moments is not None:
            return None
        return torch.cat(self._rows) if self._rows else torch.zeros(0, self.dimension, dtype=torch.float64)

    def moments(self) -> Moments:
        """Moments of everything added so far."""
        if not self._rows:
            return self._moments or Moments.of(np.zeros((0, self.dimension)))
        pending = Moments.of(torch.cat(self._rows))
        return pending if self._moments is None else self._moments.merge(pending)


def frechet_distance(x: Array, y: Array, biased: bool = False, device: str | torch.device | None = None) -> float:
    """Squared Frechet distance between Gaussians fitted to two feature sets.

    Args:
        x, y: (N1, d) and (N2, d), NumPy or torch, any float type; computed in float64.
        biased: covariances over N (stylegan-v) instead of N - 1.
        device: where to compute; by default where the tensors are (NumPy: CPU).

    Raises:
        FrechetError: NaN or infinity, fewer than two samples, unequal dimensions.
    """
    return sample_distance(Sample.of(x, device), Sample.of(y, device), biased)


def sample_distance(x: Sample, y: Sample, biased: bool = False) -> float:
    """Squared Frechet distance between two samples; takes the low-rank form where one side has fewer rows than d."""
    _same_dimension(x.dimension, y.dimension)
    _enough(x.n)
    _enough(y.n)
    rows_x, rows_y = x.rows(), y.rows()
    if rows_x is not None and rows_y is not None:
        return _distance_of_rows(rows_x, rows_y, biased)
    if rows_y is not None:
        return sample_distance(y, x, biased)
    other = y.moments()
    if rows_x is None:
        mine = x.moments()
        return moments_distance(mine.mean, mine.covariance(biased), other.mean, other.covariance(biased))
    centred, mean = _scaled(rows_x, biased)
    covariance = other.covariance(biased)
    cross = _sum_of_roots(centred @ covariance @ centred.T)
    return _assemble(mean - other.mean, centred.square().sum(), covariance.trace(), cross)


def moments_distance(mean1: Array, cov1: Array, mean2: Array, cov2: Array) -> float:
    """Squared Frechet distance from means (d,) and covariances (d, d), by two symmetric eigenproblems.

    With S1 = A A^T from the first, the trace of (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of A^T S2 A.
    """
    m1, m2 = (torch.as_tensor(m).to(torch.float64) for m in (mean1, mean2))
    s1, s2 = (torch.as_tensor(s).to(torch.float64) for s in (cov1, cov2))
    if not (m1.shape == m2.shape and m1.ndim == 1 and s1.shape == s2.shape == (len(m1), len(m1))):
        shapes = ", ".join(str(tuple(t.shape)) for t in (m1, s1, m2, s2))
        raise FrechetError(f"means must be (d,) and covariances (d, d) with one d, got {shapes}")
    if not all(bool(torch.isfinite(t).all()) for t in (m1, s1, m2, s2)):
        raise NotFiniteError("means or covariances hold NaN or infinite values")
    values, vectors = torch.linalg.eigh(s1)
    factor = vectors * _clipped(values).sqrt()
    return _assemble(m1 - m2, s1.trace(), s2.trace(), _sum_of_roots(factor.T @ s2 @ factor))


def _distance_of_rows(x: torch.Tensor, y: torch.Tensor, biased: bool) -> float:
    x_centred, x_mean = _scaled(x, biased)
    y_centred, y_mean = _scaled(y, biased)
    cross = torch.linalg.svdvals(x_centred @ y_centred.T).sum()
    return _assemble(x_mean - y_mean, x_centred.square().sum(), y_centred.square().sum(), cross)


def _scaled(rows: torch.Tensor, biased: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Centred rows scaled so that their outer product is the covariance, and the mean."""
    mean = rows.mean(0)
    return (rows - mean) / (len(rows) if biased else len(rows) - 1) ** 0.5, mean


def _sum_of_roots(symmetric: torch.Tensor) -> torch.Tensor:
    return _clipped(torch.linalg.eigvalsh((symmetric + symmetric.T) / 2)).sqrt().sum()


def _clipped(eigenvalues: torch.Tensor) -> torch.Tensor:
    """Zero instead of eigenvalues that are rounding noise: the root of 1e-16 would be 1e-8, once for each."""
    floor = len(eigenvalues) ** 0.5 * torch.finfo(torch.float64).eps * eigenvalues.max().clamp(min=0)
    return torch.where(eigenvalues > floor, eigenvalues, 0.0)


def _assemble(delta: torch.Tensor, trace1: torch.Tensor, trace2: torch.Tensor, cross: torch.Tensor) -> float:
    distance = float(delta.square().sum() + trace1 + trace2 - 2 * cross)
    return max(distance, 0.0)  # equal inputs give rounding noise of either sign


def _same_dimension(d1: int, d2: int) -> None:
    if d1 != d2:
        raise FrechetError(f"the two sides have different dimensions: {d1} and {d2}")


def _enough(n: int) -> None:
    if n < 2:
        raise FrechetError(f"a covariance needs at least two samples, got {n}")
