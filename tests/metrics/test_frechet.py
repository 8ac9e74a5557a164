"""The Frechet core against closed forms and a 60-digit computation."""

import mpmath
import numpy as np
import pytest
import torch

from floatbench.metrics.frechet import (
    FrechetError,
    Moments,
    Pool,
    Sample,
    forget_reference,
    frechet_distance,
    moments_distance,
    sample_distance,
    shared_pool,
)


def _rotation(d, rng):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def _spd(spectrum, rng):
    q = _rotation(len(spectrum), rng)
    s = q @ np.diag(spectrum) @ q.T
    return (s + s.T) / 2


def _trace_of_root_60_digits(s1, s2):
    with mpmath.workdps(60):
        values, vectors = mpmath.eigsy(mpmath.matrix(s1.tolist()))
        root = vectors * mpmath.diag([mpmath.sqrt(v) if v > 0 else mpmath.mpf(0) for v in values])
        product = root.T * mpmath.matrix(s2.tolist()) * root
        inner = mpmath.eigsy((product + product.T) / 2, eigvals_only=True)
        return float(sum(mpmath.sqrt(v) for v in inner if v > 0))


D = 16
CASES = {
    "well conditioned": lambda r: (_spd(np.linspace(1, 2, D), r), _spd(np.linspace(1, 3, D), r)),
    "condition 1e12 both": lambda r: (_spd(np.logspace(0, -12, D), r), _spd(np.logspace(0, -12, D), r)),
    "condition 1e16 against 2": lambda r: (_spd(np.logspace(0, -16, D), r), _spd(np.linspace(1, 2, D), r)),
    "condition 1e30 both": lambda r: (_spd(np.logspace(0, -30, D), r), _spd(np.logspace(0, -30, D), r)),
    "rank 4 against full": lambda r: (np.cov(r.standard_normal((5, D)).T), np.cov(r.standard_normal((60, D)).T)),
    "full against rank 4": lambda r: (np.cov(r.standard_normal((60, D)).T), np.cov(r.standard_normal((5, D)).T)),
    "rank 4 both": lambda r: (np.cov(r.standard_normal((5, D)).T), np.cov(r.standard_normal((5, D)).T)),
    "scales 1e6 and 1e-6": lambda r: (1e6 * np.cov(r.standard_normal((60, D)).T), 1e-6 * _spd(np.ones(D), r)),
    "zero against full": lambda r: (np.zeros((D, D)), _spd(np.linspace(1, 2, D), r)),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_a_60_digit_computation_within_1e7_of_the_traces(case):
    rng = np.random.default_rng(7)
    s1, s2 = CASES[case](rng)
    m1, m2 = rng.standard_normal(D), rng.standard_normal(D)
    traces = np.trace(s1) + np.trace(s2)
    truth = np.square(m1 - m2).sum() + traces - 2 * _trace_of_root_60_digits(s1, s2)
    assert abs(moments_distance(m1, s1, m2, s2) - truth) <= 1e-7 * traces


def test_commuting_gaussians_give_the_closed_form():
    a, b, delta = np.array([4.0, 9.0, 0.0]), np.array([1.0, 16.0, 25.0]), np.array([3.0, 0.0, 4.0])
    expected = 25.0 + np.square(np.sqrt(a) - np.sqrt(b)).sum()
    assert moments_distance(np.zeros(3), np.diag(a), delta, np.diag(b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("n1", "n2"), [(20, 20), (20, 90), (90, 20), (90, 90)])
def test_the_low_rank_form_equals_the_full_one(n1, n2, biased):
    rng = np.random.default_rng(n1 + 3 * n2)
    x, y = rng.standard_normal((n1, 48)), rng.standard_normal((n2, 48)) * 1.5 + 0.3
    x_moments, y_moments = Moments.of(x), Moments.of(y)
    full = moments_distance(x_moments.mean, x_moments.covariance(biased), y_moments.mean, y_moments.covariance(biased))
    assert frechet_distance(x, y, biased) == pytest.approx(full, rel=1e-7)
    numpy_cov = np.cov(x, rowvar=False, bias=biased)
    np.testing.assert_allclose(x_moments.covariance(biased).numpy(), numpy_cov, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("rows", "dimension"), [(5, 200), (12, 400)])
def test_rounding_noise_of_rank_deficient_covariances_adds_nothing(rows, dimension):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((rows, dimension)), rng.standard_normal((rows, dimension)) + 0.1
    a, b = Moments.of(x), Moments.of(y)
    traces = float(a.covariance().trace() + b.covariance().trace())
    full = moments_distance(a.mean, a.covariance(), b.mean, b.covariance())
    assert full == pytest.approx(frechet_distance(x, y), rel=0, abs=1e-13 * traces)


def test_a_mean_shift_alone_gives_its_square_and_equal_sets_give_zero():
    x = np.random.default_rng(0).standard_normal((30, 8))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(x, x + 2.0) == pytest.approx(32.0, rel=1e-9)


def test_constant_features_have_zero_covariance_and_are_fine():
    x, y = np.full((10, 5), 1e3), np.full((12, 5), 1e3 + 1)
    assert frechet_distance(x, y) == pytest.approx(5.0, rel=1e-9)
    assert frechet_distance(np.full((3, 50), 2.0), np.full((3, 50), 2.0)) == 0


def test_moments_of_parts_merge_to_those_of_the_whole_even_far_from_zero():
    x = np.random.default_rng(1).standard_normal((301, 7)) + 1e7
    parts = Moments.of(x[:1]).merge(Moments.of(x[1:90])).update(x[90:])
    assert parts.n == 301
    np.testing.assert_allclose(parts.covariance().numpy(), np.cov(x, rowvar=False), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(parts.mean.numpy(), x.mean(0), rtol=1e-14)


def test_samples_joined_from_parts_equal_the_whole_whatever_the_chunks():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((200, 32)), rng.standard_normal((190, 32)) + 0.1
    parts = []
    for chunk in np.array_split(x, 13):
        part = Sample(32)
        for piece in np.array_split(chunk, 3):
            part.add(piece)
        parts.append(part)
    joined = sample_distance(Sample.join(parts), Sample.of(y))
    assert joined == pytest.approx(frechet_distance(x, y), rel=1e-11)
    assert Sample.join(parts).n == 200 and all(part.rows() is not None for part in parts)


def test_torch_float32_and_numpy_float64_inputs_agree():
    x = np.random.default_rng(3).standard_normal((40, 6)).astype(np.float32)
    y = x[::-1] * 0.5
    assert frechet_distance(torch.from_numpy(x), y.copy()) == frechet_distance(x.astype(float), y.astype(float))


@pytest.mark.parametrize(
    ("x", "y", "word"),
    [
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "NaN"),
        (np.zeros((4, 3)), np.full((4, 3), np.inf), "infinite"),
        (np.zeros((1, 3)), np.zeros((4, 3)), "two samples, got 1"),
        (np.zeros((4, 3)), np.zeros((4, 5)), "dimensions: 3 and 5"),
        (np.zeros(4), np.zeros((4, 3)), "must be"),
    ],
)
def test_features_without_a_distance_are_refused_in_one_line(x, y, word):
    with pytest.raises(FrechetError, match=word):
        frechet_distance(x, y)


@pytest.mark.gpu
def test_the_gpu_gives_the_same_distance_as_the_cpu():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((500, 64)), rng.standard_normal((30, 64)) + 0.2
    assert frechet_distance(x, y, device="cuda") == pytest.approx(frechet_distance(x, y), rel=1e-9)


def _groups(rows, dimension, count=6, seed=0):
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((dimension, dimension)) * np.logspace(0, -1, dimension)
    groups = {}
    for number in range(count):
        groups[number] = Sample(dimension)
        groups[number].add(rng.standard_normal((rows, dimension)) @ mix + 0.3 * number)
    return groups


@pytest.mark.parametrize("rows", [4, 12, 30, 300])
def test_a_pool_gives_the_distance_of_any_union_as_if_it_were_made_from_its_rows(rows):
    generated, reference = _groups(rows, 24, seed=1), _groups(rows, 24, seed=2)
    pools = Pool(generated), Pool(reference, keep=True)
    plain = _groups(rows, 24, seed=1), _groups(rows, 24, seed=2)
    for numbers in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5], [1, 2, 3, 4, 5], [0, 3], [2]):
        fast = sample_distance(*(pool.union(numbers) for pool in pools))
        slow = sample_distance(*(Sample.join([side[n] for n in numbers]) for side in plain))
        assert fast == pytest.approx(slow, rel=1e-9)
        assert sample_distance(*(pool.union(numbers) for pool in pools)) == fast


def test_taking_a_group_away_keeps_the_digits_where_it_held_nearly_everything():
    groups = _groups(40, 8)
    groups[6] = Sample(8)
    groups[6].add(np.random.default_rng(5).standard_normal((500, 8)) * 1e9)
    left = Pool(groups).union(range(6)).moments()
    plain = Sample.join([groups[n] for n in range(6)]).moments()
    np.testing.assert_allclose(left.scatter.numpy(), plain.scatter.numpy(), rtol=1e-12)


@pytest.mark.parametrize("spread", [0, 1])
def test_the_cholesky_factor_gives_what_eigenvectors_give_and_a_qr_factor_without_squares(spread):
    rng = np.random.default_rng(3)
    mix = rng.standard_normal((64, 64)) * np.logspace(0, -spread, 64)
    x, y = rng.standard_normal((900, 64)) @ mix, rng.standard_normal((800, 64)) @ mix * 1.2 + 0.1
    r_x, r_y = (np.linalg.qr(rows - rows.mean(0), mode="r") / np.sqrt(len(rows) - 1) for rows in (x, y))
    cross = np.linalg.svd(r_x @ r_y.T, compute_uv=False).sum()
    delta = np.square(x.mean(0) - y.mean(0)).sum()
    truth = delta + np.square(r_x).sum() + np.square(r_y).sum() - 2 * cross
    assert frechet_distance(x, y) == pytest.approx(truth, rel=1e-10)


def test_a_reference_without_full_rank_takes_eigenvectors_and_the_same_distance():
    rng = np.random.default_rng(4)
    few = rng.standard_normal((5, 16))
    x, y = rng.standard_normal((300, 16)), few[rng.integers(0, 5, 300)]
    factored = Sample.of(y).factored()
    assert factored.root.shape[1] <= 5
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)


def test_one_reference_is_factored_once_for_all_methods_and_another_replaces_it():
    first, again, other = (shared_pool(_groups(30, 8, seed=seed)) for seed in (1, 1, 2))
    assert again.union([0, 1]) is first.union([0, 1])
    assert other.union([0, 1]) is not first.union([0, 1])
    forget_reference()
    assert shared_pool(_groups(30, 8, seed=2)).union([0, 1]) is not other.union([0, 1])
