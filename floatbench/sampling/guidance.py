"""Incremental classifier-free vector-field guidance (FLOAT, Eq. 14), without the branches whose weight is zero.

    v = N + gr (U - N) + ga (A - U) + ge (F - A)

N has no condition at all, U only the reference, A reference and audio, F everything. Without the reference branch
(`reference_branch=False`, the paper and the released code) gr is 1 and N drops out. Collected by branch the weights
are N: 1 - gr, U: gr - ga, A: ga - ge, F: ge, so a branch can be left out exactly when its weight is zero. ge = 1
alone removes none: the usual (ga, ge) = (2, 1) is -U + A + F.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from floatbench.sampling.solvers import NfeMeter


@dataclass(frozen=True)
class Conditions:
    """What one window is conditioned on. B items, P previous and L current frames.

    Attributes:
        wr: (B, D) reference motion.
        wa: (B, L, A) audio features; prev_wa: (B, P, A).
        prev_x: (B, P, D) previous motion.
        we: (B, 1, E) emotion of the window, (B, L, E) frame by frame, or None for a network without emotion.
        pose: (B, L, 6) head pose, or None for a network without pose.
        prev_we, prev_pose: (B, P, E) and (B, P, 6), of what is given frame by frame.
    """

    wr: Tensor
    wa: Tensor
    prev_wa: Tensor
    prev_x: Tensor
    we: Tensor | None = None
    prev_we: Tensor | None = None
    pose: Tensor | None = None
    prev_pose: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditions:
        """Applies a function to every tensor."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {name: None if v is None else function(v) for name, v in values.items()}
        return Conditions(**mapped)

    def item(self, index: int) -> Conditions:
        """The conditions of one item, B = 1."""
        return self.map(lambda v: v[index : index + 1])


Evaluate = Callable[[Tensor, Tensor], Tensor]
"""evaluate(t, x) -> prediction for the L current frames: t (B,), x (B, L, D) -> (B, L, D)."""

Network = Callable[[Conditions], Evaluate]
"""A network bound to the conditions of a window once, so that what does not depend on time is computed once."""

Predictor = Callable[[Tensor, Tensor], Tensor]
"""predictor(t, x) -> guided prediction: scalar t, x (B, L, D) -> (B, L, D)."""


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
    zero = torch.zeros_like
    return Conditions(
        wr=c.wr if branch.wr else zero(c.wr),
        wa=c.wa if branch.wa else zero(c.wa),
        prev_wa=c.prev_wa if branch.wa or keep_previous_audio else zero(c.prev_wa),
        prev_x=c.prev_x,
        we=c.we if c.we is None or branch.we else zero(c.we),
        prev_we=c.prev_we if c.prev_we is None or branch.we else zero(c.prev_we),
        pose=c.pose,
        prev_pose=c.prev_pose,
    )


def stack_conditions(parts: list[Conditions]) -> Conditions:
    """Concatenates conditions on the batch axis."""
    columns: dict[str, Any] = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Conditions)}
    joined: dict[str, Any] = {name: None if v[0] is None else torch.cat(v) for name, v in columns.items()}
    return Conditions(**joined)


def guided(
    network: Network, conditions: Conditions, chosen: tuple[Branch, ...], keep_previous_audio: bool, meter: NfeMeter
) -> Predictor:
    """Binds a network to one window: each call is one network call with all branches stacked, `rows` of the meter."""
    stacked = stack_conditions([mask_conditions(conditions, branch, keep_previous_audio) for branch in chosen])
    n, batch = len(chosen), conditions.wr.shape[0]
    evaluate = network(stacked)

    def predict(t: Tensor, x: Tensor) -> Tensor:
        meter.add(n * batch)
        prediction = evaluate(t.expand(n * batch), x.repeat(n, *(1,) * (x.ndim - 1)))
        if n == 1 and chosen[0].weight == 1.0:
            return prediction
        weights = torch.tensor([b.weight for b in chosen], device=x.device, dtype=x.dtype)
        return torch.einsum("n,n...->...", weights, prediction.reshape(n, *x.shape).to(x.dtype))

    return predict
