"""Sums over all processes of a training that gradients, and gradients of gradients, pass through."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist


class SumOfProcesses(torch.autograd.Function):
    """x summed over the processes; the gradient of a sum is the sum of the gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return SumOfProcesses.apply(gradients[0].contiguous())


def helps_training() -> bool:
    """Whether this is one of several processes that train together and not the first, which alone reports."""
    return int(os.environ.get("RANK", "0")) > 0


def processes() -> int:
    """How many train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered_rows(rows: Tensor) -> Tensor:
    """This process's rows (b, ...), every N-th of a batch -> the whole batch (N b, ...) in its order."""
    whole = rows.new_zeros(processes() * len(rows), *rows.shape[1:])
    return SumOfProcesses.apply(whole.index_copy(0, own_rows(len(rows), rows.device), rows))


def own_rows(count: int, device: torch.device) -> Tensor:
    """Places of this process's `count` rows in the whole batch."""
    rank = dist.get_rank() if processes() > 1 else 0
    return torch.arange(count, device=device) * processes() + rank


def said_by_any(said: bool) -> bool:
    """Whether any of the processes says so; all of them must ask."""
    if processes() == 1:
        return said
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    votes = torch.tensor([float(said)], device=device)
    dist.all_reduce(votes)
    return bool(votes.item())
