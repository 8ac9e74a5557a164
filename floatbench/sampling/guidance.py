"""Incremental classifier-free vector-field guidance (FLOAT, Eq. 14), without the branches whose weight is zero.

    v = N + gr (U - N) + ga (A - U) + ge (F - A)

N has no condition at all, U only the reference, A reference and audio, F everything. Without the reference branch
(`reference_branch=False`, the paper and the released code) gr is 1 and N drops out. Collected by branch the weights
are N: 1 - gr, U: gr - ga, A: ga - ge, F: ge, so a branch can be left out exactly when its weight is zero. ge = 1
alone removes none: the usual (ga, ge) = (2, 1) is -U + A + F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from floatbench.model.conditions import Conditions, stack
from floatbench.sampling.ahead import on_device
from floatbench.sampling.solvers import NfeMeter

Evaluate = Callable[[Tensor, Tensor], Tensor]
"""evaluate(t, x) -> prediction for the L current frames: t (B,) on any device, x (B, L, D) -> (B, L, D)."""

Network = Callable[[Conditions], Evaluate]
"""A network bound to the conditions of a window once, so that what does not depend on time is computed once."""

Predictor = Callable[[Tensor, Tensor], Tensor]
"""predictor(t, x) -> guided prediction: scalar t on the CPU (or where x is), x (B, L, D) -> (B, L, D)."""


@dataclass(frozen=True)
class Branch:
    """One term of the guided sum: its weight and the conditions it keeps."""

    name: str
    weight: float
    wr: bool = True
    wa: bool = True
    we: bool = True


def branches(
    a_cfg: float, e_cfg: float, r_cfg: float = 1.0, reference_branch: bool = False, emotion: bool = True
) -> tuple[Branch, ...]:
    """The branches with a weight, in the order N, U, A, F. Without emotion A and F are one branch of weight ga."""
    gr = r_cfg if reference_branch else 1.0
    ge = e_cfg if emotion else a_cfg
    full = (
        Branch("N", 1.0 - gr, wr=False, wa=False, we=False),
        Branch("U", gr - a_cfg, wa=False, we=False),
        Branch("A", a_cfg - ge, we=False),
        Branch("F", ge),
    )
    return tuple(b for b in full if b.weight != 0.0)  # the weights sum to 1, so at least one is left


def mask_conditions(c: Conditions, branch: Branch, keep_previous_audio: bool) -> Conditions:
    """Zeroes what the branch drops; the previous audio of a branch without audio stays only when asked for."""
    kept = {
        "wr": branch.wr, "wa": branch.wa, "prev_wa": branch.wa or keep_previous_audio,
        "we": branch.we, "prev_we": branch.we,
    }  # fmt: skip
    dropped = {name: torch.zeros_like(value) for name, value in c.items().items() if not kept.get(name, True)}
    return replace(c, **dropped)


def guided(
    network: Network, conditions: Conditions, chosen: tuple[Branch, ...], keep_previous_audio: bool, meter: NfeMeter
) -> Predictor:
    """Binds a network to one window: each call is one network call with all branches stacked, `rows` of the meter."""
    stacked = stack([mask_conditions(conditions, branch, keep_previous_audio) for branch in chosen])
    n, batch = len(chosen), conditions.wr.shape[0]
    evaluate = network(stacked)
    weights = torch.tensor([branch.weight for branch in chosen], dtype=torch.float64)
    weights = on_device(weights, conditions.wr.device)

    def predict(t: Tensor, x: Tensor) -> Tensor:
        meter.add(n * batch)
        prediction = evaluate(t.expand(n * batch), x.repeat(n, *(1,) * (x.ndim - 1)))
        if n == 1 and chosen[0].weight == 1.0:
            return prediction
        return torch.einsum("n,n...->...", weights.to(x.dtype), prediction.reshape(n, *x.shape).to(x.dtype))

    return predict
