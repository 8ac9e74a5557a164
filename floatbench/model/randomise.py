"""Seeded random weights that exercise every path: biases, gates and norms are not at their neutral start values.

The numbers come from one NumPy generator per entry, named by the entry, so that a part of the model gets the same
weights alone and inside the whole, on every machine.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn

FIXED = ("kernel", "alignment_mask", "pos_embed", "filters", "window", "grid")


@torch.no_grad()
def randomise(model: nn.Module, seed: int, prefix: str = "") -> None:
    """Fills every parameter and every unused entry of `model` in place.

    Args:
        model: any of the modules of this package.
        seed: of all entries.
        prefix: what the names of `model` start with in the whole, e.g. ``fmt.``.
    """
    for name, value in model.state_dict().items():
        if name.rsplit(".", 1)[-1] not in FIXED:
            value.copy_(entry(prefix + name, tuple(value.shape), seed))


def entry(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The weights of one entry of the state dict, float32."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    noise = torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))
    part = name.rsplit(".", 1)[-1]
    if part == "weight_g":
        return 6.0 + 0.6 * noise
    if name.endswith("modulation.bias") and name.startswith("motion_autoencoder"):
        return 1.0 + 0.1 * noise
    if part == "bias" or len(shape) < 2:
        return 0.1 * noise + (1.0 if part == "weight" and "noise" not in name else 0.0)
    if name.startswith("motion_autoencoder"):
        return noise  # equalised layers scale by 1/sqrt(fan in) themselves
    return noise / float(np.sqrt(np.prod(shape[1:])))
