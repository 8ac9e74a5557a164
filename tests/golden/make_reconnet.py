"""Prints the golden numbers of tests/metrics/test_reconnet.py from sicxu/Deep3DFaceRecon_pytorch at 9167c713.

Run from the repository root: FLOATBENCH_SRC_DEEP3D=<checkout> python tests/golden/make_reconnet.py
The template is the one its own loader makes of BFM/similarity_Lm3D_all.mat; the five points are given, so that the
numbers hold a wrong template as well as a wrong formula.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.io import loadmat

POINTS = np.array([[203.0, 305.5], [309.2, 301.1], [258.7, 247.3], [214.4, 189.9], [303.8, 186.2]])
"""(5, 2) with y up, of a 512 x 480 picture: eye, eye, nose tip, mouth corners."""
WHERE = [(20, 31), (112, 112), (180, 97), (205, 210)]


def picture() -> np.ndarray:
    """(480, 512, 3) uint8."""
    coarse = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (512, 480), interpolation=cv2.INTER_CUBIC)


def template(checkout: Path) -> np.ndarray:
    """(5, 3): the loader's choice and order of the 68 points of the mean face."""
    points = loadmat(checkout / "BFM" / "similarity_Lm3D_all.mat")["lm"]
    chosen = np.array([31, 37, 40, 43, 46, 49, 55]) - 1
    eyes = [points[chosen[[1, 2]]].mean(0), points[chosen[[3, 4]]].mean(0)]
    return np.stack([*eyes, points[chosen[0]], points[chosen[5]], points[chosen[6]]])


def preprocess(checkout: Path) -> types.ModuleType:
    """util/preprocess.py; what it imports for warping alone is replaced by empty modules."""
    np.VisibleDeprecationWarning = DeprecationWarning  # gone from NumPy 2
    for name in ("kornia", "kornia.geometry"):
        module = types.ModuleType(name)
        module.__path__ = []
        module.warp_affine = None
        sys.modules[name] = module
    spec = importlib.util.spec_from_file_location("deep3d_preprocess", checkout / "util" / "preprocess.py")
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def main() -> None:
    checkout = Path(os.environ["FLOATBENCH_SRC_DEEP3D"])
    peer = preprocess(checkout)
    shift, scale = peer.POS(POINTS.T, template(checkout).T)
    image, _, _ = peer.resize_n_crop_img(Image.fromarray(picture()), POINTS, shift.ravel(), 102.0 / scale)
    pixels = np.asarray(image)
    print("TEMPLATE =", template(checkout).round(8).tolist())
    print("SCALE, SHIFT =", round(float(scale), 6), shift.ravel().round(5).tolist())
    print("PIXELS =", [pixels[at].tolist() for at in WHERE], "MEAN =", round(float(pixels.mean()), 5))


if __name__ == "__main__":
    main()
