"""How fast the parts of the metrics are: frames a second of each backbone, and the Frechet core beside SciPy's root.

    python benchmarks/metrics_speed.py [--frames 96] [--size 512] [--device cpu] [--json FILE] [--paired] [--quick]

The whole set against the reference tools: benchmarks/metrics_tools.py. Weights are seeded random ones: they cost what
real ones cost, but for the SCRFD detector, whose stand-in costs nothing, so that `arcface` and `reconnet` are counted
without detection. On the CPU processor seconds are counted (of all threads), so that other work on the machine changes
little; on CUDA wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm

from floatbench import weights
from floatbench.metrics import registry
from floatbench.metrics.arcface import ArcFaceOnnx
from floatbench.metrics.base import Backbone
from floatbench.metrics.frechet import frechet_distance
from floatbench.metrics.network import NetworkBackbone
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

BACKBONES = ("pixels", "inception-2015", "i3d", "arcface", "reconnet", "syncnet-lip", "syncnet-lip-ffmpeg")
BACKBONES += ("syncnet-lip-wholeframe", "syncnet-sound")


def seconds(function: Callable[[], Any]) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    function()
    return clock() - start


def moving_picture(frames: int, size: int) -> np.ndarray:
    """(T, size, size, 3) uint8: a smooth picture that drifts, so that PNG and FFV1 have something to compress."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (size // 16 + 1, size // 16 + 1, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))
    return np.stack([np.roll(picture, t, 1) for t in range(frames)])


def noise(frames: int) -> np.ndarray:
    """(640 T,) int16 sound."""
    return np.random.default_rng(0).integers(-8000, 8000, frames * SAMPLES_PER_FRAME).astype(np.int16)


def frames_per_second(
    clip: ClipMedia, names: list[str], device: str, paired: bool = False
) -> dict[str, dict[str, float]]:
    """Frames a second of each backbone's `extract`, after one warm-up on the first 32 frames.

    Args:
        paired: beside it, with the reference's layers: batch norms by themselves, channels first.
    """
    found: dict[str, dict[str, float]] = {}
    for name in names:
        made: dict[str, Backbone] = {}
        for layers in ("frames_per_second", "with_the_references_layers") if paired else ("frames_per_second",):
            backbone = made[layers] = registry.backbone(name)
            for weight in backbone.weights:
                weights.fabricate(weight, 0)
            load(backbone, device, quick=layers == "frames_per_second")
            backbone.extract(ClipMedia(clip.frames[:32], noise(32)))
        rates = {key: clip.n_frames / seconds(lambda b=backbone: b.extract(clip)) for key, backbone in made.items()}
        found[name] = {**rates, "batch": getattr(backbone, "batch", 1)}
    return found


def load(backbone: Backbone, device: str, quick: bool = True) -> None:
    """Loads a backbone as a run does, or with its layers as the reference has them."""
    for network in (backbone, getattr(backbone, "detector", None)):
        if isinstance(network, (NetworkBackbone, ArcFaceOnnx)):
            network.quick = quick
    backbone.load(device)


def scipy_distance(x: np.ndarray, y: np.ndarray) -> None:
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    np.trace(a + b - 2 * np.real(sqrtm(a @ b)))


def frechet_times(quick: bool) -> list[dict[str, float]]:
    """Seconds of our distance and of SciPy's root at d = 2048."""
    rng = np.random.default_rng(0)
    rows = []
    for n in (300,) if quick else (300, 5000):
        x, y = rng.standard_normal((n, 2048)), rng.standard_normal((n, 2048)) * 1.1
        ours = seconds(lambda x=x, y=y: frechet_distance(x, y))
        theirs = seconds(lambda x=x, y=y: scipy_distance(x, y))
        rows.append({"n": n, "ours_s": ours, "sqrtm_s": theirs, "ratio": theirs / ours})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--paired", action="store_true", help="beside each network the reference's layers")
    parser.add_argument("--quick", action="store_true", help="no Frechet distance at n = 5000")
    options = parser.parse_args()
    clip = ClipMedia(moving_picture(options.frames, options.size), noise(options.frames))
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(FLOATBENCH_HOME=home, FLOATBENCH_FABRICATED="1")
        rates = frames_per_second(clip, options.backbones.split(","), options.device, options.paired)
    document = {
        "device": options.device,
        "threads": torch.get_num_threads(),
        "frames": clip.n_frames,
        "size": options.size,
        "backbones": rates,
        "frechet_2048": frechet_times(options.quick),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
