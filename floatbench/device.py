"""Which device the networks run on, and how exactly."""

from __future__ import annotations

from floatbench.errors import DependencyError, UsageError

CHOICES = "--device auto|cpu|cuda|cuda:N"


def pick_device(device: str) -> str:
    """`auto` becomes `cuda` when a CUDA device answers, else `cpu`; other devices are checked.

    Raises:
        UsageError: no device that torch knows, or one that is not supported (`mps`, `xpu`).
        DependencyError: a CUDA device that torch does not see.
    """
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", fix=CHOICES) from None
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"the device {device!r} is not supported", fix=CHOICES)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise DependencyError("CUDA was asked for, but torch sees no CUDA device", fix="floatbench doctor")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DependencyError(f"torch sees {torch.cuda.device_count()} CUDA devices, none is {device}", fix=CHOICES)
    return device


def keep_float32() -> None:
    """The one policy of this process on CUDA: float32 is float32, whatever the card could do faster.

    TF32 has 10 bits of mantissa: with it a card from Ampere on makes other pixels than an older one. And no search for
    convolution algorithms, which may choose others in every process.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
