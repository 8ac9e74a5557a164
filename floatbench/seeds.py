"""Seeds that depend on what is generated, never on batch size, order, worker or machine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(run_seed: int, clip_id: str, replicate: int = 0, window: int | None = None) -> int:
    """A 63-bit seed from the run seed, the clip, the replicate and, for a window of a long clip, its index.

    It is the first 8 bytes of the SHA-256 of the parts joined by newlines, without the sign bit. The method's name does
    not enter: every method gets the same seed for the same clip.
    """
    parts = ["floatbench-seed-v1", str(run_seed), clip_id, str(replicate)]
    if window is not None:
        parts.append(str(window))
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def window_seed(clip_seed: int, window: int) -> int:
    """The seed of one window from the seed of its clip (63 bits)."""
    digest = hashlib.sha256(f"floatbench-window-v1\n{clip_seed}\n{window}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def cpu_generator(seed: int) -> torch.Generator:
    """A torch generator on the CPU, so that noise is equal on every device."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)
