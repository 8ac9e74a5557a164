"""Intervals with known truth, grouping, curves and comparisons."""

import numpy as np
import pytest
from metric_toys import Value, info, pair

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import statistics
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.frechet import frechet_distance
from floatbench.metrics.sample_size import BetweenPeople, n_curve


def identity_pairs(rng, identities, rows, d, shift, spread=1.0, apart=0.5):
    """Clips of several people: each person has an own mean, which makes frames of one person depend on each other."""
    pairs = []
    for k in range(identities):
        person = rng.standard_normal(d) * apart
        reference = person + spread * rng.standard_normal((rows, d))
        generated = person + shift + spread * rng.standard_normal((rows, d))
        pairs.append(pair(f"c{k}", f"p{k}", generated, reference))
    return pairs


def test_groups_depend_on_the_set_of_clips_only_and_keep_people_whole():
    clips = {f"c{i}": (f"p{i % 30}", 50 + i) for i in range(97)}
    groups = statistics.clip_groups(clips)
    assert groups == statistics.clip_groups(dict(reversed(clips.items())))
    assert set(groups.values()) == set(range(12))
    for person in range(30):
        assert len({groups[clip] for clip, (name, _) in clips.items() if name == f"p{person}"}) == 1


def test_groups_are_balanced_by_rows_not_by_clips():
    """One person with one long clip weighs as much as several with a short one."""
    clips = {"long": ("p0", 3000), **{f"c{i}": (f"p{i}", 100) for i in range(1, 60)}}
    groups = statistics.clip_groups(clips)
    loads = np.bincount([groups[clip] for clip in clips], weights=[rows for _, rows in clips.values()])
    assert [clip for clip in clips if groups[clip] == groups["long"]] == ["long"]
    short = np.delete(loads, groups["long"])
    assert short.max() - short.min() <= 100


def test_the_jackknife_error_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).standard_normal(10)
    error = statistics.jackknife_error(x.mean(), [np.delete(x, i).mean() for i in range(10)], [1] * 10)
    assert error == pytest.approx(x.std(ddof=1) / np.sqrt(10), rel=1e-9)


def test_the_jackknife_of_unequal_groups_follows_busing():
    """A weighted mean of group means with unit variance a row has the variance 1/n, however the rows are grouped."""
    rng, sizes = np.random.default_rng(0), [60, 5, 5, 10, 20, 4, 6, 10]
    squares = []
    for _ in range(2000):
        means = rng.standard_normal(8) / np.sqrt(sizes)
        total = np.average(means, weights=sizes)
        left = [np.average(np.delete(means, i), weights=np.delete(sizes, i)) for i in range(8)]
        squares.append(statistics.jackknife_error(total, left, sizes) ** 2)
    assert np.mean(squares) == pytest.approx(1 / sum(sizes), rel=0.05)


def test_the_interval_of_a_distance_is_made_of_roots_and_never_negative():
    interval = statistics.jackknife(1.0, [0.2, 3.0, 0.5, 1.5], [1, 1, 1, 1])
    assert interval.low == 0.0 < interval.high
    roots = np.sqrt([0.2, 3.0, 0.5, 1.5])
    half = 3.182446 * np.sqrt(3 / 4 * np.square(roots - roots.mean()).sum())
    assert interval.high == pytest.approx((1 + half) ** 2, rel=1e-6)


def test_a_straight_line_in_one_over_n_is_extrapolated_exactly():
    curve = n_curve(12, lambda taken: (10.0 * len(taken), 5 + 70 / (10 * len(taken))), (120.0, 5 + 70 / 120))
    assert curve is not None
    assert curve.extrapolated == pytest.approx(5, rel=1e-9) and curve.slope == pytest.approx(70, rel=1e-9)
    assert n_curve(3, lambda taken: (1.0, 1.0), (3.0, 1.0)) is None


def test_the_curve_counts_people_and_offers_no_line_where_n_is_too_small():
    """Rows of one person are alike: 400 rows of 20 people are about 20 samples of 8 numbers, 20 rows each."""
    pairs = identity_pairs(np.random.default_rng(7), 20, 20, 8, 0.0, spread=0.3, apart=3.0)
    details = FrechetMetric(info()).reduce(pairs).details
    curve = details["n_curve"]
    assert curve["unit"] == "people" and curve["points"][-1][0] == 20
    assert 15 < details["effective_n"] < 30 and details["between_share_generated"] > 0.9
    assert curve["extrapolated"] is not None
    many = identity_pairs(np.random.default_rng(7), 20, 20, 40, 0.0, spread=0.3, apart=3.0)
    curve = FrechetMetric(info()).reduce(many).details["n_curve"]
    assert curve["extrapolated"] is None and "more than 40 are needed" in curve["no_extrapolation"]


def test_independent_rows_count_in_full():
    rng = np.random.default_rng(8)
    spread = BetweenPeople()
    for person in range(40):
        spread.add(f"p{person}", rng.standard_normal((50, 30)))
    effective, share = spread.effective()
    assert effective == pytest.approx(2000, rel=0.1) and share < 0.01


def _coverage_of_jackknife(trials, identities=12, rows=4, d=24):
    """Share of jackknife and of naive bootstrap intervals that hold the expected score at this N."""
    rng = np.random.default_rng(11)
    scores, intervals, naive = [], [], []
    for _ in range(trials):
        pairs = identity_pairs(rng, identities, rows, d, 0.2)
        score = FrechetMetric(info()).reduce(pairs)
        scores.append(score.value)
        intervals.append((score.interval.low, score.interval.high))
        x = np.concatenate([p.generated("b")["features"] for p in pairs])
        y = np.concatenate([p.reference("b")["features"] for p in pairs])
        naive.append(np.quantile([_resampled(x, y, rng) for _ in range(40)], [0.025, 0.975]))
    truth = np.mean(scores)  # the estimand: the expected score at this N
    covered, bootstrap = (np.mean([low <= truth <= high for low, high in found]) for found in (intervals, naive))
    return covered, bootstrap, np.std(scores), np.mean([high - low for low, high in intervals]) / 2


def _resampled(x, y, rng):
    i, j = rng.integers(0, len(x), len(x)), rng.integers(0, len(y), len(y))
    return frechet_distance(x[i], y[j])


def test_jackknife_intervals_cover_the_score_at_this_n_and_the_naive_bootstrap_does_not():
    covered, naive, deviation, half = _coverage_of_jackknife(60)
    assert 0.90 <= covered <= 1.0
    assert naive <= 0.2
    assert half <= 6 * deviation  # wide enough, but not by being useless


@pytest.mark.slow
def test_jackknife_coverage_over_many_trials():
    covered, naive, _, _ = _coverage_of_jackknife(400, identities=24, rows=5, d=40)
    assert 0.93 <= covered <= 1.0
    assert naive <= 0.05


@pytest.mark.parametrize(("identities", "trials"), [(8, 400), (30, 400)])
def test_the_clustered_bootstrap_covers_the_mean_at_about_the_nominal_rate(identities, trials):
    rng = np.random.default_rng(identities)
    hits = clips_as_units = 0
    for trial in range(trials):
        person = rng.standard_normal(identities)
        values = {f"p{k}": list(person[k] + 0.3 * rng.standard_normal(6)) for k in range(identities)}
        interval = statistics.clustered_bootstrap(values, seed=trial, draws=400)
        hits += interval.low <= 0 <= interval.high
        flat = {f"c{i}": [v] for i, v in enumerate(np.concatenate(list(values.values())))}
        naive = statistics.clustered_bootstrap(flat, seed=trial, draws=400)
        clips_as_units += naive.low <= 0 <= naive.high
    assert 0.91 <= hits / trials <= 0.98
    assert clips_as_units / trials < 0.75  # what ignoring identities would do


def test_the_bootstrap_is_seeded_and_blind_to_the_order_of_identities():
    values = {f"p{k}": [float(k), k + 1.0] for k in range(9)}
    one = statistics.clustered_bootstrap(values, seed=3)
    assert one == statistics.clustered_bootstrap(dict(reversed(values.items())), seed=3)
    assert one != statistics.clustered_bootstrap(values, seed=4)


def test_too_few_identities_mean_no_interval_and_the_reason():
    rng = np.random.default_rng(1)
    score = FrechetMetric(info()).reduce(identity_pairs(rng, 2, 30, 4, 0.0))
    assert score.value is not None and score.interval is None
    assert score.no_interval == "2 people and 2 clips are too few: at least 8 people, or 8 clips of each, are needed"
    clip = Value().reduce([pair(f"c{i}", f"p{i % 2}", np.float64(i)) for i in range(10)])
    assert clip.interval is None and "2 people and 10 clips" in clip.no_interval and clip.value == 4.5


def test_failed_rows_leave_both_sides_and_failed_clips_are_named():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((22, 3))
    x[4], y[9] = np.nan, np.nan
    good = np.delete(np.arange(20), [4, 9])
    pairs = [pair("a", "p", x, y), pair("b", "q", ClipError("no_face"), y), pair("c", "r", x * np.nan, y)]
    score = FrechetMetric(info()).reduce(pairs)
    assert score.value == pytest.approx(frechet_distance(x[good], y[good]), rel=1e-12)
    assert score.n == 1 and set(score.failures) == {"b", "c"}
    assert score.failures["b"].startswith("no_face") and score.failures["c"].startswith("not_finite")
    assert score.details["n_generated"] == score.details["n_reference"] == 18
    assert score.details["rows_dropped"] == 2 and score.details["rows_trimmed"] == 2


def test_the_order_of_the_pairs_changes_nothing():
    pairs = identity_pairs(np.random.default_rng(3), 10, 12, 5, 0.1)
    metric = FrechetMetric(info())
    assert metric.reduce(pairs).to_dict() == metric.reduce(pairs[::-1]).to_dict()


def test_two_methods_are_compared_on_common_clips_at_equal_n():
    rng = np.random.default_rng(4)
    a = identity_pairs(rng, 10, 30, 3, 0.0)
    b = [pair(p.clip_id, p.identity, p.reference("b")["features"] + 1.0, p.reference("b")["features"]) for p in a[1:]]
    broken = b[0].generated("b")["features"].copy()
    broken[:5] = np.nan
    b[0] = pair(b[0].clip_id, b[0].identity, broken, b[0].reference("b")["features"])
    result = FrechetMetric(info()).compare(a, b)
    assert result.clips == 9
    assert result.b == pytest.approx(3.0, rel=1e-9)
    keep = [np.isfinite(p.generated("b")["features"]).all(1) for p in b]
    x = np.concatenate([p.generated("b")["features"][k] for p, k in zip(a[1:], keep, strict=True)])
    y = np.concatenate([p.reference("b")["features"][k] for p, k in zip(a[1:], keep, strict=True)])
    assert result.a == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert result.interval is not None and result.interval.high < 0  # a is better
    with pytest.raises(UsageError, match="no clip in common"):
        FrechetMetric(info()).compare(a[:1], b)


def test_paired_clip_differences_are_tighter_than_the_scores_apart():
    rng = np.random.default_rng(5)
    base = rng.standard_normal(12) * 3
    a = [pair(f"c{i}", f"p{i}", np.float64(v)) for i, v in enumerate(base)]
    b = [pair(f"c{i}", f"p{i}", np.float64(v + 0.5 + 0.01 * i)) for i, v in enumerate(base)]
    result = Value().compare(a, b)
    alone = Value().reduce(a).interval
    assert result.difference == pytest.approx(-0.555)
    assert result.interval.high < 0
    assert (result.interval.high - result.interval.low) < 0.1 * (alone.high - alone.low)


def two_people(rng, clips=12, apart=4.0):
    """Clips of two people who are far from each other: what varies between clips is little beside it."""
    return [pair(f"c{i}", f"p{i % 2}", np.float64(apart * (i % 2) + 0.1 * rng.standard_normal())) for i in range(clips)]


def test_two_people_with_many_clips_get_an_interval_that_is_conditional_on_them():
    score = Value().reduce(two_people(np.random.default_rng(9), 24))
    assert score.interval is not None and "conditional on the 2 people" in score.interval.method
    assert score.interval.high - score.interval.low < 0.3  # what varies is the clips, not the people
    rng = np.random.default_rng(9)
    pairs = [
        pair(
            f"c{i:02}",
            f"p{i % 2}",
            3 * (i % 2) + rng.standard_normal((9, 3)),
            3 * (i % 2) + rng.standard_normal((9, 3)),
        )
        for i in range(24)
    ]
    found = FrechetMetric(info()).reduce(pairs)
    assert found.interval is not None and "conditional on the 2 people" in found.interval.method
    assert found.details["n_curve"]["unit"] == "clips"


def test_intervals_that_are_conditional_on_the_people_cover_their_own_mean():
    rng, hits = np.random.default_rng(10), 0
    for trial in range(300):
        values = {"a": list(0.5 * rng.standard_normal(10)), "b": list(4 + 0.5 * rng.standard_normal(10))}
        interval = statistics.resampled(values, trial, 400, conditional=True).interval()
        hits += interval.low <= 2 <= interval.high
    assert 0.91 <= hits / 300 <= 0.98


def test_one_long_clip_does_not_blow_the_interval_up():
    rng = np.random.default_rng(12)
    rows = [2000] + [50] * 23
    pairs = []
    for k, n in enumerate(rows):
        person = rng.standard_normal(6) * 0.3
        pairs.append(
            pair(f"c{k}", f"p{k}", person + 0.4 + rng.standard_normal((n, 6)), person + rng.standard_normal((n, 6)))
        )
    score = FrechetMetric(info()).reduce(pairs)
    assert 0 <= score.interval.low < score.value < score.interval.high < 6 * score.value


def test_p_is_where_the_interval_reaches_zero():
    rng = np.random.default_rng(13)
    values = {f"p{k}": [0.5 + rng.standard_normal()] for k in range(20)}
    found = statistics.resampled(values, 1)
    p = found.p()
    assert 0 < p < 1
    interval = found.interval(1 - p)
    assert min(abs(interval.low), abs(interval.high)) < 1e-6
