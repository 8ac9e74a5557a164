"""FVD over 16 frames: the Frechet distance of I3D logits, one row per window of 16 frames.

    >>> import floatbench
    >>> score = floatbench.measure("fvd", generated, reference, identities=people)  # lists of (T, H, W, 3) uint8 arrays
    >>> score.value, score.details["n_generated"], score.details["n_curve"]

Which windows count is no standard, so each choice is a variant of its own. Clips of fewer than 16 frames fail with
`too_short`. With few windows the score is mostly bias: look at the n-curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from floatbench.metrics.base import MetricInfo, Side
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.i3d import BACKBONES as BACKBONES
from floatbench.metrics.i3d import WINDOW
from floatbench.types import Features

_NETWORK = (
    "the I3D port of common_metrics_on_video_quality with equal weights: logits and distance within 1e-4 relative"
)


@dataclass(frozen=True)
class _Variant:
    backbone: str
    title: str
    windows: str
    source: str
    parity: str = _NETWORK
    biased: bool = False


_VARIANTS: dict[str, _Variant] = {
    "fvd": _Variant(
        "i3d",
        "Frechet video distance, 16 frames",
        "consecutive windows from frame 0, no overlap, remainder dropped",
        "Unterthiner et al. 2018; the windows are floatbench's reading of '16 frames'",
        "as fvd-videogpt, with the epsilon of the TensorFlow graph (1e-3) set in the reference",
    ),
    "fvd-videogpt": _Variant(
        "i3d-videogpt",
        "FVD with the batch-norm epsilon 1e-5 of the VideoGPT port",
        "consecutive windows from frame 0, no overlap, remainder dropped",
        "VideoGPT; common_metrics_on_video_quality fvd/videogpt",
    ),
    "fvd-torchscript": _Variant(
        "i3d-torchscript",
        "FVD with the weights of StyleGAN-V's TorchScript file",
        "consecutive windows from frame 0, no overlap, remainder dropped",
        "common_metrics_on_video_quality fvd/styleganv",
        "the file's own code is not run; key names follow its ancestor and await a check on the real file",
    ),
    "fvd-first16": _Variant(
        "i3d",
        "FVD on the first 16 frames of each clip",
        "frames 0 to 15 of each clip",
        "own variant; N is the number of clips",
    ),
    "fvd-styleganv": _Variant(
        "i3d-styleganv",
        "FVD with StyleGAN-V's windows and covariance",
        "reference: one window at a drawn offset (seeded by content); generated: frames 0 to 15; covariance over N",
        "stylegan-v fvd2048_16f",
        "formulas only: the code's terms forbid running it here; the offsets there are not seeded",
        biased=True,
    ),
    "fvd-sliding1": _Variant(
        "i3d-sliding1",
        "FVD on a window at every frame",
        "a window at every start frame",
        "DisCo, frame folders (windows only)",
    ),
    "fvd-offset20": _Variant(
        "i3d-offset20",
        "FVD on frames 20 to 35",
        "frames 20 to 35 of each clip",
        "LatentSync eval_fvd.py (windows only)",
    ),
}


class FVD(FrechetMetric):
    """FVD of a named variant, or over any video backbone.

    Args:
        variant: a name of `floatbench.metrics.fvd.METRICS`; `fvd` is the default of every protocol.
        info: replaces the variant's description, to use the metric with another backbone that returns
            {"features": (K, d), "frames": (1,)}.
    """

    def __init__(self, variant: str = "fvd", info: MetricInfo | None = None) -> None:
        super().__init__(info or _info(variant), biased=_VARIANTS[variant].biased, failed="too_short")
        self.variant = variant

    def samples(self, features: Features, side: Side) -> np.ndarray:
        rows = features["features"]
        if self.variant == "fvd-first16":
            return rows[:1]
        if self.variant == "fvd-styleganv":
            return rows[:1] if side == "generated" else rows[1:]
        return rows

    def lost_frames(self, features: Features) -> Mapping[str, int]:
        """The remainder behind the last whole window."""
        if self.variant not in ("fvd", "fvd-videogpt", "fvd-torchscript"):
            return {}
        return {"remainder": int(features["frames"][0]) % WINDOW}


def _info(name: str) -> MetricInfo:
    variant = _VARIANTS[name]
    return MetricInfo(
        id=name,
        column="FVD",
        title=variant.title,
        higher_is_better=False,
        level="corpus",
        backbones=(variant.backbone,),
        sides=("generated", "reference"),
        formula="|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)) of 400 logits; "
        f"{variant.windows}; covariance over {'N' if variant.biased else 'N - 1'}",
        source=variant.source,
        parity=variant.parity,
    )


METRICS = {name: partial(FVD, name) for name in _VARIANTS}
