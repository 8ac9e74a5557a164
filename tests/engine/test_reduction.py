"""Scores are made once for equal content, in as many processes as one likes, and again when anything changes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from floatbench.engine import reduction
from floatbench.engine.features import FeatureStore
from floatbench.engine.records import Row
from floatbench.engine.reduction import Reducer, Reduction, identity_of
from floatbench.errors import ClipError
from floatbench.metrics import registry
from floatbench.metrics.base import Score
from floatbench.metrics.fid import FID

BACKBONE = FID().info.backbones[0]


def rows(store: FeatureStore, seed: int = 0, clips: int = 10, d: int = 6) -> tuple[Row, ...]:
    """Rows of one method with features of noise; the reference side is the same for every seed."""
    found = []
    for k in range(clips):
        keys = {}
        for side, chosen in (("generated", 100 * seed + k + 1), ("reference", 10_000 + k)):
            keys[side] = {BACKBONE: f"{chosen:064x}"}
            values = np.random.default_rng(chosen).standard_normal((9, d)).astype(np.float32)
            store.put(keys[side][BACKBONE], {"features": values})
        found.append(Row(method=f"m{seed}", clip=f"c{k}", identity=f"p{k}", status="ok", features=keys))
    return tuple(found)


class Counting(FID):
    """FID that counts how often it is reduced."""

    calls = 0

    def reduce(self, pairs):
        Counting.calls += 1
        return super().reduce(pairs)


@pytest.fixture
def store(tmp_path):
    Counting.calls = 0
    return FeatureStore(tmp_path / "run", None)


def test_a_score_is_read_by_another_call_to_the_last_digit(store, tmp_path):
    first = Reducer(store, tmp_path / "scores")(Counting(), rows(store))
    again = Reducer(store, tmp_path / "scores")(Counting(), rows(store))
    plain = Counting().reduce([reduction.pair_of(row, store) for row in rows(store)])
    assert Counting.calls == 2
    assert again == first and (again.value, again.interval) == (plain.value, plain.interval)
    assert again.folds == plain.folds and again.failures == plain.failures
    assert json.dumps(reduction.plain(dict(again.details))) == json.dumps(reduction.plain(dict(plain.details)))


def test_other_features_under_the_same_names_make_another_score(store, tmp_path):
    before = Reducer(store, tmp_path / "scores")(Counting(), rows(store))
    key = rows(store)[0].features["generated"][BACKBONE]
    store.put(key, {"features": np.ones((9, 6), np.float32)})
    again = Reducer(store, tmp_path / "scores")
    chosen = tuple(Row.model_validate(row.model_dump()) for row in rows_of(store))
    assert again(Counting(), chosen).value != before.value
    assert Counting.calls == 2


def rows_of(store: FeatureStore) -> list[Row]:
    """The rows of seed 0 without writing their features again."""
    return [
        Row(
            method="m0", clip=f"c{k}", identity=f"p{k}", status="ok",
            features={"generated": {BACKBONE: f"{k + 1:064x}"}, "reference": {BACKBONE: f"{10_000 + k:064x}"}},
        )
        for k in range(10)
    ]  # fmt: skip


def test_other_people_other_code_or_another_setting_make_another_key(store, monkeypatch):
    reducer, own = Reducer(store), rows(store)
    base = reducer.key(Reduction(FID(), own))
    moved = (own[0].model_copy(update={"identity": "p1"}), *own[1:])
    keys = [base, reducer.key(Reduction(FID(), moved)), reducer.key(Reduction(FID("fid-64"), own))]
    keys.append(reducer.key(Reduction(Counting(), own)))
    code = reduction.code_of
    monkeypatch.setattr(reduction, "code_of", lambda what: replace(code(what), sources={"x": "another"}))
    keys.append(reducer.key(Reduction(FID(), own)))
    assert len(set(keys)) == 5 and reducer.key(Reduction(FID(), own[::-1])) == keys[-1]


@pytest.mark.parametrize("name", registry.metric_ids())
def test_every_metric_of_ours_can_be_kept(name):
    found = identity_of(registry.metric(name))
    assert found == identity_of(registry.metric(name))
    json.dumps(found)


def test_a_metric_with_settings_that_have_no_description_is_computed_each_time(store, tmp_path):
    metric = Counting()
    metric.extra = lambda: None
    assert identity_of(metric) is None
    for _ in range(2):
        Reducer(store, tmp_path / "scores")(metric, rows(store))
    assert Counting.calls == 2 and not (tmp_path / "scores").exists()


def test_functions_among_the_settings_bring_their_code_along():
    metric = registry.metric("efid")
    assert any("floatbench.metrics.efid" in name for code in identity_of(metric)["code"] for name, _ in code[0])
    metric.extra = partial(np.clip, 0)
    assert identity_of(metric) is None


def test_processes_give_the_same_bytes_as_this_one(store, tmp_path, monkeypatch):
    monkeypatch.setattr(reduction, "PARALLEL_BYTES", 0)
    tasks = [Reduction(FID(name), rows(store, seed)) for seed in (1, 2) for name in ("fid",)]
    done = []
    Reducer(store, tmp_path / "many", workers=2).prepare(tasks, done.append)
    Reducer(store, tmp_path / "one").prepare(tasks)
    files = {path.name: path.read_bytes() for path in (tmp_path / "many").rglob("*.json")}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "one").rglob("*.json")}
    assert len(files) == 2 and sorted(done) == [0, 1]


def test_a_metric_that_cannot_score_says_so_where_the_score_is_asked_for(store):
    class Picky(Counting):
        def reduce(self, pairs) -> Score:
            raise ClipError("no_face", "nobody")

    reducer, chosen = Reducer(store), rows(store)
    reducer.prepare([Reduction(Picky(), chosen)])
    with pytest.raises(ClipError, match="nobody"):
        reducer(Picky(), chosen)
