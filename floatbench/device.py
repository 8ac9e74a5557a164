"""Which device the networks run on."""

from __future__ import annotations

from floatbench.errors import DependencyError, UsageError


def pick_device(device: str) -> str:
    """`auto` becomes `cuda` when a CUDA device answers, else `cpu`; an impossible device is an error."""
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", fix="--device auto|cpu|cuda|cuda:N") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise DependencyError("CUDA was asked for, but torch sees no CUDA device", fix="floatbench doctor")
    return device
