"""Writes tests/metrics/golden_fid.json with pytorch-fid 0.3.0 on seeded weights (needs SciPy < 1.18).

Run from the repository root: python -m tests.golden.make_fid
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from pytorch_fid import fid_score, inception

from floatbench.metrics.inception import build_inception
from floatbench.metrics.network import seeded_state

SEED = 0
CLIPS = [[1, 0.9], [2, 1.0]]  # seed of the pictures, brightness
TARGET = Path(__file__).resolve().parents[1] / "metrics" / "golden_fid.json"


def pictures(seed: int, dark: float) -> np.ndarray:
    """(24, 40, 40, 3) uint8, as `clips(4, 6)` of tests/metrics/test_fid.py, joined."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 6, 10, 10, 3)).repeat(4, 2).repeat(4, 3)
    return (small * dark).astype(np.uint8).reshape(24, 40, 40, 3)


def main() -> None:
    state = seeded_state(build_inception(), SEED)
    inception.load_state_dict_from_url = lambda *_, **__: state
    model = inception.InceptionV3([0]).eval()
    moments = []
    for seed, dark in CLIPS:
        x = torch.from_numpy(pictures(seed, dark)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            features = model(x)[0].mean((2, 3)).double().numpy()
        moments += [features.mean(0), np.cov(features, rowvar=False)]
    document = {
        "made_by": f"tests/golden/make_fid.py with pytorch-fid {version('pytorch-fid')}",
        "weights_seed": SEED,
        "clips": CLIPS,
        "fid_64": float(fid_score.calculate_frechet_distance(*moments)),
    }
    TARGET.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
