"""Intervals with known truth, grouping, curves and comparisons."""

import numpy as np
import pytest

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import statistics
from floatbench.metrics.base import ClipValue, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.frechet import frechet_distance


def info(name="toy", level="corpus"):
    return MetricInfo(name, "TOY", "toy", False, level, ("b",), ("generated", "reference"), "f", "s", "p")


def pair(name, identity, generated, reference=None):
    features = {"generated": generated, "reference": reference}

    def load(side, backbone):
        if isinstance(features[side], ClipError):
            raise features[side]
        return {"features": features[side]}

    return Pair(name, identity, load)


class Value(ClipMetric):
    info = info("value", "clip")

    def clip_value(self, p):
        return ClipValue(float(p.generated("b")["features"]))


def identity_pairs(rng, identities, rows, d, shift, spread=1.0):
    """Clips of several people: each person has an own mean, which makes frames of one person depend on each other."""
    pairs = []
    for k in range(identities):
        person = rng.standard_normal(d) * 0.5
        reference = person + rng.standard_normal((rows, d))
        generated = person + shift + spread * rng.standard_normal((rows, d))
        pairs.append(pair(f"c{k}", f"p{k}", generated, reference))
    return pairs


def test_groups_depend_on_the_set_of_clips_only_and_keep_identities_whole():
    clips = [f"p{i % 30}" for i in range(97)]
    groups = statistics.assign_groups(clips)
    assert groups == statistics.assign_groups(clips[::-1])
    assert set(groups.values()) == set(range(12))
    loads = np.bincount([groups[c] for c in clips])
    assert loads.max() - loads.min() <= 4


def test_the_jackknife_of_a_mean_is_the_students_t_interval():
    x = np.random.default_rng(0).standard_normal(10)
    interval = statistics.jackknife(x.mean(), [np.delete(x, i).mean() for i in range(10)])
    half = 2.262157 * x.std(ddof=1) / np.sqrt(10)
    assert interval.high - x.mean() == pytest.approx(half, rel=1e-6)
    assert x.mean() - interval.low == pytest.approx(half, rel=1e-6)


def test_a_straight_line_in_one_over_n_is_extrapolated_exactly():
    curve = statistics.n_curve(12, lambda taken: (10.0 * len(taken), 5 + 70 / (10 * len(taken))), (120.0, 5 + 70 / 120))
    assert curve is not None
    assert curve.extrapolated == pytest.approx(5, rel=1e-9) and curve.slope == pytest.approx(70, rel=1e-9)
    assert statistics.n_curve(3, lambda taken: (1.0, 1.0), (3.0, 1.0)) is None


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
    assert score.no_interval == "2 identities are too few for an interval (at least 8)"
    clip = Value().reduce([pair(f"c{i}", f"p{i % 2}", np.float64(i)) for i in range(10)])
    assert clip.interval is None and "2 identities" in clip.no_interval and clip.value == 4.5


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
    result = statistics.compare(FrechetMetric(info()), a, b)
    assert result.clips == 9
    assert result.b == pytest.approx(3.0, rel=1e-9)
    keep = [np.isfinite(p.generated("b")["features"]).all(1) for p in b]
    x = np.concatenate([p.generated("b")["features"][k] for p, k in zip(a[1:], keep, strict=True)])
    y = np.concatenate([p.reference("b")["features"][k] for p, k in zip(a[1:], keep, strict=True)])
    assert result.a == pytest.approx(frechet_distance(x, y), rel=1e-9)
    assert result.interval is not None and result.interval.high < 0  # a is better
    with pytest.raises(UsageError, match="no clip in common"):
        statistics.compare(FrechetMetric(info()), a[:1], b)


def test_paired_clip_differences_are_tighter_than_the_scores_apart():
    rng = np.random.default_rng(5)
    base = rng.standard_normal(12) * 3
    a = [pair(f"c{i}", f"p{i}", np.float64(v)) for i, v in enumerate(base)]
    b = [pair(f"c{i}", f"p{i}", np.float64(v + 0.5 + 0.01 * i)) for i, v in enumerate(base)]
    result = statistics.compare(Value(), a, b)
    alone = Value().reduce(a).interval
    assert result.difference == pytest.approx(-0.555)
    assert result.interval.high < 0
    assert (result.interval.high - result.interval.low) < 0.1 * (alone.high - alone.low)
