"""Dropping conditions, so that one network learns the guided and the unguided fields (FLOAT, section 3.2)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from floatbench.model.conditions import Conditions
from floatbench.settings import Share, settings


@settings
class DropRates:
    """Chance of each condition to be zeroed for a whole sample; the draws are independent of each other.

    Attributes:
        wa, wr, we: audio of the window, source motion, emotion. prev_x, prev_wa: previous motion and audio.
        pose: of the pose ablation, current and previous frames together.
    """

    wa: Share = 0.1
    wr: Share = 0.1
    we: Share = 0.1
    prev_x: Share = 0.5
    prev_wa: Share = 0.5
    pose: Share = 0.1


def drop_conditions(c: Conditions, rates: DropRates, generator: torch.Generator) -> Conditions:
    """A copy with whole samples zeroed; nothing is written to, so that a target may share memory with a condition.

    Dropping `wa` leaves `prev_wa` alone and the other way round, so that the first window (no history) and the
    unguided branches are both seen in training. Frame-wise emotion and pose are dropped with their previous frames.
    """
    batch = c.wr.shape[0]

    def keep(rate: float) -> Tensor:
        return (torch.rand(batch, generator=generator) >= rate).float().to(c.wr.device)

    kept = {name: keep(getattr(rates, name)) for name in ("wa", "wr", "we", "prev_x", "prev_wa", "pose")}
    together = {"prev_we": "we", "prev_pose": "pose"}
    changed = {}
    for name in ("wa", "wr", "we", "prev_x", "prev_wa", "pose", *together):
        value = getattr(c, name)
        if value is not None:
            mask = kept[together.get(name, name)].to(value.dtype)
            changed[name] = value * mask.reshape(-1, *(1,) * (value.ndim - 1))
    return replace(c, **changed)
