"""CLIP's picture embeddings, which `cmmd` compares: what a picture shows, by a network that read 400 M captions.

Source: Radford et al. (2021); Jayasumana et al. (2024), arXiv 2401.09603.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from floatbench.errors import ClipError
from floatbench.metrics.base import Backbone
from floatbench.metrics.network import NetworkBackbone, seeded_state
from floatbench.types import ClipMedia, Features

SIDE = 336
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def build(**changed: int) -> nn.Module:
    """transformers' `CLIPVisionModelWithProjection` of ViT-L/14 at 336 px; key names are those of the published file.

    Args:
        changed: fields of `CLIPVisionConfig` that differ, for a small network.
    """
    from transformers import CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(build_config(**changed))


def build_config(**changed: int) -> Any:
    """transformers' `CLIPVisionConfig` of ViT-L/14 at 336 px, with some fields changed."""
    from transformers import CLIPVisionConfig

    sizes: dict[str, Any] = {
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "patch_size": 14, "projection_dim": 768, "image_size": SIDE, **changed,
    }  # fmt: skip
    return CLIPVisionConfig(**sizes)


def preprocess(frames: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, 336, 336): the middle square, Pillow's bicubic (it filters), in 8 bits."""
    small = np.stack([_middle_square(frame) for frame in frames.cpu().numpy()])
    x = torch.from_numpy(small).to(frames.device).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(values, device=x.device).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (x - mean) / deviation


def _middle_square(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(frame[top : top + side, left : left + side])
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def vision_state(document: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The picture half of the published file, which holds the text half, too; counted positions are no weights."""
    kept = ("vision_model.", "visual_projection.")
    return {key: x.float() for key, x in document.items() if key.startswith(kept) and not key.endswith("position_ids")}


class CLIPVision(NetworkBackbone):
    """Embeddings of every frame, of length 1: {"features": (T, 768) float32}."""

    id = "clip-l14-336"
    weights = ("clip-vit-l14-336",)
    licence = "MIT (CLIP)"
    default_batch = 8

    def settings(self) -> dict[str, Any]:
        return {"side": SIDE, "resize": "middle square, Pillow bicubic"}

    def build(self) -> nn.Module:
        return build()

    def state(self) -> Mapping[str, torch.Tensor]:
        return vision_state(super().state())

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `empty` for a clip without frames."""
        if clip.n_frames == 0:
            raise ClipError("empty")

        def run(network: nn.Module, frames: torch.Tensor) -> torch.Tensor:
            return F.normalize(network(preprocess(frames)).image_embeds, dim=-1)

        return {"features": self.forward(run, clip.frames)}


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights of both halves (1.7 GB) under the published key names."""
    from transformers import CLIPConfig, CLIPModel

    words = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
    config = CLIPConfig(text_config=words, vision_config=build_config().to_dict(), projection_dim=768)
    state = seeded_state(CLIPModel(config), seed)
    for half, length in (("text_model", 77), ("vision_model", 577)):  # saved by the transformers of that time
        state[f"{half}.embeddings.position_ids"] = torch.arange(length)[None]
    torch.save(state, path)


BACKBONES: dict[str, Callable[[], Backbone]] = {CLIPVision.id: CLIPVision}
