"""Prints the golden numbers of tests/metrics/test_video_features.py from the public code on small seeded networks.

Run from the repository root with checkouts of github.com/songweige/content-debiased-fvd at a1e037ab,
github.com/facebookresearch/jepa at ec84227d and github.com/sayakpaul/cmmd-pytorch at f7673a9f:
FLOATBENCH_SRC_CDFVD=... FLOATBENCH_SRC_JEPA=... FLOATBENCH_SRC_CMMD=... python -m tests.golden.make_video_features
(cd-fvd's package imports requests, torchvision and tqdm.)
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from floatbench.metrics import clip_vision
from floatbench.metrics.network import seeded_state
from floatbench.metrics.video_transformer import VJEPA, AttentiveProbe, ProbedVJEPA, VideoMAE

WIDTH, DEPTH, HEADS = 48, 3, 4
CLIP = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "patch_size": 28, "projection_dim": 24}  # fmt: skip
NORM = partial(nn.LayerNorm, eps=1e-6)


def clip(seed: int, frames: int = 16, height: int = 72, width: int = 96) -> np.ndarray:
    """(T, H, W, 3) uint8: a smooth random picture that drifts."""
    picture = np.random.default_rng(seed).integers(0, 200, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(picture, t, 1) for t in range(frames)]).astype(np.uint8)


def videomae() -> nn.Module:
    """Ours, small."""
    return VideoMAE(WIDTH, DEPTH, HEADS, int(WIDTH * 48 / 11), 14, 5)


def vjepa() -> ProbedVJEPA:
    """Ours, small."""
    return ProbedVJEPA(VJEPA(WIDTH, DEPTH, HEADS, 4 * WIDTH), AttentiveProbe(WIDTH, HEADS, 4 * WIDTH, 7))


def source(name: str, path: Path) -> ModuleType:
    """A module of a checkout, by its path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def their_videomae(frames: np.ndarray) -> torch.Tensor:
    """cd-fvd's preprocessing and network."""
    sys.path.insert(0, os.environ["FLOATBENCH_SRC_CDFVD"])
    from cdfvd.third_party.VideoMAEv2 import utils, videomaev2_finetune  # pyright: ignore[reportMissingImports]

    network = videomaev2_finetune.VisionTransformer(
        img_size=224, patch_size=14, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=48 / 11, qkv_bias=True,
        norm_layer=NORM, num_classes=5, all_frames=16, tubelet_size=2, use_mean_pooling=True,
    ).eval()  # fmt: skip
    network.load_state_dict(seeded_state(videomae(), 0))
    return network.forward_features(utils.preprocess_videomae(frames[None]))[0]


def their_vjepa(frames: np.ndarray) -> torch.Tensor:
    """V-JEPA's classes as JEDi calls them, on cd-fvd's squashed frames."""
    from cdfvd.third_party.VideoMAEv2 import utils  # pyright: ignore[reportMissingImports]

    sys.path.insert(0, os.environ["FLOATBENCH_SRC_JEPA"])
    from src.datasets.utils.video import transforms  # pyright: ignore[reportMissingImports]
    from src.models import attentive_pooler, vision_transformer  # pyright: ignore[reportMissingImports]

    encoder = vision_transformer.VisionTransformer(
        img_size=224, patch_size=16, num_frames=16, tubelet_size=2, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS,
        uniform_power=True, norm_layer=NORM,
    ).eval()  # fmt: skip
    probe = attentive_pooler.AttentiveClassifier(embed_dim=WIDTH, num_heads=HEADS, depth=1, num_classes=7).eval()
    state = seeded_state(vjepa(), 1)
    encoder.load_state_dict({k.removeprefix("encoder."): x for k, x in state.items() if k.startswith("encoder.")})
    probe.load_state_dict({k.removeprefix("probe."): x for k, x in state.items() if k.startswith("probe.")})
    video = utils.preprocess_videomae(frames[None])[0]
    normalised = transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))(video)
    return probe.pooler(encoder(normalised[None]))[0, 0]


def their_clip(frames: np.ndarray) -> torch.Tensor:
    """cmmd-pytorch's reading of a file, resize and normalisation with transformers' processor, our small network."""
    from PIL import Image
    from transformers import CLIPImageProcessor

    folder = Path(os.environ["FLOATBENCH_SRC_CMMD"])
    resize = source("cmmd_embedding", folder / "embedding.py")._resize_bicubic
    files = source("cmmd_io_util", folder / "io_util.py").CMMDDataset
    crop = files.__new__(files)._center_crop_and_resize
    read = np.stack([np.asarray(crop(Image.fromarray(frame), 336)).astype(np.float32) for frame in frames[:2]])
    processor = CLIPImageProcessor(do_center_crop=False, do_resize=False, do_rescale=False)
    pixels = processor(images=resize(read / 255, 336), return_tensors="pt")
    network = clip_vision.build(**CLIP).eval()
    network.load_state_dict(seeded_state(network, 2))
    embeddings = network(**pixels).image_embeds
    return embeddings[0] / torch.linalg.norm(embeddings[0])


def main() -> None:
    """Prints every fourth number of each vector, and cmmd-pytorch's distance of seeded rows."""
    frames = clip(11)
    with torch.inference_mode():
        for name, make in (("VIDEOMAE", their_videomae), ("VJEPA", their_vjepa), ("CLIP", their_clip)):
            print(name, "=", [round(float(value), 6) for value in make(frames)[::4]])
    mmd = source("cmmd_distance", Path(os.environ["FLOATBENCH_SRC_CMMD"]) / "distance.py").mmd
    x, y = (np.random.default_rng(seed).normal(size=(30, 8)) for seed in (0, 1))
    x, y = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, y + 0.5))
    print("CMMD =", float(mmd(x, y)))


if __name__ == "__main__":
    main()
