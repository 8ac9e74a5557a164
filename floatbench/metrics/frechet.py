"""The Frechet distance between two sets of feature vectors, shared by FID, FVD, E-FID and P-FID.

    d2 = |m1 - m2|^2 + Tr S1 + Tr S2 - 2 Tr (S1 S2)^(1/2)

Everything is float64. With fewer samples than dimensions the last trace is the sum of the singular values of
`Xc Yc^T / sqrt((n1 - 1)(n2 - 1))`, exact and cheap; otherwise, with S2 = A A^T, it is the sum of the roots of the
eigenvalues of A^T S1 A. A is the Cholesky factor or, where S2 is singular or nearly so, comes from its eigenvectors,
which tell spread from rounding noise. No non-symmetric matrix root is taken, so the result cannot become complex.
Source: Dowson and Landau (1982); Heusel et al. (2017) for FID.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.linalg import get_lapack_funcs

from floatbench.errors import FloatbenchError

Array = np.ndarray | torch.Tensor | ArrayLike
_pocon, _sygst = get_lapack_funcs(("pocon", "sygst"), dtype=np.float64)
WELL_CONDITIONED = 1e-12
"""Least reciprocal condition number of a covariance whose Cholesky factor holds no rounding noise."""


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
        return cls(len(rows), mean, _gram(rows - mean))

    def merge(self, other: Moments) -> Moments:
        """Moments of the union (Chan, Golub, LeVeque 1979)."""
        _same_dimension(len(self.mean), len(other.mean))
        n = self.n + other.n
        if n == 0:
            return self
        delta = other.mean - self.mean
        scatter = (self.scatter + other.scatter).addr_(delta, delta, alpha=self.n * other.n / n)
        return Moments(n, self.mean + delta * (other.n / n), scatter)

    def remove(self, other: Moments) -> Moments:
        """Moments of what is left without `other`, which was merged in: the inverse of `merge`."""
        n = self.n - other.n
        mean = (self.mean * self.n - other.mean * other.n) / n
        delta = other.mean - mean
        scatter = (self.scatter - other.scatter).addr_(delta, delta, alpha=-n * other.n / self.n)
        return Moments(n, mean, scatter)

    def update(self, x: Array) -> Moments:
        """Moments with the rows of `x` added."""
        return self.merge(Moments.of(x, self.mean.device))

    def covariance(self, biased: bool = False) -> torch.Tensor:
        """(d, d) covariance, over N - 1 or, `biased`, over N; raises FrechetError for a single sample."""
        _enough(self.n)
        return self.scatter / (self.n if biased else self.n - 1)


@dataclass(frozen=True)
class Factored:
    """Moments of which the scatter is kept as a root A, so that it is factored once for many distances.

    Attributes:
        n: number of vectors.
        mean: (d,) float64.
        root: (d, r) with A A^T = scatter, see `_root`.
        trace: of the scatter.
    """

    n: int
    mean: torch.Tensor
    root: torch.Tensor
    trace: torch.Tensor

    @classmethod
    def of(cls, moments: Moments) -> Factored:
        if not bool(torch.isfinite(moments.scatter).all()):
            raise NotFiniteError("means or covariances hold NaN or infinite values")
        return cls(moments.n, moments.mean, _root(moments.scatter), moments.scatter.trace())

    def moments(self) -> Moments:
        return Moments(self.n, self.mean, self.root @ self.root.T)


class Sample:
    """Feature vectors of one side: rows while fewer than dimensions, moments from then on (bounded memory).

    Samples of parts are joined with `Sample.join`; `Pool` joins any of many parts fast.
    """

    def __init__(self, dimension: int, device: str | torch.device | None = None) -> None:
        self.dimension = dimension
        self.device = device
        self._rows: list[torch.Tensor] = []
        self._moments: Moments | Factored | None = None
        self._pending = 0
        self._of_rows: Moments | None = None

    @classmethod
    def of(cls, x: Array, device: str | torch.device | None = None) -> Sample:
        rows = as_rows(x, device)
        sample = cls(rows.shape[1], device)
        sample.add(rows)
        return sample

    @classmethod
    def of_moments(cls, moments: Moments, device: str | torch.device | None = None) -> Sample:
        """A sample of which only the moments are known."""
        sample = cls(len(moments.mean), device)
        sample._moments = moments
        return sample

    @classmethod
    def join(cls, parts: Sequence[Sample]) -> Sample:
        """The union of several samples; the parts stay as they are."""
        if not parts:
            raise FrechetError("there is no sample")
        joined = cls(parts[0].dimension, parts[0].device)
        for part in parts:
            _same_dimension(joined.dimension, part.dimension)
        if sum(part.n for part in parts) < joined.dimension:
            for rows in (rows for part in parts for rows in part._rows):
                joined.add(rows)
            return joined
        for part in parts:
            joined._absorb(part.moments())
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
        self._of_rows = None
        if self._pending >= self.dimension:
            self._absorb(Moments.of(torch.cat(self._rows)))
            self._rows, self._pending = [], 0

    def _absorb(self, moments: Moments) -> None:
        known = self._known()
        self._moments = moments if known is None else known.merge(moments)

    def _known(self) -> Moments | None:
        return self._moments.moments() if isinstance(self._moments, Factored) else self._moments

    def rows(self) -> torch.Tensor | None:
        """(n, d) rows while they are still held, else None."""
        if self._moments is not None:
            return None
        return torch.cat(self._rows) if self._rows else torch.zeros(0, self.dimension, dtype=torch.float64)

    def moments(self) -> Moments:
        """Moments of everything added so far; those of rows are kept until more are added."""
        known = self._known()
        if not self._rows:
            return known or Moments.of(np.zeros((0, self.dimension)))
        if self._of_rows is None:
            self._of_rows = Moments.of(torch.cat(self._rows))
        return self._of_rows if known is None else known.merge(self._of_rows)

    def condense(self) -> None:
        """Gives up the rows for their moments: less memory where there are many such samples."""
        self._moments, self._rows, self._pending, self._of_rows = self.moments(), [], 0, None

    def factored(self) -> Factored:
        """The moments with their root, which takes the scatter's place in a sample that holds no rows."""
        if isinstance(self._moments, Factored) and not self._rows:
            return self._moments
        found = Factored.of(self.moments())
        if not self._rows:
            self._moments = found
        return found


class Pool:
    """The rows of one side in groups; the union of most groups comes from the whole by taking the others away.

    Args:
        groups: number of a group -> its sample.
        keep: unions are kept for the next distance with their factors, which is what a reference side needs.
    """

    def __init__(self, groups: Mapping[int, Sample], keep: bool = False) -> None:
        self.groups = dict(groups)
        self.keep = keep
        if sum(sample.n for sample in self.groups.values()) >= 4 * next(iter(self.groups.values())).dimension:
            for sample in self.groups.values():
                sample.condense()
        self._whole = Sample.join(list(self.groups.values()))
        self.unions: dict[tuple[int, ...], Sample] = {}

    @property
    def few_rows(self) -> bool:
        """True while the whole has fewer rows than dimensions."""
        return self._whole.rows() is not None

    def union(self, numbers: Sequence[int]) -> Sample:
        """The sample of some groups together."""
        wanted = tuple(sorted(numbers))
        found = self.unions.get(wanted)
        if found is None:
            found = self._joined(wanted)
            if self.keep:
                self.unions[wanted] = found
        return found

    def _joined(self, wanted: tuple[int, ...]) -> Sample:
        taken = [self.groups[number] for number in wanted]
        others = [sample for number, sample in self.groups.items() if number not in wanted]
        rest = sum(sample.n for sample in taken)
        # what is left of two nearly equal sums has no digits; few rows take the low-rank form
        if rest < max(self._whole.dimension, self._whole.n / 2) or len(others) >= len(taken):
            return Sample.join(taken)
        left = self._whole.moments()
        for sample in others:
            left = left.remove(sample.moments())
        return Sample.of_moments(left, self._whole.device)

    def digest(self) -> str:
        """SHA-256 of the moments of all groups."""
        found = hashlib.sha256()
        for number in sorted(self.groups):
            moments = self.groups[number].moments()
            found.update(f"{number} {moments.n}".encode())
            for tensor in (moments.mean, moments.scatter):
                found.update(tensor.cpu().numpy().tobytes())
        return found.hexdigest()


_last_reference: dict[str, dict[tuple[int, ...], Sample]] = {}


def shared_pool(groups: Mapping[int, Sample]) -> Pool:
    """The pool of a reference side, with the factors of the last call where its content was the same.

    The methods of a table are measured against one reference; only the last one is kept.
    """
    pool = Pool(groups, keep=True)
    if pool.few_rows:  # nothing is factored
        return pool
    digest = pool.digest()
    if digest not in _last_reference:
        forget_reference()
        _last_reference[digest] = {}
    pool.unions = _last_reference[digest]
    return pool


def forget_reference() -> None:
    """Frees what `shared_pool` keeps, up to a gigabyte at d = 2048."""
    _last_reference.clear()


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
    if rows_x is None:
        return _distance_of_moments(x.moments(), y.factored(), biased)
    other = y.moments()
    centred, mean = _scaled(rows_x, biased)
    covariance = other.covariance(biased)
    cross = _sum_of_roots(centred @ covariance @ centred.T)
    return _assemble(mean - other.mean, centred.square().sum(), covariance.trace(), cross)


def moments_distance(mean1: Array, cov1: Array, mean2: Array, cov2: Array) -> float:
    """Squared Frechet distance from means (d,) and covariances (d, d)."""
    m1, m2 = (torch.as_tensor(m).to(torch.float64) for m in (mean1, mean2))
    s1, s2 = (torch.as_tensor(s).to(torch.float64) for s in (cov1, cov2))
    if not (m1.shape == m2.shape and m1.ndim == 1 and s1.shape == s2.shape == (len(m1), len(m1))):
        shapes = ", ".join(str(tuple(t.shape)) for t in (m1, s1, m2, s2))
        raise FrechetError(f"means must be (d,) and covariances (d, d) with one d, got {shapes}")
    if not all(bool(torch.isfinite(t).all()) for t in (m1, s1, m2, s2)):
        raise NotFiniteError("means or covariances hold NaN or infinite values")
    return _assemble(m1 - m2, s1.trace(), s2.trace(), _cross(s1, _root(s2)))


def _distance_of_moments(x: Moments, y: Factored, biased: bool) -> float:
    if not bool(torch.isfinite(x.scatter).all()):
        raise NotFiniteError("means or covariances hold NaN or infinite values")
    scale_x, scale_y = (1 / (n if biased else n - 1) for n in (x.n, y.n))
    cross = _cross(x.scatter, y.root) * (scale_x * scale_y) ** 0.5
    return _assemble(x.mean - y.mean, x.scatter.trace() * scale_x, y.trace * scale_y, cross)


def _root(s: torch.Tensor) -> torch.Tensor:
    """(d, r) A with A A^T = S: the lower Cholesky factor, or eigenvectors where S is not well conditioned."""
    factor, info = torch.linalg.cholesky_ex(s)
    if int(info) == 0:
        # LAPACK reads columns: the transposes of our rows, so that our lower factor is its upper one
        reciprocal, _ = _pocon(factor.cpu().numpy().T, float(s.abs().sum(0).max()), uplo="U")
        if reciprocal > WELL_CONDITIONED:
            return factor
    values, vectors = torch.linalg.eigh(s)
    kept = _clipped(values)
    return (vectors * kept.sqrt())[:, kept > 0]


def _cross(s: torch.Tensor, root: torch.Tensor) -> torch.Tensor:
    """Tr (S A A^T)^(1/2): the sum of the roots of the eigenvalues of A^T S A."""
    if s.device.type == "cpu" and root.shape[0] == root.shape[1] and bool((root[0, 1:] == 0).all()):
        product, _ = _sygst(s.numpy().T, root.numpy().T, itype=2, lower=0)  # half the work for a triangle
        inner = torch.from_numpy(product.T)
    else:
        inner = root.T @ s @ root
    return _clipped(torch.linalg.eigvalsh(inner)).sqrt().sum()


def _gram(rows: torch.Tensor) -> torch.Tensor:
    """X^T X; NumPy computes one triangle of it where torch computes both."""
    if rows.device.type != "cpu":
        return rows.T @ rows
    values = rows.numpy()
    return torch.from_numpy(values.T @ values)


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
    if len(eigenvalues) == 0:
        return eigenvalues
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
