"""InceptionV3 of 2015-12-05 as FID uses it; the layers are pytorch-fid's, the preprocessing is written out here.

`inception-2015` equals pytorch-fid 0.3.0: RGB / 255, bilinear to 299 x 299 without antialias and without aspect,
2 x - 1.
`inception-2015-antialias` filters before it shrinks; `inception-2015-clean` resizes as clean-fid does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from floatbench.errors import ClipError, DependencyError
from floatbench.metrics.network import NetworkBackbone, save_seeded
from floatbench.types import ClipMedia, Features

SIDE = 299
TAPS = (64, 192, 768, 2048)
Resize = Literal["bilinear", "antialias", "clean"]

_STAGES: tuple[tuple[str, ...], ...] = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
    ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


def build_inception() -> nn.Module:
    """torchvision's Inception3 with 1008 classes and the seven blocks that pytorch-fid replaces; no download.

    Key names are those of `pt_inception-2015-12-05-6726825d.pth`.
    """
    try:
        from pytorch_fid import inception as blocks
        from torchvision.models import inception_v3
    except ImportError as error:
        raise DependencyError(f"FID needs {error.name}", fix="pip install -e '.[metrics]'") from error
    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = blocks.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = blocks.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = blocks.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = blocks.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = blocks.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = blocks.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = blocks.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = blocks.FIDInceptionE_1(1280)
    network.Mixed_7c = blocks.FIDInceptionE_2(2048)
    return network


def preprocess(frames: torch.Tensor, resize: Resize = "bilinear") -> torch.Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, 299, 299) float32 as the network expects it.

    `bilinear` and `antialias`: [0, 1], resize, 2 x - 1. `clean`: PIL bicubic on float channels, clipped to 0..255,
    (x - 128) / 128, which is what clean-fid's network does with its input.
    """
    if resize == "clean":
        small = np.stack([_clean_resize(frame) for frame in frames.cpu().numpy()])
        return (torch.from_numpy(small).to(frames.device).permute(0, 3, 1, 2) - 128) / 128
    x = frames.permute(0, 3, 1, 2).float().div_(255)  # in place: memory handed out anew costs more than the arithmetic
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=resize == "antialias")
    return x.mul_(2).sub_(1)


def _clean_resize(frame: np.ndarray) -> np.ndarray:
    channels = [
        np.asarray(Image.fromarray(frame[..., c].astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    return np.stack(channels, -1).clip(0, 255)


def tap_features(network: nn.Module, x: torch.Tensor, tap: int = 2048) -> torch.Tensor:
    """(B, 3, 299, 299) in [-1, 1] -> (B, tap): the mean over positions after the stage with `tap` channels."""
    for stage in _STAGES[: TAPS.index(tap) + 1]:
        for name in stage:
            x = getattr(network, name)(x)
    return x.mean((2, 3))


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights under the official key names, for tests and dry runs."""
    save_seeded(build_inception(), path, seed)


class Inception(NetworkBackbone):
    """Features of every frame: {"features": (T, tap) float32}.

    Args:
        tap: 64, 192, 768 or 2048 (the paper's pooled features).
        resize: see `preprocess`.
        batch: frames per forward pass.
    """

    weights = ("inception-fid",)
    licence = "Apache-2.0"
    default_batch = 8  # with 50 a processor takes a tenth longer for each: new memory at every layer
    norms_follow = channels_last = True
    traced = tuple(name for stage in _STAGES for name in stage)

    def __init__(self, tap: int = 2048, resize: Resize = "bilinear", batch: int | None = None) -> None:
        super().__init__(batch)
        self.tap = tap
        self.resize: Resize = resize
        self.id = backbone_id(tap, resize)

    def settings(self) -> dict[str, Any]:
        return {"tap": self.tap, "resize": self.resize, "side": SIDE}

    def build(self) -> nn.Module:
        return build_inception()

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `empty` for a clip without frames."""
        if clip.n_frames == 0:
            raise ClipError("empty")

        def run(network: nn.Module, frames: torch.Tensor) -> torch.Tensor:
            return tap_features(network, preprocess(frames, self.resize), self.tap)

        return {"features": self.forward(run, clip.frames)}


def backbone_id(tap: int, resize: Resize) -> str:
    """`inception-2015`, with `-antialias` or `-clean`, and `-64`, `-192` or `-768` for an earlier tap."""
    return "inception-2015" + ("" if resize == "bilinear" else f"-{resize}") + ("" if tap == 2048 else f"-{tap}")


_OFFERED: tuple[tuple[int, Resize], ...] = (
    (2048, "bilinear"),
    (2048, "antialias"),
    (2048, "clean"),
    (64, "bilinear"),
    (192, "bilinear"),
    (768, "bilinear"),
)
BACKBONES = {backbone_id(tap, resize): partial(Inception, tap, resize) for tap, resize in _OFFERED}
