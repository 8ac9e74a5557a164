"""A score whose clips show the same pictures again and again has no interval, and says why."""

from __future__ import annotations

import numpy as np

from floatbench.engine.records import Row
from floatbench.engine.scoring import _honest, dependent
from floatbench.metrics.base import DistanceFolds, Interval, Score


def rows(partners):
    return [
        Row(method="m", clip=f"c{k}", identity=f"p{k}", status="ok", details={"partner": partner} if partner else {})
        for k, partner in enumerate(partners)
    ]


def test_clips_that_borrow_from_the_same_few_are_not_independent():
    assert dependent(rows(["c0"] * 11 + ["c1"])) == "its 12 clips borrow from the same 2 and are not independent"
    assert dependent(rows([f"c{k + 1}" for k in range(12)])) == ""  # swapped: another one for each
    assert dependent(rows([None] * 12)) == "" == dependent([])


def test_their_score_keeps_its_value_and_loses_its_interval_and_its_tests():
    folds = DistanceFolds(9.0, tuple(np.full(12, 9.0)), (5,) * 12, "rows", "groups", 12, 12)
    score = Score("fid", 9.0, 12, interval=Interval(-3.5, 21.9, 0.95, "jackknife"), folds=folds)
    found = _honest(score, rows(["c0"] * 12))
    assert found.value == 9.0 and found.interval is None and "not independent" in found.no_interval
    assert found.folds.left_out == () and "not independent" in found.folds.why
    assert _honest(score, rows([None] * 12)) is score
