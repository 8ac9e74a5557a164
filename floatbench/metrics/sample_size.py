"""How many clips a distance is really made of: the curve over people, and the share of variance between them.

Rows of a person are alike, so that n counts people (or clips), not rows: with half of the variance between people,
23 windows of each of 78 people are worth 1,794 / (1 + 22 * 0.5) = 150 independent ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NCurve:
    """The score at several sample sizes and its straight line in 1/n.

    Attributes:
        points: (mean number of people or clips, mean score), the last one over all of them.
        extrapolated: the line at 1/n = 0, an estimate of the score of infinitely many; None where `why` forbids it.
        slope: score per 1/n.
        unit: what is counted.
    """

    points: tuple[tuple[float, float], ...]
    extrapolated: float | None
    slope: float | None
    unit: str = "people"
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        line = {"extrapolated": self.extrapolated, "slope": self.slope}
        return {"points": [list(p) for p in self.points], "unit": self.unit, **line, "no_extrapolation": self.why}

    def honest(self, effective: float, dimension: int) -> NCurve:
        """The curve, without its line where the smallest point has no more independent samples than dimensions.

        There the score does not yet fall like 1/n, and the line would be far too high.
        """
        smallest = effective * self.points[0][0] / self.points[-1][0]
        if smallest > dimension:
            return self
        why = f"{smallest:.0f} effective samples at the first point, more than {dimension} are needed for a line in 1/n"
        return NCurve(self.points, None, None, self.unit, why)


def n_curve(
    g: int, score: Callable[[Sequence[int]], tuple[float, float]], whole: tuple[float, float], unit: str = "people"
) -> NCurve | None:
    """Scores unions of groups, taken without replacement; None with fewer than four groups.

    Args:
        g: number of groups.
        score: from the indices of the groups taken to (people or clips in them, score).
        whole: (people or clips, score) of all groups.
    """
    if g < 4:
        return None
    points: list[tuple[float, float]] = []
    for taken in sorted({(g + 1) // 2, round(0.75 * g)}):
        starts = [0, g // 2]  # two windows of groups around the circle: each group is used about equally often
        scores = [score([(start + k) % g for k in range(taken)]) for start in starts]
        points.append((float(np.mean([n for n, _ in scores])), float(np.mean([s for _, s in scores]))))
    points.append(whole)
    inverse = np.array([1 / n for n, _ in points])
    slope, extrapolated = np.polyfit(inverse, [s for _, s in points], 1)
    return NCurve(tuple(points), float(extrapolated), float(slope), unit)


@dataclass
class BetweenPeople:
    """Sums over the rows of each person (or clip), which give the share of variance between them."""

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    squares: float = 0.0

    def add(self, unit: str, rows: np.ndarray) -> None:
        """Adds (N, d) rows of one person."""
        rows = np.asarray(rows, np.float64)
        self.counts[unit] = self.counts.get(unit, 0) + len(rows)
        self.sums[unit] = self.sums.get(unit, 0.0) + rows.sum(0)
        self.squares += float(np.square(rows).sum())

    def effective(self) -> tuple[float, float] | None:
        """(effective number of independent rows, share of the variance between units), or None with too few.

        The variance of the overall mean, measured from the units' own means, is what effective n independent rows
        would have. The share follows from Kish's design effect 1 + (m - 1) share with m rows a unit.
        """
        n, units = sum(self.counts.values()), sorted(self.counts)
        if len(units) < 2 or n <= len(units):
            return None
        counts = np.array([self.counts[u] for u in units], float)
        sums = np.stack([self.sums[u] for u in units])
        mean = sums.sum(0) / n
        total = max(self.squares - n * float(mean @ mean), 0.0) / (n - 1)
        deviations = np.square(sums - counts[:, None] * mean).sum(1).sum()
        of_mean = float(deviations) / n**2 * len(units) / (len(units) - 1)
        if total <= 0 or of_mean <= 0:
            return None
        effect = max(1.0, n * of_mean / total)
        rows_each = float(np.square(counts).sum()) / n
        return n / effect, min(1.0, (effect - 1) / (rows_each - 1)) if rows_each > 1 else 1.0


def sample_size(sides: Mapping[str, BetweenPeople]) -> dict[str, float | None]:
    """Effective n (of the worse side) and the shares of variance between people, as details of a score."""
    found = {side: spread.effective() for side, spread in sides.items()}
    known = [pair[0] for pair in found.values() if pair]
    shares = {f"between_share_{side}": pair[1] if pair else None for side, pair in found.items()}
    return {"effective_n": min(known) if known else None, **shares}
