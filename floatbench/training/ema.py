"""The running average of weights that is exported."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Ema:
    """Keeps average <- decay . average + (1 - decay) . weights of what is trained; buffers are copied.

    Frozen weights are not averaged and not held twice: `module` shares them with the module that is trained.

    The first steps use (1 + n) / (10 + n) when that is smaller than `decay`, so that a short run does not keep its
    random start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        shared = {id(p): p for p in module.parameters() if not p.requires_grad}
        self.module = copy.deepcopy(module, shared).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for kept, now in zip(self.module.parameters(), module.parameters(), strict=True):
            if kept is now:
                continue
            kept.lerp_(now.detach().to(kept), 1 - decay)
        for kept, now in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(now)


def half_life_decay(half_life_samples: float, batch: int) -> float:
    """The decay per step at which a weight's share halves after that many samples."""
    return 0.5 ** (batch / half_life_samples)
