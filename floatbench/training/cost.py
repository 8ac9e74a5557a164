"""Memory for time, and compile time for step time: what a phase does with its networks before the first step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from torch import nn
from torch.utils.checkpoint import checkpoint

from floatbench.model.autoencoder import MotionAutoencoder


def blocks(autoencoder: MotionAutoencoder) -> list[nn.Module]:
    """The parts of encoder and decoder that lie one after another at each resolution."""
    decoder = autoencoder.dec
    return [*autoencoder.enc.net_app.convs, *decoder.convs, *decoder.to_flows, *decoder.to_rgbs]


def recompute(modules: Iterable[nn.Module]) -> None:
    """Activation checkpointing: each module keeps its input alone and is computed again in the backward pass.

    Gradients are the same to the digit: the random draws inside a module are repeated, too.
    """
    for module in modules:
        again = partial(checkpoint, cast("Callable[..., Any]", module.forward), use_reentrant=False)
        module.forward = again  # type: ignore[method-assign]


def compile_each(modules: Iterable[nn.Module]) -> None:
    """`torch.compile` of each module by itself, in place: names of weights stay, the rest of a step is untouched."""
    for module in modules:
        module.compile(dynamic=False)
