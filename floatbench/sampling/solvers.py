"""Solvers of dx/dt = field(t, x) from t = 0 to 1, on fixed grids that can be captured in a graph, or adaptive.

The fixed-grid methods are those torchdiffeq calls `euler`, `midpoint`, `heun2` and `rk4` (the 3/8 rule), step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from floatbench.errors import UsageError

Field = Callable[[Tensor, Tensor], Tensor]
"""field(t, x) -> dx/dt with a scalar tensor t and x of any shape."""

EVALUATIONS = {"euler": 1, "midpoint": 2, "heun": 2, "rk4": 4}
"""Fixed-grid solver -> evaluations of the field in one step."""

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""Adaptive solvers, run by torchdiffeq."""

SOLVERS = (*EVALUATIONS, *ADAPTIVE)


@dataclass
class NfeMeter:
    """Counts what a solve really cost.

    Attributes:
        evaluations: evaluations of the guided field.
        rows: network rows: evaluations x guidance branches x items of the batch.
    """

    evaluations: int = 0
    rows: int = 0

    def add(self, rows: int) -> None:
        """Counts one evaluation that passed `rows` rows through the network."""
        self.evaluations += 1
        self.rows += rows


def time_grid(solver: str, nfe: int, kind: str = "steps") -> Tensor:
    """The fixed time grid from 0 to 1, float32.

    Args:
        solver: a key of `EVALUATIONS`.
        nfe: with `kind="steps"` the number of field evaluations; with `kind="official"` the number of grid points, so
            that Euler makes nfe - 1 evaluations (what the released FLOAT code does).
    """
    if kind == "official":
        if nfe < 2:
            raise UsageError(f"nfe {nfe} with ode_grid=official makes no step", fix="nfe=2 or more")
        return torch.linspace(0, 1, nfe)
    per_step = EVALUATIONS[solver]
    if nfe < per_step or nfe % per_step:
        raise UsageError(f"{solver} makes {per_step} evaluations a step, which does not divide nfe {nfe}")
    return torch.linspace(0, 1, nfe // per_step + 1)


def integrate(field: Field, x: Tensor, grid: Tensor, solver: str = "euler") -> Tensor:
    """Walks the grid; returns x at its last point, of the shape of x."""
    step = _STEPS[solver]
    grid = grid.to(x.dtype)  # times stay on the CPU, where reading one does not wait for the device of x
    for t0, t1 in pairwise(grid):
        x = x + step(field, x, t0, t1 - t0)
    return x


def _euler(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    return h * field(t, x)


def _midpoint(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    return h * field(t + h / 2, x + h / 2 * field(t, x))


def _heun(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    k1 = field(t, x)
    return h / 2 * (k1 + field(t + h, x + h * k1))


def _rk4(field: Field, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    k1 = field(t, x)
    k2 = field(t + h / 3, x + h / 3 * k1)
    k3 = field(t + h * 2 / 3, x + h * (k2 - k1 / 3))
    k4 = field(t + h, x + h * (k1 - k2 + k3))
    return h / 8 * (k1 + 3 * (k2 + k3) + k4)


_STEPS = {"euler": _euler, "midpoint": _midpoint, "heun": _heun, "rk4": _rk4}


def integrate_adaptive(field: Field, x: Tensor, solver: str, rtol: float, atol: float) -> Tensor:
    """Solves with torchdiffeq's error control. Give it one item at a time: the error norm spans all of x."""
    import torchdiffeq

    times = torch.tensor([0.0, 1.0], device=x.device, dtype=x.dtype)
    path = torchdiffeq.odeint(field, x, times, method=solver, rtol=rtol, atol=atol)
    assert isinstance(path, Tensor)
    return path[-1]
