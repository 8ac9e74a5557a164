"""The base of the clip metrics: a value per clip, their mean over clips as the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from floatbench.errors import UsageError
from floatbench.metrics import statistics
from floatbench.metrics.base import ClipValue, Comparison, Metric, Pair, Score, split_failures


class ClipMetric(Metric):
    """A metric whose score is the mean of its clips' values; a subclass defines `clip_value` and `info`.

    The interval is an identity-clustered bootstrap, None with too few identities. Numbers in `ClipValue.extra` are
    averaged over the clips that have them and recorded in `Score.details`.
    """

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        good, failures = split_failures(self, pairs)
        if not good:
            return Score(self.info.id, None, 0, failures, None, "no clip could be measured")
        values = [_value(result) for _, result in good]
        identities = [pair.identity for pair, _ in good]
        interval, reason = self._interval(identities, values)
        details: dict[str, Any] = {"identities": len(set(identities)), **_means([r.extra for _, r in good])}
        pictures, of_pictures = sum(r.pictures for _, r in good), sum(r.of_pictures for _, r in good)
        value = float(np.mean(values))
        return Score(self.info.id, value, len(good), failures, interval, reason, details, pictures, of_pictures)

    def compare(self, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair]) -> Comparison:
        """The mean difference over the clips that both methods have a value for."""
        a, b = ({p.clip_id: (p, r) for p, r in split_failures(self, pairs)[0]} for pairs in (pairs_a, pairs_b))
        common = sorted(a.keys() & b.keys())
        if not common:
            raise UsageError(f"{self.info.id}: the two methods have no measurable clip in common")
        first, second = (np.array([_value(side[clip][1]) for clip in common]) for side in (a, b))
        interval, reason = self._interval([a[clip][0].identity for clip in common], list(first - second))
        difference = float(np.mean(first - second))
        return Comparison(
            self.info.id, len(common), float(first.mean()), float(second.mean()), difference, interval, reason
        )

    def _interval(self, identities: Sequence[str], values: Sequence[float]) -> tuple[statistics.Interval | None, str]:
        reason = statistics.too_few(len(set(identities)))
        if reason:
            return None, reason
        by_identity: dict[str, list[float]] = {}
        for identity, value in zip(identities, values, strict=True):
            by_identity.setdefault(identity, []).append(value)
        return statistics.clustered_bootstrap(by_identity, statistics.content_seed(self.info.id)), ""


def _value(result: ClipValue) -> float:
    if result.value is None:
        raise ValueError("a clip metric returned a clip without a value")
    return result.value


def _means(extras: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each number over the clips that have it."""
    names = sorted({name for extra in extras for name in extra})
    return {name: float(np.mean([extra[name] for extra in extras if name in extra])) for name in names}
