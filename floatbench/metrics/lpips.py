"""LPIPS v0.1 with AlexNet: how different two pictures look, frame by frame against the reference; lower is better.

    d(x, y) = sum over five levels of the mean over positions of sum_c w_c (u_c - v_c)^2

u and v are AlexNet's feature maps after each ReLU, scaled to length 1 over the channels at every position; w are the
weights that Zhang et al. learned from people's judgements. Pictures go in whole, in [-1, 1], shifted and scaled by the
package's own constants. AlexNet is torchvision's; the w come out of the wheel of the authors' package `lpips`.
Source: Zhang et al. 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from floatbench.metrics.base import MetricInfo, PairBackbone
from floatbench.metrics.full_size import FramePairMetric, both_sides, frames_apart
from floatbench.metrics.network import NetworkBackbone, save_seeded
from floatbench.types import ClipMedia, Features

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
TAPS = (1, 4, 7, 9, 11)
"""Positions of the five ReLUs among AlexNet's layers."""
WIDTHS = (64, 192, 384, 256, 256)
SMALLEST = 31
"""Pixels of the shorter side that AlexNet's last level needs."""


class AlexLpips(nn.Module):
    """(B, 3, H, W) pictures in [-1, 1], twice -> (B,) distances."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in WIDTHS])
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)

    def levels(self, picture: Tensor) -> list[Tensor]:
        """The five maps, of length 1 over the channels."""
        x, found = (picture - self.shift) / self.scale, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in TAPS:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(self.levels(x), self.levels(y), self.heads, strict=True)
        return torch.stack([torch.einsum("bchw,c->bhw", (u - v).square(), w).mean((1, 2)) for u, v, w in pairs]).sum(0)


def joined_state(alexnet: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of `AlexLpips` out of torchvision's AlexNet and of the package's `alex.pth`."""
    state = {key: value for key, value in alexnet.items() if key.startswith("features.")}
    return state | {f"heads.{k}": heads[f"lin{k}.model.1.weight"].reshape(-1) for k in range(len(WIDTHS))}


class LpipsAlex(NetworkBackbone, PairBackbone):
    """Frame by frame: {"lpips": (T,) float32}, and how many frames one side has more, `trimmed` (1,).

    Args:
        batch: pairs of frames per forward pass.
    """

    id = "lpips-alex"
    weights = ("alexnet", "lpips-alex")
    licence = "BSD-2-Clause; AlexNet BSD-3-Clause, trained on ImageNet"
    default_batch = 8

    def settings(self) -> dict[str, Any]:
        return {"version": "0.1", "network": "alex", "size": "of the reference; area down, cubic up"}

    def build(self) -> nn.Module:
        return AlexLpips()

    def state(self) -> Mapping[str, Tensor]:
        from floatbench import weights

        return joined_state(*(weights.load_state_dict(name) for name in self.weights))

    def extract_pair(self, generated: ClipMedia, reference: ClipMedia) -> Features:
        """Raises ClipError `empty`, `size_mismatch`."""
        made, real = both_sides(generated, reference, SMALLEST)

        def run(network: nn.Module, numbers: Tensor) -> Tensor:
            at = numbers.cpu().numpy()
            x, y = (torch.from_numpy(side[at]).to(self.device) for side in (made, real))
            return network(*(one.permute(0, 3, 1, 2).float() / 127.5 - 1 for one in (x, y)))

        track = self.forward(run, np.arange(len(made)))
        return {"lpips": track, "trimmed": frames_apart(generated, reference)}


def fabricate_alexnet(path: Path, seed: int) -> None:
    """Seeded random weights under torchvision's key names, for tests and dry runs."""
    from torchvision.models import alexnet

    save_seeded(alexnet(weights=None), path, seed)


def fabricate_heads(path: Path, seed: int) -> None:
    """Seeded random weights that are not negative, as the published ones, under the package's key names."""
    rng = np.random.default_rng(seed)
    drawn = {f"lin{k}.model.1.weight": rng.exponential(1.0, (1, width, 1, 1)) for k, width in enumerate(WIDTHS)}
    torch.save({key: torch.from_numpy(values).float() for key, values in drawn.items()}, path)


METRICS = {
    "lpips-alex": partial(
        FramePairMetric,
        MetricInfo(
            id="lpips-alex",
            column="LPIPS",
            title="Learned perceptual distance to the reference, AlexNet",
            higher_is_better=False,
            backbones=(LpipsAlex.id,),
            sides=("generated", "reference"),
            formula="mean over frames of LPIPS v0.1 (AlexNet) on whole colour pictures in [-1, 1]",
            source="Zhang et al. 2018; lpips 0.1.4",
            parity="lpips 0.1.4 on equal weights, 1e-5",
        ),
        "lpips",
    )
}
BACKBONES = {LpipsAlex.id: LpipsAlex}
