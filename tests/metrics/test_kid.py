"""KID and its kin against the published formula, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.errors import UsageError
from floatbench.metrics import kernels, kid, paired, registry
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
    monkeypatch.setattr(kernels, "BLOCK", block)
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


def _two_systems(rng, effect, people=24, rows=6, d=4):
    """Two systems on the same clips, whose people and hard clips are the same for both."""
    own, hard = rng.standard_normal((people, 1, d)), 0.5 * rng.standard_normal((people, 1, d))
    reference = own + rng.standard_normal((people, rows, d))
    noise = lambda: 0.2 * rng.standard_normal((people, 1, d)) + 0.3 * rng.standard_normal((people, rows, d))  # noqa: E731
    made = [(reference + hard + 0.1 + shift + noise()).astype(np.float32) for shift in (0.0, effect)]
    return [_pairs(generated, reference.astype(np.float32)) for generated in made]


def _trials(effect, trials=80):
    """(share of trials told apart by the paired test, by intervals; share of intervals that hold the mean gap)."""
    rng, metric, gaps, apart = np.random.default_rng(3), registry.metric("kid"), [], 0
    for _ in range(trials):
        a, b = (metric.reduce(pairs) for pairs in _two_systems(rng, effect))
        gaps.append(paired.difference([a.folds], [b.folds], 0))
        apart += a.interval.high < b.interval.low or b.interval.high < a.interval.low
    truth = np.mean([gap.difference for gap in gaps])
    covered = np.mean([gap.interval.low <= truth <= gap.interval.high for gap in gaps])
    return np.mean([gap.p < paired.ALPHA for gap in gaps]), apart / trials, covered


def test_without_an_effect_two_systems_are_told_apart_in_few_of_a_hundred_trials():
    decided, apart, covered = _trials(0.0)
    assert decided <= 0.05 and apart == 0
    assert covered >= 0.93


def test_the_paired_test_tells_them_apart_where_intervals_do_not_and_its_interval_holds_the_difference():
    decided, apart, covered = _trials(0.25)
    assert decided >= 0.5 and apart <= decided / 5
    assert 0.9 <= covered <= 1


def test_an_estimate_below_zero_is_compared_like_any_other():
    """Two draws of the reference's own people: both estimates lie about zero, where a root does not exist."""
    rng = np.random.default_rng(1)
    own = rng.standard_normal((12, 1, 4))
    reference, a, b = ((own + rng.standard_normal((12, 8, 4))).astype(np.float32) for _ in range(3))
    metric = registry.metric("kid")
    found = metric.compare(_pairs(a, reference), _pairs(reference, reference))
    assert found.b < 0 < found.p and found.interval.low < found.difference < found.interval.high
    assert "paired group jackknife by people, 12 groups" in found.interval.method
    assert metric.compare(_pairs(a, reference), _pairs(b, reference)).p > 0.05
    assert metric.compare(_pairs(a, reference), _pairs(a, reference)).p == 1


def test_the_difference_from_folds_is_that_from_the_features_on_the_rows_that_both_have():
    a, b = _two_systems(np.random.default_rng(5), 0.3)
    metric = registry.metric("kid")
    folds = [metric.reduce(pairs).folds for pairs in (a, b)]
    assert paired.comparable(folds[:1], folds[1:])
    one, other = paired.difference(folds[:1], folds[1:], 0), metric.compare(a, b)
    assert (other.difference, other.p) == pytest.approx((one.difference, one.p), rel=1e-9)
    lost = [pair.generated(BACKBONE)["features"].copy() for pair in b]
    lost[3][2] = np.nan
    holed = _pairs(lost, [pair.reference(BACKBONE)["features"] for pair in b])
    assert not paired.comparable(folds[:1], [metric.reduce(holed).folds])
    assert (
        metric.compare(a, holed).clips == 24
        and metric.fold_pair(a, holed)[0].sizes == metric.fold_pair(a, holed)[1].sizes
    )


def test_groups_of_unequal_rows_are_weighed_by_busing_and_few_people_get_a_reason():
    rng = np.random.default_rng(6)
    lengths = [4] * 20 + [60]
    reference = [rng.standard_normal((n, 4)).astype(np.float32) for n in lengths]
    generated = [rows + 0.3 + 0.2 * rng.standard_normal(4).astype(np.float32) for rows in reference]
    score = registry.metric("kid").reduce(_pairs(generated, reference))
    assert max(score.folds.sizes) == 60 and sum(score.folds.sizes) == 140
    assert score.interval.low < score.value < score.interval.high
    few = registry.metric("kid").compare(_pairs(generated[:5], reference[:5]), _pairs(reference[:5], reference[:5]))
    assert few.p is None and "5 people and 5 clips are too few" in few.why


def test_systems_without_a_common_clip_get_one_line():
    a, b = _two_systems(np.random.default_rng(7), 0.0, people=10)
    with pytest.raises(UsageError, match="no clip in common"):
        registry.metric("kid").compare(a[:5], b[5:])
    broken = _pairs([np.full((6, 4), np.nan, np.float32)] * 10, [pair.reference(BACKBONE)["features"] for pair in b])
    with pytest.raises(UsageError, match="no measurable clip in common"):
        registry.metric("kid").compare(a, broken)


def test_the_sums_of_the_last_reference_are_kept_and_change_no_number(monkeypatch):
    a, b = _two_systems(np.random.default_rng(8), 0.2, people=10)
    first = registry.metric("kid").reduce(a)
    calls = []
    plain = kernels.Kernel.total
    monkeypatch.setattr(kernels.Kernel, "total", lambda *given: calls.append(1) or plain(*given))
    registry.metric("kid").reduce(b)
    assert len(calls) == 100 + 55  # generated with reference, and within generated; nothing within the reference
    kid.forget_reference()
    assert registry.metric("kid").reduce(a).folds == first.folds
