"""Probability paths: conversions are inverses, and DDIM is exact where the truth is known."""

import math

import pytest
import torch

from floatbench.errors import UsageError
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.paths import DiffusionPath, FlowPath
from floatbench.sampling.sampler import ddim


def _pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    draw = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return draw[0], draw[1]


def test_flow_path_runs_from_noise_to_data_at_constant_velocity():
    noise, data = _pair(4, 5, 6)
    path, t = FlowPath(), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    x = path.interpolate(noise, data, t)
    assert torch.equal(x[0], noise[0]) and torch.equal(x[3], data[3])
    step = 1e-6
    slope = (path.interpolate(noise, data, t + step) - x) / step
    torch.testing.assert_close(slope, path.target(noise, data), atol=1e-8, rtol=0)


def test_flow_predictions_convert_to_both_ends_of_the_line():
    noise, data = _pair(4, 5, 6)
    path, t = FlowPath(), torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=torch.float64)
    x, velocity = path.interpolate(noise, data, t), path.target(noise, data)
    torch.testing.assert_close(path.to_data(velocity, x, t), data)
    torch.testing.assert_close(path.to_noise(velocity, x, t), noise)


def test_diffusion_schedule_is_the_clipped_cosine():
    path = DiffusionPath()
    abar = path.alpha_bar
    k = torch.arange(1, 501, dtype=torch.float64)
    curve = torch.cos((k / 500 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(abar[:-1], curve[:-1], rtol=1e-9, atol=0)  # no step but the last reaches the clip
    assert abar[-1] == pytest.approx(float(abar[-2]) * 0.001, rel=1e-9)  # cosine alone would end at zero
    assert torch.all(abar[1:] < abar[:-1])


def test_epsilon_and_x0_predictions_are_inverse_conversions():
    noise, data = _pair(3, 5, 6)
    path, k = DiffusionPath(), torch.tensor([0, 250, 490])
    x = path.interpolate(noise, data, k)
    torch.testing.assert_close(path.epsilon_to_data(noise, x, k), data)
    torch.testing.assert_close(path.data_to_epsilon(data, x, k), noise)


def test_ddim_walks_fifty_steps_of_stride_ten():
    assert DiffusionPath().ddim_indices(50) == list(range(490, -1, -10))
    with pytest.raises(ValueError, match="do not divide"):
        DiffusionPath().ddim_indices(49)


@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
def test_ddim_ends_on_the_point_when_the_data_is_one_point(prediction: str):
    point, noise = _pair(1, 4, 3)
    options = SamplingOptions(prediction=prediction)
    path = options.diffusion

    def oracle(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return point if prediction == "x0" else path.data_to_epsilon(point, x, t.long())

    torch.testing.assert_close(ddim(oracle, noise, options), point, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", ["epsilon", "x0"])
def test_ddim_maps_noise_to_a_known_gaussian(prediction: str):
    """For data N(m, s^2) each step scales x - sqrt(abar) m by a known factor; their product approaches s."""
    mean, spread = 0.7, 0.3
    _, noise = _pair(1, 4, 3)
    options = SamplingOptions(prediction=prediction, diffusion_steps=500, ddim_steps=500)
    path = options.diffusion

    def oracle(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        abar = path.alpha_bar[int(t)]
        variance = abar * spread**2 + 1 - abar
        data = mean + abar.sqrt() * spread**2 / variance * (x - abar.sqrt() * mean)
        return data if prediction == "x0" else (x - abar.sqrt() * data) / (1 - abar).sqrt()

    def slope(k: int, k_next: int | None) -> float:
        abar = float(path.alpha_bar[k])
        following = 1.0 if k_next is None else float(path.alpha_bar[k_next])
        variance = abar * spread**2 + 1 - abar
        to_data = math.sqrt(abar) * spread**2 / variance
        return math.sqrt(following) * to_data + math.sqrt(1 - following) * (1 - math.sqrt(abar) * to_data) / math.sqrt(
            1 - abar
        )

    indices = path.ddim_indices(500)
    factor = math.prod(slope(k, k_next) for k, k_next in zip(indices, [*indices[1:], None], strict=True))
    start = math.sqrt(float(path.alpha_bar[indices[0]])) * mean
    expected = mean + factor * (noise - start)
    result = ddim(oracle, noise, options)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    assert factor == pytest.approx(spread, rel=0.02)  # the probability-flow limit


def test_the_diffusion_network_is_told_the_index_or_the_fraction():
    for kind, scale in (("index", 1.0), ("fraction", 1 / 500)):
        told: list[float] = []

        def note(t: torch.Tensor, x: torch.Tensor, told: list[float] = told) -> torch.Tensor:
            told.append(float(t))
            return torch.zeros_like(x)

        ddim(note, torch.zeros(1, 2, 2), SamplingOptions(prediction="x0", diffusion_time=kind))
        assert told == pytest.approx([k * scale for k in range(490, -1, -10)])


def test_a_stride_that_does_not_divide_is_refused():
    with pytest.raises(UsageError, match="does not divide 500"):
        SamplingOptions(ddim_steps=49)
