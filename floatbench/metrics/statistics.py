"""Intervals of one score: which clips are left out or drawn together, and how far a score moves when they are.

Corpus scores (Frechet distances) must not be bootstrapped: repeated rows lower the rank and move the score far away
from itself. They get a delete-a-group jackknife on the square-root scale, squared back, so that no interval goes below
zero. Means over clips get a bootstrap. Both leave out or draw whole people where there are enough of them; with few
people but many clips of each they work on the clips, and the interval is conditional on the people and says so.
The estimand of an interval is the expected score at this number of people and clips, not that of infinitely many.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from floatbench.metrics.base import Interval

MIN_IDENTITIES = 8
"""Below this many people an interval that speaks of other people is not given: t quantiles no longer mean much."""
MIN_CLIPS = 8
"""With fewer people, this many clips of each are needed for an interval that is conditional on them."""
MAX_GROUPS = 12
"""People (or clips) are joined into at most this many groups, so that a jackknife costs at most 12 more distances."""
LEVEL = 0.95


@dataclass(frozen=True)
class Design:
    """What varies together in a set of clips, and what follows for an interval.

    Attributes:
        people, clips: how many there are.
        conditional: the clips vary, the people are taken as given.
        why: why there is no honest interval; empty when there is one.
    """

    people: int
    clips: int
    conditional: bool = False
    why: str = ""

    @property
    def units(self) -> int:
        """How many people, or clips where the people are taken as given, there are."""
        return self.clips if self.conditional else self.people

    @property
    def unit(self) -> str:
        """What is left out or drawn, in words."""
        return conditional_on(self.people) if self.conditional else "people"

    @classmethod
    def of(cls, identities: Sequence[str]) -> Design:
        """The design of clips, given by the person of each."""
        counts = Counter(identities)
        people, clips, fewest = len(counts), len(identities), min(counts.values(), default=0)
        if people >= MIN_IDENTITIES:
            return cls(people, clips)
        if fewest >= MIN_CLIPS:
            return cls(people, clips, conditional=True)
        least = f"at least {MIN_IDENTITIES} people, or {MIN_CLIPS} clips of each, are needed"
        return cls(people, clips, why=f"{_some(people, 'person')} and {_some(clips, 'clip')} are too few: {least}")


def conditional_on(people: int) -> str:
    """The unit of an interval that takes the people as given."""
    return f"clips, conditional on the {_some(people, 'person')}"


def _some(count: int, noun: str) -> str:
    plural = {"person": "people"}.get(noun, f"{noun}s")
    return f"{count} {noun if count == 1 else plural}"


def balanced_groups(rows: Mapping[str, int], max_groups: int = MAX_GROUPS) -> dict[str, int]:
    """Unit -> group, groups of about equal rows; depends on the set only, never on the order.

    Largest first into the least filled group, names breaking ties.
    """
    filled = [0] * min(max_groups, len(rows))
    groups: dict[str, int] = {}
    for name, count in sorted(rows.items(), key=lambda item: (-item[1], item[0])):
        groups[name] = group = filled.index(min(filled))
        filled[group] += count
    return groups


def clip_groups(clips: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    """Clip -> jackknife group, from clip -> (person, rows).

    People stay whole; where the interval is conditional on them, each group holds clips of every person instead.
    """
    by_person: dict[str, dict[str, int]] = {}
    for clip, (person, rows) in clips.items():
        by_person.setdefault(person, {})[clip] = rows
    if Design.of([person for person, _ in clips.values()]).conditional:
        groups = min(MAX_GROUPS, *(len(own) for own in by_person.values()), len(clips))
        return {clip: group for own in by_person.values() for clip, group in balanced_groups(own, groups).items()}
    group_of = balanced_groups({person: sum(own.values()) for person, own in by_person.items()})
    return {clip: group_of[person] for clip, (person, _) in clips.items()}


def jackknife_error(value: float, left_out: Sequence[float], sizes: Sequence[int]) -> float:
    """Standard error of a score from the scores with one group left out each, groups of unequal sizes.

    With h_j = n / m_j and the pseudo-values h_j value - (h_j - 1) left_out_j it is the root of the mean over groups of
    (pseudo-value - their centre)^2 / (h_j - 1); with equal sizes the usual (G - 1)/G sum of squares.
    Source: Busing, Meijer and van der Leeden (1999), the delete-m_j jackknife.
    """
    left, share = np.asarray(left_out, float), np.asarray(sizes, float) / np.sum(sizes)
    centre = len(left) * value - ((1 - share) * left).sum()
    pseudo = (value - (1 - share) * left) / share
    return float(np.sqrt((np.square(pseudo - centre) * share / (1 - share)).mean()))


def root_interval(root: float, error: float, df: float, method: str, level: float = LEVEL) -> Interval:
    """root +- t(df) error, squared back: the interval of a distance, never below zero."""
    from scipy import stats  # takes 0.7 s to import

    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    return Interval(max(0.0, root - half) ** 2, (root + half) ** 2, level, method)


def jackknife(value: float, left_out: Sequence[float], sizes: Sequence[int], level: float = LEVEL) -> Interval:
    """Interval of a distance from the distances with one group left out each; on the square-root scale, squared back.

    It errs on the wide side, because it counts the quadratic part of a distance twice (Efron and Stein 1981).
    """
    root, roots = value**0.5, np.sqrt(np.asarray(left_out, float))
    error = jackknife_error(root, roots.tolist(), sizes)
    return root_interval(root, error, len(sizes) - 1, f"group jackknife, {len(sizes)} groups", level)


@dataclass(frozen=True)
class Resampled:
    """A mean over clips and its bootstrap distribution.

    Attributes:
        mean: of all clips; means: (draws,) sorted, of each draw.
        units, df: what was drawn, and its degrees of freedom.
        method: how it was drawn.
    """

    mean: float
    means: np.ndarray
    units: int
    df: int
    method: str

    def _end(self, tail: float, upper: bool) -> float:
        """The percentile end, stretched about the mean: with few units the plain one is too short."""
        from scipy import stats  # takes 0.7 s to import

        stretch = (self.units / self.df) ** 0.5 * stats.t.isf(tail, self.df) / stats.norm.isf(tail)
        return float(self.mean + (np.quantile(self.means, 1 - tail if upper else tail) - self.mean) * stretch)

    def interval(self, level: float = LEVEL) -> Interval:
        """The percentile interval, stretched by sqrt(units/df) t(df)/z."""
        tail = (1 - level) / 2
        return Interval(self._end(tail, False), self._end(tail, True), level, self.method)

    def p(self) -> float:
        """Two-sided p of the mean being zero: 1 - the level at which the interval reaches zero.

        Beyond the draws the tail is taken as normal. Where nothing varies at all it is that of a sign test.
        """
        from scipy import stats  # takes 0.7 s to import
        from scipy.optimize import brentq

        if self.mean == 0:
            return 1.0
        upper, first = self.mean < 0, 1 / len(self.means)
        away = lambda tail: self._end(tail, upper) * (-1 if upper else 1)  # noqa: E731 - positive while 0 is outside
        if away(first) <= 0:
            most = 0.4999
            return 1.0 if away(most) <= 0 else 2 * cast(float, brentq(away, first, most))
        reach = abs(float(np.quantile(self.means, 1 - first if upper else first)) - self.mean)
        if reach == 0:
            return 0.5 ** (self.units - 1)
        scale = reach / stats.norm.isf(first) * (self.units / self.df) ** 0.5
        return float(2 * stats.t.sf(abs(self.mean) / scale, self.df))

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return float(np.std(self.means)) * (self.units / self.df) ** 0.5


def resampled(
    values: Mapping[str, Sequence[float]], seed: int = 0, draws: int = 2000, conditional: bool = False
) -> Resampled:
    """The mean over clips, drawn with replacement: people with all their clips, or clips within each person.

    Args:
        values: person -> the values of the clips.
        seed: of the draws; people are sorted first, so that the order of clips changes nothing.
        conditional: the people are taken as given, their clips are drawn.
    """
    names = sorted(values)
    g, clips = len(names), sum(len(values[name]) for name in names)
    if conditional:
        rng = np.random.default_rng(np.random.SeedSequence([seed, g, clips]))
        sums = np.zeros(draws)
        for name in names:
            own = np.sort(np.asarray(values[name], float))
            sums += own[rng.integers(0, len(own), (draws, len(own)))].sum(1)
        mean = sum(float(np.sum(values[name])) for name in names) / clips
        method = f"bootstrap over {clips} {conditional_on(g)}, {draws} draws, seed {seed}"
        return Resampled(mean, np.sort(sums / clips), clips, clips - g, method)
    sums = np.array([float(np.sum(values[name])) for name in names])
    counts = np.array([len(values[name]) for name in names], float)
    rng = np.random.default_rng(np.random.SeedSequence([seed, g]))
    picks = rng.integers(0, g, (draws, g))
    means = np.sort(sums[picks].sum(1) / counts[picks].sum(1))
    method = f"bootstrap over {g} people, {draws} draws, seed {seed}"
    return Resampled(float(sums.sum() / counts.sum()), means, g, g - 1, method)


def clustered_bootstrap(
    values: Mapping[str, Sequence[float]], seed: int = 0, draws: int = 2000, level: float = LEVEL
) -> Interval:
    """Interval of a mean over clips: people are drawn with replacement, with all their clips; see `resampled`."""
    return resampled(values, seed, draws).interval(level)


def content_seed(text: str) -> int:
    """A 32-bit seed from a text such as a metric id, so that draws are equal on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
