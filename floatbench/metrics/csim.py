"""CSIM: cosine similarity of ArcFace identity embeddings.

`csim-source` (the default) compares each generated frame with the source picture; `csim-gt` with the reference frame of
the same time. A near-static video scores near 1, so a high value alone is no praise. Always read it beside the
reference's own value (`reference_csim` in the details).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.metrics.arcface import BACKBONES as BACKBONES
from floatbench.metrics.base import ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.types import Features

Policy = Literal["excluded", "zero"]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Row-wise cosine of (T, d) and (T, d) or (d,), float64; 0 for a zero vector."""
    a, b = np.asarray(a, np.float64), np.broadcast_to(np.asarray(b, np.float64), a.shape)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.sum(a * b, axis=1) / np.where(norms > 0, norms, 1)


class CSIM(ClipMetric):
    """Mean cosine over frames, then over clips.

    Args:
        variant: `csim-source` or `csim-gt`, or one of their forms with another network.
        failures: what a generated frame without a face counts: `excluded` (left out and counted) or `zero`.
        info: replaces the variant's description, to use the metric with another backbone that returns
            {"embeddings": (T, d), "found": (T,), "faces": (T,)}.

    Extras of a clip: `frames` that entered, `frames_no_face` and `frames_two_faces` of the generated clip,
    `frames_reference_no_face` (csim-gt), `frames_trimmed`, `reference_csim` (the reference's own csim-source).
    """

    def __init__(
        self, variant: str = "csim-source", failures: Policy = "excluded", info: MetricInfo | None = None
    ) -> None:
        if failures not in ("excluded", "zero"):
            raise UsageError(f"{variant}: failures must be 'excluded' or 'zero', got {failures!r}")
        self.info = info or _info(variant)
        self._against_source = variant.startswith("csim-source")
        self._zero = failures == "zero"

    def clip_value(self, pair: Pair) -> ClipValue:
        backbone = self.info.backbones[0]
        generated, reference = pair.generated(backbone), pair.reference(backbone)
        source = self._source(pair) if self._against_source else None
        extra: dict[str, float] = {}
        if source is None:
            length = min(len(generated["found"]), len(reference["found"]))
            extra["frames_trimmed"] = float(max(len(generated["found"]), len(reference["found"])) - length)
            target = reference["embeddings"][:length]
            usable = reference["found"][:length].astype(bool)
            extra["frames_reference_no_face"] = float((~usable).sum())
        else:
            length, target = len(generated["found"]), source
            usable = np.ones(length, bool)
            own = cosines(reference["embeddings"], source)[reference["found"].astype(bool)]
            if len(own):
                extra["reference_csim"] = float(own.mean())
        found = generated["found"][:length].astype(bool)
        values = np.where(found, cosines(generated["embeddings"][:length], target), 0.0)
        enters = usable if self._zero else usable & found
        if not enters.any():
            raise ClipError("no_face", f"no face in any of {length} frames")
        extra |= {
            "frames": float(enters.sum()),
            "frames_no_face": float((~found).sum()),
            "frames_two_faces": float((generated["faces"][:length] > 1).sum()),
        }
        track = np.where(enters, values, np.nan).astype(np.float32)
        return ClipValue(float(values[enters].mean()), extra, {"csim": track}, int(enters.sum()), length)

    def _source(self, pair: Pair) -> np.ndarray:
        """(512,) embedding of the source picture."""
        features: Features = pair.source(self.info.backbones[0])
        if not features["found"][0]:
            raise ClipError("no_face", "no face in the source picture")
        return features["embeddings"][0]


_NETWORKS = {
    "": ("arcface", "ArcFace w600k_r50"),
    "-torch-r50": ("arcface-torch-r50", "ArcFace iresnet50 (torch)"),
    "-torch-r100": ("arcface-torch-r100", "ArcFace iresnet100 (torch)"),
}
_AGAINST = {"csim-source": "the source picture", "csim-gt": "the reference frame of the same time"}


def _info(variant: str) -> MetricInfo:
    base = "csim-gt" if variant.startswith("csim-gt") else "csim-source"
    backbone, network = _NETWORKS[variant.removeprefix(base)]
    return MetricInfo(
        id=variant,
        column="CSIM",
        title=f"Cosine of {network} embeddings with {_AGAINST[base]}",
        higher_is_better=True,
        level="clip",
        backbones=(backbone,),
        sides=("generated", "reference", "source") if base == "csim-source" else ("generated", "reference"),
        formula=f"mean over frames of cos(e(frame), e({_AGAINST[base]})), then mean over clips",
        source="insightface: SCRFD det_10g at 640, five-point alignment to 112, network output normalised",
        parity="insightface 2.1: its SCRFD and ArcFaceONNX classes themselves; alignment within 1e-9, torch form 1e-4",
    )


METRICS: dict[str, Callable[..., Metric]] = {
    f"{base}{network}": partial(CSIM, f"{base}{network}") for base in _AGAINST for network in _NETWORKS
}
