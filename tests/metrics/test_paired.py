"""The paired test decides where overlap cannot, is wrong no more often than it says, and answers bad input."""

from __future__ import annotations

import numpy as np
import pytest
from metric_toys import Value, info, pair
from scipy import stats

from floatbench.errors import UsageError
from floatbench.metrics import paired
from floatbench.metrics.base import ClipFolds, DistanceFolds
from floatbench.metrics.corpus import FrechetMetric


def two_systems(rng, effect, people=24, rows=10, d=6):
    """Two systems on the same clips: what is hard about a clip is hard for both."""
    own, noise = rng.standard_normal((people, 1, d)), rng.standard_normal((people, rows, d))
    reference, hard = own + noise, 0.5 * rng.standard_normal((people, 1, d))
    found = []
    for shift in (0.0, effect):
        other = 0.2 * rng.standard_normal((people, 1, d)) + 0.3 * rng.standard_normal((people, rows, d))
        made = reference + hard + 0.1 + shift + other
        found.append([pair(f"c{k:02}", f"p{k}", made[k], reference[k]) for k in range(people)])
    return found


def rates(effect, trials):
    """Share of trials in which the paired test, and disjoint intervals, tell the two apart."""
    rng, decided, apart = np.random.default_rng(3), 0, 0
    for _ in range(trials):
        a, b = (FrechetMetric(info()).reduce(clips) for clips in two_systems(rng, effect))
        assert paired.comparable([a.folds], [b.folds])
        decided += paired.difference([a.folds], [b.folds], 0).p < paired.ALPHA
        apart += a.interval.high < b.interval.low or b.interval.high < a.interval.low
    return decided / trials, apart / trials


def test_the_paired_test_decides_in_a_fifth_of_the_trials_where_overlap_hardly_does():
    decided, apart = rates(0.07, 150)
    assert 0.12 <= decided <= 0.35
    assert apart <= 0.03


def test_without_an_effect_the_paired_test_decides_in_about_one_of_a_hundred():
    decided, apart = rates(0.0, 150)
    assert decided <= 0.04 and apart == 0


def test_p_of_a_mean_without_an_effect_is_uniform_enough():
    rng, small = np.random.default_rng(4), 0
    for trial in range(300):
        folds = [ClipFolds(tuple((f"c{k}", f"p{k // 2}", float(rng.standard_normal())) for k in range(40)))
                 for _ in range(2)]  # fmt: skip
        small += paired.difference([folds[0]], [folds[1]], trial).p < 0.05
    assert 0.02 <= small / 300 <= 0.09


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    assert paired.holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert paired.holm([0.9, 0.8]) == [1.0, 1.0]
    assert paired.holm([]) == []


def test_a_thousand_comparisons_are_adjusted_for_a_thousand():
    values = [1e-6, *np.linspace(0.001, 1, 999)]
    adjusted = paired.holm(values)
    assert adjusted[0] == pytest.approx(1e-3)
    assert sum(p < 0.05 for p in adjusted) == 1


def test_the_difference_of_distances_from_folds_is_that_from_the_features():
    a, b = two_systems(np.random.default_rng(5), 0.3)
    metric = FrechetMetric(info())
    one = paired.difference([metric.reduce(a).folds], [metric.reduce(b).folds], 0)
    assert metric.compare(a, b).difference == pytest.approx(one.difference, rel=1e-12)
    assert metric.compare(a, b).p == pytest.approx(one.p, rel=1e-9)
    assert one.interval.low < one.difference < one.interval.high < 0 and one.p < 0.05


def test_the_interval_leaves_zero_out_where_p_is_below_its_level():
    rng = np.random.default_rng(6)
    for effect in (0.0, 0.05, 0.1, 0.2):
        found = FrechetMetric(info()).compare(*two_systems(rng, effect))
        assert (found.interval.low > 0 or found.interval.high < 0) == (found.p < 0.05)


def test_distances_on_other_rows_are_not_compared_by_their_folds():
    a, b = two_systems(np.random.default_rng(7), 0.3)
    metric = FrechetMetric(info())
    assert not paired.comparable([metric.reduce(a).folds], [metric.reduce(b[1:]).folds])
    assert not paired.comparable([], [metric.reduce(b).folds])


def clips(values, people=None):
    return ClipFolds(tuple((f"c{k}", f"p{(people or range(len(values)))[k]}", float(v)) for k, v in enumerate(values)))


def test_replicates_add_the_spread_over_seeds_and_never_help_a_system():
    """One seed of ten is lucky: the mean over them is no surer than the seeds agree."""
    rng = np.random.default_rng(8)
    base = rng.standard_normal(20)
    other = clips(base + 0.5 + 0.1 * rng.standard_normal(20))
    once = paired.difference([clips(base)], [other], 0)
    unsure = paired.difference([clips(base + shift) for shift in (-1.0, 0.0, 1.0)], [other], 0)
    assert once.p < 1e-6 and unsure.difference == pytest.approx(once.difference)
    assert unsure.p > 0.05 and unsure.interval.high - unsure.interval.low > once.interval.high - once.interval.low
    interval, why = paired.score_interval([clips(base + shift) for shift in (-1.0, 0.0, 1.0)], 0)
    alone, _ = paired.score_interval([clips(base)], 0)
    assert why == "" and interval.low < alone.low and alone.high < interval.high and "seeds" in interval.method


def test_replicates_of_a_distance_keep_the_interval_of_the_clips():
    a, _ = two_systems(np.random.default_rng(9), 0.0)
    fold = FrechetMetric(info()).reduce(a).folds
    assert isinstance(fold, DistanceFolds)
    alone, _ = paired.score_interval([fold], 0)
    twice, _ = paired.score_interval([fold, fold], 0)
    assert (twice.low, twice.high) == pytest.approx((alone.low, alone.high), rel=1e-9)


def test_fewer_people_give_no_test_instead_of_a_sure_one():
    few = paired.difference([clips([1.0] * 7)], [clips([2.0] * 7)], 0)
    assert few.p is None and few.interval is None and "7 people and 7 clips are too few" in few.why


def test_one_person_and_two_clips_get_a_reason_or_an_answer_about_that_person():
    assert (
        "1 person and 2 clips are too few" in paired.difference([clips([1, 2], [0, 0])], [clips([3, 5], [0, 0])], 0).why
    )
    rng = np.random.default_rng(10)
    values = rng.standard_normal(16)
    found = paired.difference([clips(values, [0] * 16)], [clips(values + 1 + 0.1 * values**2, [0] * 16)], 0)
    assert found.p < 0.05 and "conditional on the 1 person" in found.interval.method


def test_ties_everywhere_decide_nothing_and_equal_differences_are_a_sign_test():
    same = paired.difference([clips([1.0] * 12)], [clips([1.0] * 12)], 0)
    assert (same.p, same.difference, same.interval.low, same.interval.high) == (1.0, 0.0, 0.0, 0.0)
    assert paired.difference([clips([1.0] * 12)], [clips([2.0] * 12)], 0).p == pytest.approx(0.5**11)
    a, _ = two_systems(np.random.default_rng(11), 0.0)
    assert FrechetMetric(info()).compare(a, a).p == 1.0


def test_no_common_clip_and_nan_are_one_line_answers():
    a, b = two_systems(np.random.default_rng(12), 0.0)
    with pytest.raises(UsageError, match="no clip in common"):
        FrechetMetric(info()).compare(a[:10], b[10:])
    broken = [pair(p.clip_id, p.identity, np.full((10, 6), np.nan), p.reference("b")["features"]) for p in b]
    with pytest.raises(UsageError, match="no measurable clip in common"):
        FrechetMetric(info()).compare(a, broken)
    nan = [pair(f"c{i}", f"p{i}", np.float64("nan")) for i in range(9)]
    with pytest.raises(UsageError, match="no measurable clip in common"):
        Value().compare([pair(f"c{i}", f"p{i}", np.float64(i)) for i in range(9)], nan)


def test_far_in_the_tail_p_still_falls_smoothly():
    """More comparisons than draws need a p below 1/draws."""
    rng = np.random.default_rng(13)
    values = rng.standard_normal(60)
    found = [paired.difference([clips(values * 0.3 + shift)], [clips(np.zeros(60))], 0).p for shift in (0.2, 0.4, 0.6)]
    assert found[0] > found[1] > found[2] > 0 and found[2] < 1e-4
    t = (values * 0.3 + 0.6).mean() / stats.sem(values * 0.3)
    assert np.log10(found[2]) == pytest.approx(np.log10(2 * stats.t.sf(t, 59)), rel=0.25)
