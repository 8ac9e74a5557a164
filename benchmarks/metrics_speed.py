"""How fast the metrics are: each backbone, all from one decode against one tool after another, the Frechet core.

    python benchmarks/metrics_speed.py [--frames 96] [--size 256] [--device cpu] [--video CLIP] [--json FILE] [--quick]

The reference way is what the reference tools do: per tool, decode the video again, dump its frames as PNG, read them
back, run the tool's network as it batches (FID 50 pictures, FVD one clip), SciPy's matrix root at the end. Weights are
seeded random ones: they cost what real ones cost. Both ways run in this process; the ratio is what counts. On the CPU
processor seconds are counted (of all threads), so that other work on the machine changes little; on CUDA wall seconds.
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

from floatbench.media import read_clip, read_video, write_lossless
from floatbench.types import ClipMedia
from metrics import registry
from metrics.base import Backbone
from metrics.frechet import frechet_distance
from metrics.i3d import WINDOW, preprocess
from metrics.network import NetworkBackbone, exact_float32, seeded_state


def seconds(function: Callable[[], Any]) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    start = clock()
    function()
    return clock() - start


def seeded(name: str, device: str) -> Backbone:
    """A backbone with seeded random weights, without the registry of files."""
    backbone = registry.backbone(name)
    if not isinstance(backbone, NetworkBackbone):
        backbone.load(device)
        return backbone
    network = backbone.build().eval()
    network.load_state_dict(seeded_state(network, 0))
    backbone.network, backbone.device = network.to(device), device
    return backbone


def moving_picture(frames: int, size: int) -> np.ndarray:
    """(T, size, size, 3) uint8: a smooth picture that drifts, so that PNG and FFV1 have something to compress."""
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (size // 16 + 1, size // 16 + 1, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))
    return np.stack([np.roll(picture, t, 1) for t in range(frames)])


def frames_per_second(clip: ClipMedia, names: list[str], device: str) -> dict[str, dict[str, float]]:
    """Frames a second of each backbone's `extract`, after one warm-up on the first 32 frames."""
    found: dict[str, dict[str, float]] = {}
    for name in names:
        backbone = seeded(name, device)
        backbone.extract(ClipMedia(clip.frames[:32]))
        rate = clip.n_frames / seconds(lambda b=backbone: b.extract(clip))
        found[name] = {"frames_per_second": rate, "batch": getattr(backbone, "batch", 1)}
    return found


def one_decode(videos: list[Path], backbones: list[Backbone]) -> None:
    """Our way: each video is decoded once and feeds every backbone; then the distances."""
    features: dict[str, list[np.ndarray]] = {b.id: [] for b in backbones}
    for video in videos:
        clip = read_clip(video)
        for backbone in backbones:
            features[backbone.id].append(next(iter(backbone.extract(clip).values())))
    for name, (x, y) in features.items():
        if name != "pixels":
            frechet_distance(x, y)


def dumped(video: Path, folder: Path) -> list[Path]:
    """Decodes a video and writes every frame as PNG, as the tools' instructions say."""
    folder.mkdir(parents=True)
    frames, _ = read_video(video)
    paths = [folder / f"{i:05d}.png" for i in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    return paths


def read_back(paths: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def scipy_distance(x: np.ndarray, y: np.ndarray) -> None:
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    np.trace(a + b - 2 * np.asarray(sqrtm(a @ b)).real)


def tool_after_tool(videos: list[Path], backbones: list[Backbone], folder: Path) -> None:
    """The reference way: per tool its own decode, its own PNG dump, its own read, its own statistic."""
    for backbone in backbones:
        sides = []
        for video in videos:
            frames = read_back(dumped(video, folder / backbone.id / video.stem))
            if backbone.id == "i3d":
                assert isinstance(backbone, NetworkBackbone) and backbone.network is not None
                windows = [frames[s : s + WINDOW] for s in range(0, len(frames) - WINDOW + 1, WINDOW)]
                with torch.inference_mode(), exact_float32():
                    inputs = [preprocess(torch.from_numpy(w))[None].to(backbone.device) for w in windows]
                    sides.append(np.concatenate([backbone.network(x).cpu().numpy() for x in inputs]))
            else:
                sides.append(next(iter(backbone.extract(ClipMedia(frames)).values())))
        if backbone.id != "pixels":
            scipy_distance(*sides)


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
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--backbones", default="pixels,inception-2015,i3d")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="no Frechet distance at n = 5000")
    options = parser.parse_args()
    names = options.backbones.split(",")
    clip = read_clip(options.video) if options.video else ClipMedia(moving_picture(options.frames, options.size))
    rates = frames_per_second(clip, names, options.device)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        videos = [folder / "generated.mkv", folder / "reference.mkv"]
        for video, frames in zip(videos, (clip.frames, clip.frames[:, ::-1]), strict=True):
            write_lossless(video, frames)
        backbones = [seeded(name, options.device) for name in names]
        reference_s = seconds(lambda: tool_after_tool(videos, backbones, folder))
        ours_s = seconds(lambda: one_decode(videos, backbones))
    document = {
        "device": options.device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "frames": clip.n_frames,
        "size": list(clip.frames.shape[1:3]),
        "backbones": rates,
        "one_decode": {"ours_s": ours_s, "reference_s": reference_s, "ratio": reference_s / ours_s},
        "frechet_2048": frechet_times(options.quick),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    text = json.dumps(document, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
