"""PSNR and SSIM at full size and in colour, frame by frame against the reference; no weights.

A picture of full size is not kept: both videos are looked at together, and what is kept is a number a frame, under the
content of both. Like their small grey forms these punish a head that merely moves differently, so that they say
something only of systems that are told the reference's motion: reconstruction, phase 1 of training, codecs.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics.base import ClipValue, MetricInfo, Pair, PairBackbone
from floatbench.metrics.basic import psnr, ssim
from floatbench.metrics.clip import ClipMetric
from floatbench.types import ClipMedia, Features

SMALLEST = 11
"""Pixels of the shorter side that SSIM's window needs."""


def same_size(frame: np.ndarray, like: np.ndarray) -> np.ndarray:
    """An (H, W, 3) uint8 picture in the size of another: by area where it shrinks, else cubic."""
    height, width = like.shape[:2]
    if frame.shape[:2] == (height, width):
        return frame
    shrinks = frame.shape[0] * frame.shape[1] > height * width
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def both_sides(generated: ClipMedia, reference: ClipMedia, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, H, W, 3) of both, cut to the shorter one, the generated pictures in the reference's size.

    Raises ClipError: `empty`, or `size_mismatch` where a reference's side is below `smallest` pixels.
    """
    length = min(generated.n_frames, reference.n_frames)
    if length == 0:
        raise ClipError("empty")
    real = reference.frames[:length]
    if min(real.shape[1:3]) < smallest:
        raise ClipError("size_mismatch", f"pictures of {real.shape[2]} x {real.shape[1]}, {smallest} pixels are needed")
    if generated.frames.shape[1:3] == real.shape[1:3]:
        return generated.frames[:length], real
    return np.stack([same_size(frame, real[0]) for frame in generated.frames[:length]]), real


class ColourPixels(PairBackbone):
    """Frame by frame: {"psnr": (T,), "ssim": (T,)} float64, and how many frames one side has more, `trimmed` (1,)."""

    id = "colour-pixels"
    on_device = False

    def settings(self) -> dict[str, Any]:
        return {"colours": "RGB", "size": "of the reference; area down, cubic up"}

    def load(self, device: str = "cpu") -> None:
        return None

    def extract_pair(self, generated: ClipMedia, reference: ClipMedia) -> Features:
        """Raises ClipError `empty`, `size_mismatch`."""
        made, real = both_sides(generated, reference, SMALLEST)
        both = zip(made, real, strict=True)
        found = [(psnr(a, b), np.mean([ssim(a[..., c], b[..., c]) for c in range(3)])) for a, b in both]
        first, second = np.array(found, np.float64).T
        return {"psnr": first.copy(), "ssim": second.copy(), "trimmed": frames_apart(generated, reference)}


def frames_apart(generated: ClipMedia, reference: ClipMedia) -> np.ndarray:
    """(1,) frames that only the longer clip has."""
    return np.array([abs(generated.n_frames - reference.n_frames)], np.int32)


class FramePairMetric(ClipMetric):
    """Mean over frames of a number that a pair backbone has for each.

    Args:
        info: the variant; its backbone sees both sides. key: of the (T,) numbers.
    """

    def __init__(self, info: MetricInfo, key: str) -> None:
        self.info = info
        self.key = key

    def clip_value(self, pair: Pair) -> ClipValue:
        found = pair.generated(self.info.backbones[0])
        track = found[self.key].astype(np.float64)
        extra = {"frames": float(len(track)), "frames_trimmed": float(found["trimmed"][0])}
        return ClipValue(float(track.mean()), extra, {"value": track.astype(np.float32)}, len(track), len(track))


def _info(name: str, column: str, title: str, formula: str, source: str) -> MetricInfo:
    return MetricInfo(
        id=name,
        column=column,
        title=title,
        higher_is_better=True,
        backbones=(ColourPixels.id,),
        sides=("generated", "reference"),
        formula=formula,
        source=source,
        parity="closed forms; scikit-image's values on colour pictures",
    )


METRICS = {
    "psnr-rgb": partial(
        FramePairMetric,
        _info("psnr-rgb", "PSNR (RGB)", "PSNR to the reference, full size, in colour",
              "mean over frames of 10 log10(255^2 / MSE) over pixels and channels; 100 where equal", "definition"),
        "psnr",
    ),
    "ssim-rgb": partial(
        FramePairMetric,
        _info("ssim-rgb", "SSIM (RGB)", "SSIM to the reference, full size, in colour",
              "mean over frames and channels of SSIM (Gaussian window 11, sigma 1.5)", "Wang et al. 2004"),
        "ssim",
    ),
}  # fmt: skip
BACKBONES = {ColourPixels.id: ColourPixels}
