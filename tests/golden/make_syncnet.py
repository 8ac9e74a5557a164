"""Prints the golden numbers of tests/metrics/test_lse.py from joonson/syncnet_python at 6efbb1c3.

Run from the repository root: FLOATBENCH_SRC_SYNCNET=<checkout> python tests/golden/make_syncnet.py
Inputs and weights are seeded (NumPy), so nothing but the checkout is needed; the towers and `calc_pdist` are the
reference's, fed window by window as its `evaluate` does.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import python_speech_features
import torch

from floatbench.metrics.syncnet import random_state


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """(12, 224, 224, 3) uint8 crops and 12 frames of int16 sound."""
    rng = np.random.default_rng(11)
    coarse = rng.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    crops = np.stack([cv2.resize(crop, (224, 224), interpolation=cv2.INTER_NEAREST) for crop in coarse])
    return crops, rng.integers(-8000, 8000, 640 * 12).astype(np.int16)


def module(name: str):
    """One file of the checkout as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(os.environ["FLOATBENCH_SRC_SYNCNET"]) / f"{name}.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    network = module("SyncNetModel").S().eval()
    network.load_state_dict(random_state(7))
    crops, audio = inputs()
    mfcc = torch.from_numpy(python_speech_features.mfcc(audio, 16000).T.copy())[None, None].float()
    video = torch.from_numpy(crops[..., ::-1].copy()).permute(3, 0, 1, 2)[None].float()
    with torch.inference_mode():
        lips = torch.cat([network.forward_lip(video[:, :, i : i + 5]) for i in range(7)])
        sound = torch.cat([network.forward_aud(mfcc[..., 4 * i : 4 * i + 20]) for i in range(7)])
    table = torch.stack(module("SyncNetInstance").calc_pdist(lips, sound, vshift=15))
    print("DISTANCES =", [round(float(x), 4) for x in table.mean(0)[[11, 15, 18]]])
    print("LIPS =", [round(float(x), 5) for x in lips[3, :4]])
    print("SOUND =", [round(float(x), 5) for x in sound[3, :4]])


if __name__ == "__main__":
    main()
