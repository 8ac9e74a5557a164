"""KID and its kin against the published formula, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.metrics import kid, registry
from floatbench.metrics.base import Pair
from floatbench.metrics.fid import FID

BACKBONE = FID().info.backbones[0]


def _formula(x, y):
    """Binkowski et al. 2018, eq. 4, written with loops."""
    kernel = lambda a, b: (float(a @ b) / len(a) + 1) ** 3  # noqa: E731
    m, n = len(x), len(y)
    xx = sum(kernel(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(kernel(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return xx + yy - 2 * sum(kernel(a, b) for a in x for b in y) / (m * n)


def _pairs(generated, reference):
    sides = {"generated": generated, "reference": reference}
    load = lambda k: lambda side, backbone: {"features": sides[side][k]}  # noqa: E731
    return [Pair(f"c{k:02d}", f"p{k}", load(k)) for k in range(len(generated))]


def _clips(count, rows, d, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((rows, d)) + shift).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("block", [7, 2048])
def test_the_distance_is_that_of_the_published_formula_whatever_the_block(monkeypatch, block):
    monkeypatch.setattr(kid, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 5)) * 1.2 + 0.3
    assert kid.kernel_distance(x, y) == pytest.approx(_formula(x, y), rel=1e-11)


def test_the_corpus_score_is_the_distance_of_all_rows_and_groups_change_nothing():
    generated, reference = _clips(20, 6, 4, 0.2), _clips(20, 6, 4, seed=1)
    score = registry.metric("kid").reduce(_pairs(generated, reference))
    x, y = (np.concatenate(side).astype(np.float64) for side in (generated, reference))
    assert score.value == pytest.approx(_formula(x, y), rel=1e-9)
    assert (score.n, score.details["n_generated"], score.details["groups"]) == (20, 120, 12)
    assert score.interval.low < score.value < score.interval.high


def test_it_is_unbiased_where_the_frechet_distance_is_mostly_bias():
    values = [kid.kernel_distance(*(np.concatenate(_clips(1, 12, 24, seed=2 * k + side)) for side in (0, 1)))
              for k in range(300)]  # fmt: skip
    assert abs(np.mean(values)) < 3 * np.std(values) / 300**0.5


def test_a_left_out_group_gives_the_distance_of_the_others():
    x, y = _clips(5, 4, 3, seed=1), _clips(5, 4, 3, 0.5, seed=2)
    sums = kid.GroupedKernel.of(*([rows.astype(np.float64) for rows in side] for side in (x, y)))
    rest = kid.kernel_distance(np.concatenate(x[1:]), np.concatenate(y[1:]))
    assert sums.distance([1, 2, 3, 4]) == pytest.approx(rest, rel=1e-11)


def test_a_set_against_itself_lies_just_below_zero_and_another_one_above():
    clips = _clips(10, 8, 6)
    own = registry.metric("kid").reduce(_pairs(clips, clips)).value
    assert -1 < own <= 0
    assert registry.metric("kid").reduce(_pairs(_clips(10, 8, 6, 1.0, seed=3), clips)).value > 1


@pytest.mark.parametrize(
    ("name", "of", "column"),
    [("kid", "fid", "KID"), ("kvd", "fvd", "KVD"), ("ekid", "efid", "E-KID"),
     ("ekid-mp52", "efid-mp52", "E-KID (MediaPipe)"),
     ("kid-tiny", "fid-tiny", "KID"), ("kvd-tiny", "fvd-tiny", "KVD"), ("ekid-tiny", "efid-tiny", "E-KID")],
)  # fmt: skip
def test_each_reads_the_features_that_its_frechet_metric_has_kept(name, of, column):
    info, other = registry.metric(name).info, registry.metric(of).info
    assert (info.id, info.column, info.backbones, info.tiny) == (name, column, other.backbones, other.tiny)


def test_clips_that_cannot_be_measured_are_counted():
    clips = _clips(4, 8, 3)
    clips[2] = np.full((8, 3), np.nan, np.float32)
    score = registry.metric("kid").reduce(_pairs(clips, _clips(4, 8, 3, seed=1)))
    assert score.n == 3 and list(score.failures) == ["c02"]
    assert score.interval is None and score.no_interval
