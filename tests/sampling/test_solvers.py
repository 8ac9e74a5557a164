"""Solvers: exact on the fields they must be exact on, of the promised order, and equal to torchdiffeq."""

import math

import pytest
import torch
import torchdiffeq

from floatbench.errors import UsageError
from floatbench.sampling.solvers import EVALUATIONS, integrate, integrate_adaptive, time_grid

ORDER = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
TORCHDIFFEQ = {"euler": "euler", "midpoint": "midpoint", "heun": "heun2", "rk4": "rk4"}


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_a_constant_field_is_solved_exactly(solver: str):
    velocity = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x = torch.tensor([4.0, 5.0, 6.0], dtype=torch.float64)
    result = integrate(lambda t, x: velocity, x, time_grid(solver, 12).double(), solver)
    torch.testing.assert_close(result, x + velocity, rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_a_polynomial_in_time_is_exact_up_to_the_order(solver: str):
    degree = ORDER[solver] - 1
    grid = torch.linspace(0, 1, 4, dtype=torch.float64)
    start = torch.zeros(1, dtype=torch.float64)
    exact = integrate(lambda t, x: (degree + 1) * t**degree + 0 * x, start, grid, solver)
    assert float(exact) == pytest.approx(1.0, abs=1e-12)
    above = degree + 1
    inexact = integrate(lambda t, x: (above + 1) * t**above + 0 * x, start, grid, solver)
    assert abs(float(inexact) - 1.0) > 1e-4


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_halving_the_step_divides_the_error_by_two_to_the_order(solver: str):
    def error(steps: int) -> float:
        grid = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        return abs(float(integrate(lambda t, x: x * torch.cos(t), torch.ones((), dtype=torch.float64), grid, solver))
                   - math.exp(math.sin(1.0)))  # fmt: skip

    observed = math.log2(error(32) / error(64))
    assert observed == pytest.approx(ORDER[solver], abs=0.15)


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_each_step_equals_torchdiffeq(solver: str):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=generator)
    x = torch.randn(2, 6, generator=generator)

    def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ matrix + t)

    grid = torch.linspace(0, 1, 10)
    oracle = torchdiffeq.odeint(field, x, grid, method=TORCHDIFFEQ[solver])[-1]
    torch.testing.assert_close(integrate(field, x, grid, solver), oracle, rtol=0, atol=1e-6)


def test_the_official_grid_has_nfe_points_and_never_evaluates_at_one():
    seen: list[float] = []

    def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        seen.append(float(t))
        return x

    integrate(field, torch.ones(1), time_grid("euler", 10, "official"))
    assert seen == pytest.approx([i / 9 for i in range(9)], abs=1e-6)
    seen.clear()
    integrate(field, torch.ones(1), time_grid("euler", 10, "steps"))
    assert seen == pytest.approx([i / 10 for i in range(10)], abs=1e-6)


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_steps_means_evaluations_for_every_solver(solver: str):
    calls = 0

    def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return x

    integrate(field, torch.ones(1), time_grid(solver, 8), solver)
    assert calls == 8


def test_an_nfe_that_the_solver_cannot_spend_is_refused():
    with pytest.raises(UsageError, match="4 evaluations a step"):
        time_grid("rk4", 10)
    with pytest.raises(UsageError, match="no step"):
        time_grid("euler", 1, "official")


def test_the_adaptive_solver_meets_its_tolerance():
    x = torch.ones(1, 3)
    result = integrate_adaptive(lambda t, x: -3 * x, x, "dopri5", rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(result, x * math.exp(-3), rtol=1e-4, atol=0)
