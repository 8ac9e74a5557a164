"""Which device the networks run on, and how exactly."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from floatbench.errors import DependencyError, OutOfMemory, UsageError

_LOG = logging.getLogger("floatbench")
CHOICES = "--device auto|cpu|cuda|cuda:N"
NEW_DRIVER = "update the NVIDIA driver, or install a torch for it: https://pytorch.org"
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""Processor flags, any of which means that bfloat16 is computed and not emulated."""
NO_MEMORY = ("out of memory", "out_of_memory", "not enough memory", "allocate memory", "alloc_failed",
             "allocation_failed")  # fmt: skip
"""What torch, CUDA, its libraries (cuBLAS, cuDNN ...) and ONNX Runtime say, each in another class of error."""


def pick_device(device: str) -> str:
    """`auto` becomes `cuda` when a CUDA device answers, else `cpu`; other devices are checked.

    Raises:
        UsageError: no device that torch knows, or one that is not supported (`mps`, `xpu`).
        DependencyError: a CUDA device that torch does not see.
    """
    if device == "cpu":
        return device
    if device == "auto":
        answers, why = cuda_answers()
        for line in why:
            _say_once(f"CUDA is not used: {line}")
        return "cuda" if answers else "cpu"
    import torch

    try:
        found = torch.device(device)
    except RuntimeError:
        raise UsageError(f"unknown device {device!r}", fix=CHOICES) from None
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"the device {device!r} is not supported", fix=CHOICES)
    if found.type == "cuda" and not cuda_answers()[0]:
        raise DependencyError(*_why_no_cuda())
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise DependencyError(f"torch sees {torch.cuda.device_count()} CUDA devices, none is {device}", fix=CHOICES)
    return device


def cuda_answers() -> tuple[bool, list[str]]:
    """Whether torch can use a CUDA device, and what it warns of, a line each: a driver that is too old."""
    import torch

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        answers = torch.cuda.is_available()
    said = [" ".join(str(warning.message).split()) for warning in told]
    return answers, [f"{what}; {NEW_DRIVER}" if (what := _old_driver(line)) else line for line in said]


@cache
def _say_once(line: str) -> None:
    """A warning of this process in one line, without the place in the code that `warnings` would add."""
    _LOG.warning(line)


def _why_no_cuda() -> tuple[str, str]:
    """What keeps torch from using CUDA here, and what mends it."""
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        if what := _old_driver(str(error)):
            return what, NEW_DRIVER
    return "CUDA was asked for, but torch sees no CUDA device", "floatbench doctor"


def _old_driver(text: str) -> str:
    """Torch's complaint about an old driver in a few words; empty for any other text."""
    import torch

    if "driver" not in text or "too old" not in text:
        return ""
    found = re.search(r"found version (\d+)", text)
    version = int(found[1]) if found else 0  # 12020 is CUDA 12.2
    can = f"it knows CUDA {version // 1000}.{version % 1000 // 10}, " if version else ""
    return f"the NVIDIA driver is too old for this torch ({can}torch was built for {torch.version.cuda})"


def ran_out_of_memory(error: BaseException) -> bool:
    """True for what torch and the libraries below it raise when the device or the machine has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return any(words in said for words in NO_MEMORY)


@contextmanager
def within_memory(device: object, what: str) -> Iterator[None]:
    """Raises OutOfMemory where the device, or the machine, has no memory left for `what`."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out_of_memory(error):
            raise
        instead = ", or --device cpu" if str(device).startswith("cuda") else ""
        raise OutOfMemory(
            f"{device} has too little memory for {what}", f"end what else uses this memory{instead}"
        ) from error


def keep_float32() -> None:
    """The one policy of this process on CUDA: float32 is float32, whatever the card could do faster.

    TF32 has 10 bits of mantissa: with it a card from Ampere on makes other pixels than an older one. And no search for
    convolution algorithms, which may choose others in every process.
    """
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


def emulates_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """True where the processor says what it can do, and bfloat16 arithmetic is not among it."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return bool(flags) and not flags & BF16_FLAGS
