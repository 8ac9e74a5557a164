"""The base of the clip metrics: a value per clip, their mean over clips as the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from floatbench.metrics import paired, statistics
from floatbench.metrics.base import ClipFolds, ClipValue, Metric, Pair, Score, split_failures


class ClipMetric(Metric):
    """A metric whose score is the mean of its clips' values; a subclass defines `clip_value` and `info`.

    The interval is a bootstrap over people, see floatbench.metrics.statistics. Numbers in `ClipValue.extra` are
    averaged over the clips that have them and recorded in `Score.details`.
    """

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        good, failures = split_failures(self, pairs)
        if not good:
            return Score(self.info.id, None, 0, failures, None, "no clip could be measured")
        values = [_value(result) for _, result in good]
        entries = zip(good, values, strict=True)
        folds = ClipFolds(tuple((pair.clip_id, pair.identity, value) for (pair, _), value in entries))
        interval, reason = paired.score_interval([folds], statistics.content_seed(self.info.id))
        details: dict[str, Any] = {"identities": len({pair.identity for pair, _ in good})}
        details |= _means([result.extra for _, result in good])
        pictures, of_pictures = sum(r.pictures for _, r in good), sum(r.of_pictures for _, r in good)
        value = float(np.mean(values))
        return Score(
            self.info.id, value, len(good), failures, interval, reason, details, pictures, of_pictures, folds=folds
        )


def _value(result: ClipValue) -> float:
    if result.value is None:
        raise ValueError("a clip metric returned a clip without a value")
    return result.value


def _means(extras: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each number over the clips that have it."""
    names = sorted({name for extra in extras for name in extra})
    return {name: float(np.mean([extra[name] for extra in extras if name in extra])) for name in names}
