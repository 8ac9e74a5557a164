"""Writes tests/metrics/golden_fvd.json with common_metrics_on_video_quality on seeded I3D weights.

Run from the repository root, with a checkout of github.com/JunyaoHu/common_metrics_on_video_quality:
FLOATBENCH_SRC_COMMON_METRICS=<checkout> python -m tests.golden.make_fvd
Its own statistic is float32; the distances here are its logits through NumPy's covariance and SciPy's sqrtm.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from scipy.linalg import sqrtm

from floatbench.metrics.i3d import I3DNetwork
from floatbench.metrics.network import seeded_state

COMMIT = "5f75173"
SEED = 0
CLIPS = {"generated": [11, 12], "reference": [21, 22]}
TARGET = Path(__file__).resolve().parents[1] / "metrics" / "golden_fvd.json"


def source(name: str) -> ModuleType:
    """A module of the checkout, by its path."""
    path = Path(os.environ["FLOATBENCH_SRC_COMMON_METRICS"]) / name
    spec = importlib.util.spec_from_file_location(f"reference_{path.parent.name}_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def clip(seed: int, frames: int = 16, height: int = 72, width: int = 96) -> np.ndarray:
    """(T, H, W, 3) uint8: a smooth random picture that drifts and changes its brightness."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 200, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    gains = 1 + 0.25 * np.sin(np.arange(frames) / 3 + seed)
    return np.stack([np.roll(picture, t, 1) * gain for t, gain in enumerate(gains)]).clip(0, 255).astype(np.uint8)


def network(epsilon: float) -> Any:
    """Their network with our seeded weights and the epsilon asked for."""
    theirs = source("fvd/videogpt/pytorch_i3d.py").InceptionI3d(400, in_channels=3).eval()
    theirs.load_state_dict(seeded_state(I3DNetwork(), SEED))
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eps = epsilon
    return theirs


def logits(model: Any, seeds: list[int]) -> np.ndarray:
    """(clips, 400) by their preprocessing and network."""
    preprocess = source("fvd/videogpt/fvd.py").preprocess
    videos = torch.stack([torch.from_numpy(clip(s)).permute(3, 0, 1, 2).float() / 255 for s in seeds])
    with torch.inference_mode():
        return model(preprocess(videos)).numpy()


def main() -> None:
    model = network(1e-5)
    x, y = (logits(model, seeds).astype(np.float64) for seeds in CLIPS.values())
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
    distance = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(
        np.cov(x, rowvar=False) + np.cov(y, rowvar=False) - 2 * root
    )
    with_tf_epsilon = logits(network(1e-3), CLIPS["generated"][:1])[0]
    document = {
        "made_by": f"tests/golden/make_fvd.py with common_metrics_on_video_quality {COMMIT}",
        "weights_seed": SEED,
        "clips": CLIPS,
        "logits_1e-5": [round(float(v), 7) for v in x[0, ::25]],
        "logits_1e-3": [round(float(v), 7) for v in with_tf_epsilon[::25]],
        "fvd_videogpt": float(distance),
    }
    TARGET.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
