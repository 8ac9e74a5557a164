"""Where training runs: one process or many (accelerate on torch.distributed), in float32 or bfloat16."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn

from floatbench.device import keep_float32, pick_device
from floatbench.errors import DependencyError, UsageError
from floatbench.training.config import Precision

PATIENCE = timedelta(days=1)
"""How long a process waits in a collective for the others. NCCL gives up after ten minutes, Gloo after thirty; but the
first process alone loads held-out clips, validates and writes pictures, and what is known of all clips is read by one
process after another. One that died is noticed by the launcher, which ends the others."""


def training_device(device: str) -> str:
    """`cpu` or `cuda`, where `auto` takes what is there; which card, whoever starts the processes decides.

    Raises:
        UsageError: another device, or a card by its number. DependencyError: see `floatbench.device.pick_device`.
    """
    kind, _, card = device.partition(":")
    if kind == "cuda" and card:
        fix = f"CUDA_VISIBLE_DEVICES={card} before the command, and --device cuda"
        raise UsageError(f"training takes the cards that it is shown, not {device!r}", fix=fix)
    return pick_device(device)


class Devices:
    """A thin coat around accelerate's Accelerator.

    Every process draws the same global batch and keeps every `count`-th row of it, so that losses do not depend on how
    many processes share the work (up to rounding).

    Args:
        device: see `training_device`. Processes are started by `accelerate launch` or torchrun.
    """

    def __init__(self, device: str = "auto", precision: Precision = "float32") -> None:
        try:
            from accelerate import Accelerator
            from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
        except ImportError as error:
            raise DependencyError("training needs accelerate", fix="pip install 'floatbench[train]'") from error
        device = training_device(device)
        keep_float32()
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        handlers: list[Any] = [unused, InitProcessGroupKwargs(timeout=PATIENCE)]
        self.accelerator = Accelerator(cpu=device == "cpu", kwargs_handlers=handlers)
        self.precision: Precision = precision

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def count(self) -> int:
        return self.accelerator.num_processes

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def rows(self) -> slice:
        """This process's rows of a global batch."""
        return slice(self.accelerator.process_index, None, self.count)

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a global batch, on its device."""
        return rows[self.rows].to(self.device)

    def check_batch(self, batch: int, parts: int = 1) -> None:
        """Raises UsageError when the global batch cannot be shared out evenly, each share in so many parts."""
        if batch % self.count:
            raise UsageError(f"a batch of {batch} cannot be shared by {self.count} processes")
        if batch // self.count % parts:
            raise UsageError(f"the {batch // self.count} rows of a process cannot be computed in {parts} equal parts")

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module on its device, its gradients averaged over the processes."""
        module = module.to(self.device)
        return self.accelerator.prepare_model(module) if self.count > 1 else module

    def autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 for convolutions and matrix products, when the configuration asks for it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def exact(self) -> AbstractContextManager[Any]:
        """float32 inside `autocast`."""
        return torch.autocast(self.device.type, enabled=False)

    def backward(self, loss: Tensor) -> None:
        self.accelerator.backward(loss)

    def means(self, terms: dict[str, Tensor]) -> dict[str, float]:
        """Losses averaged over the processes."""
        names = list(terms)
        values = torch.stack([terms[name].detach().float().reshape(()) for name in names]).to(self.device)
        if self.count > 1:
            values = cast("Tensor", self.accelerator.reduce(values, reduction="mean"))
        return dict(zip(names, values.tolist(), strict=True))
