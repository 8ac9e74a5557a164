"""Distances of video transformers' features: `fvd-videomae` (content-debiased FVD) and the features of `jedi`.

FVD's I3D hardly sees motion: content-debiased FVD reads VideoMAE V2 fine-tuned on Something-Something V2 instead, JEDi
the tokens of V-JEPA pooled by its probe of the same data. One row per window of 16 frames, as for `fvd`.
Source: Ge et al. (2024), arXiv 2404.12391, cd-fvd at a1e037ab; Luo et al. (2025), arXiv 2410.05203, JEDi at c03d1785.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from floatbench.errors import ClipError
from floatbench.metrics.base import Backbone, MetricInfo
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.i3d import blocks
from floatbench.metrics.network import NetworkBackbone, seeded_state
from floatbench.metrics.video_transformer import FRAMES, SIDE, VJEPA, AttentiveProbe, ProbedVJEPA, VideoMAE
from floatbench.types import ClipMedia, Features

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WRAPPERS = {"vjepa-vith16": "module.backbone.", "vjepa-ssv2-probe": "module."}
"""What stands before every key of a file: the wrappers that its training ran in."""
UNDER = {"videomae-g-ssv2": "module", "vjepa-vith16": "target_encoder", "vjepa-ssv2-probe": "classifier"}
"""The entry of a file that holds the network's state."""


def squashed(frames: torch.Tensor) -> torch.Tensor:
    """(T, H, W, 3) uint8 RGB -> (3, T, 224, 224) float32 in [0, 1]: bilinear, no antialias, aspect not kept."""
    x = frames.permute(0, 3, 1, 2).float() / 255
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False).permute(1, 0, 2, 3)


def published_state(name: str, document: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The network's own entries of a published file: out of its entry, without its wrappers, in float32."""
    prefix = WRAPPERS.get(name, "")
    state = document.get(UNDER[name], document)
    return {key.removeprefix(prefix): tensor.float() for key, tensor in state.items()}


class VideoWindows(NetworkBackbone):
    """Features of consecutive 16-frame windows: {"features": (K, d) float32, "starts": (K,), "frames": (1,)}."""

    default_batch = 1

    def settings(self) -> dict[str, Any]:
        return {"windows": blocks.__name__, "window": FRAMES, "side": SIDE}

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `too_short` when not even one window fits."""
        starts = blocks(clip)
        if not starts:
            raise ClipError("too_short", f"{self.id} needs {FRAMES} frames, got {clip.n_frames}")
        return {
            "features": self.forward(partial(self._run, clip.frames), np.array(starts)),
            "starts": np.array(starts, np.int32),
            "frames": np.array([clip.n_frames], np.int32),
        }

    def _run(self, frames: np.ndarray, network: nn.Module, starts: torch.Tensor) -> torch.Tensor:
        windows = [
            squashed(torch.from_numpy(np.ascontiguousarray(frames[int(s) : int(s) + FRAMES])).to(starts.device))
            for s in starts
        ]
        return network(self.normalised(torch.stack(windows)))

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, H, W) in [0, 1] as the network expects it."""
        return x


class VideoMAEFeatures(VideoWindows):
    """(K, 1408) of VideoMAE V2 ViT-g, in [0, 1] without further normalisation, as cd-fvd feeds it."""

    id = "videomae-g-ssv2"
    weights = ("videomae-g-ssv2",)
    licence = "MIT (VideoMAE V2 code); weights for research by their authors' form"

    def build(self) -> nn.Module:
        return VideoMAE()

    def state(self) -> Mapping[str, torch.Tensor]:
        return published_state(self.weights[0], super().state())


class VJEPAFeatures(VideoWindows):
    """(K, 1280) of V-JEPA ViT-H/16, pooled by its Something-Something probe, ImageNet-normalised."""

    id = "vjepa-h-ssv2"
    weights = ("vjepa-vith16", "vjepa-ssv2-probe")
    licence = "CC BY-NC 4.0 (V-JEPA)"

    def build(self) -> nn.Module:
        return ProbedVJEPA()

    def state(self) -> Mapping[str, torch.Tensor]:
        from floatbench import weights

        encoder, probe = (published_state(name, weights.load_state_dict(name)) for name in self.weights)
        return {f"encoder.{key}": x for key, x in encoder.items()} | {f"probe.{key}": x for key, x in probe.items()}

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        mean, deviation = (torch.tensor(values, device=x.device).view(3, 1, 1, 1) for values in IMAGENET)
        return (x - mean) / deviation


class VideoFrechet(FrechetMetric):
    """Rows of windows of 16 frames; what is left behind the last whole one is counted."""

    def lost_frames(self, features: Features) -> Mapping[str, int]:
        """The remainder behind the last whole window."""
        return {"remainder": int(features["frames"][0]) % FRAMES}


_FVD = MetricInfo(
    id="fvd-videomae",
    column="FVD (VideoMAE)",
    title="Content-debiased FVD: VideoMAE V2 features of 16 frames",
    higher_is_better=False,
    level="corpus",
    backbones=(VideoMAEFeatures.id,),
    sides=("generated", "reference"),
    formula="|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of 1408 numbers; consecutive windows, remainder dropped; "
    "covariance over N",
    source="Ge et al. 2024 (cd-fvd); frames squashed to 224 x 224, [0, 1], no further normalisation",
    parity="cd-fvd's network on equal seeded weights and input: features within 1e-5 of their size",
)


def fabricate_videomae(path: Path, seed: int) -> None:
    """Seeded random weights of the full size (2 GB) in the published form."""
    state = {key: tensor.half() for key, tensor in seeded_state(VideoMAE(), seed).items()}
    torch.save({UNDER["videomae-g-ssv2"]: state}, path)


def fabricate_vjepa(path: Path, seed: int) -> None:
    """Seeded random weights of the full size (2.5 GB) in the published form."""
    _save_wrapped("vjepa-vith16", VJEPA(), path, seed)


def fabricate_probe(path: Path, seed: int) -> None:
    """Seeded random weights of the probe (80 MB) in the published form."""
    _save_wrapped("vjepa-ssv2-probe", AttentiveProbe(), path, seed)


def _save_wrapped(name: str, network: nn.Module, path: Path, seed: int) -> None:
    state = {WRAPPERS[name] + key: tensor for key, tensor in seeded_state(network, seed).items()}
    torch.save({UNDER[name]: state}, path)


METRICS: dict[str, Callable[[], FrechetMetric]] = {
    _FVD.id: partial(VideoFrechet, _FVD, biased=True, failed="too_short"),
}
BACKBONES: dict[str, Callable[[], Backbone]] = {
    VideoMAEFeatures.id: VideoMAEFeatures,
    VJEPAFeatures.id: VJEPAFeatures,
}
