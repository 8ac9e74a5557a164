"""E-FID and P-FID: Frechet distances of expression and of head pose, over the frames of all clips.

The official variants read ReconNet's coefficients (64 expression; 3 angles in radians and 3 translation numbers); the
labelled variants `efid-mp52` and `pfid-mp6` read MediaPipe and are on another scale. No Inception network is involved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from floatbench.metrics.base import Backbone, Metric, MetricInfo, Pair, Score, Side
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.metrics.reconnet import ANGLES, EXPRESSION, TRANSLATION
from floatbench.metrics.reconnet import BACKBONES as RECONNET_BACKBONES
from floatbench.types import Features

Columns = Callable[[Features], np.ndarray]
"""Picks the (T, d) rows out of a backbone's features."""


class FaceFrechet(FrechetMetric):
    """Frechet distance of per-frame face numbers; frames without a face drop out of both sides and are counted.

    Args:
        info: the variant; its first backbone has a mask `found` (T,) beside its numbers.
        columns: picks the (T, d) numbers.
        parts: name -> columns of `columns`' result; each part's own distance is recorded in `Score.details`.
    """

    def __init__(self, info: MetricInfo, columns: Columns, parts: dict[str, slice] | None = None) -> None:
        super().__init__(info, failed="no_face")
        self._columns = columns
        self._parts = parts or {}

    def samples(self, features: Features, side: Side) -> np.ndarray:
        """(T, d) float64, NaN in the rows of frames without a face."""
        rows = np.asarray(self._columns(features), np.float64)
        return np.where(features["found"].astype(bool)[:, None], rows, np.nan)

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        score = super().reduce(pairs)
        for name, part in self._parts.items():
            only = FaceFrechet(self.info, partial(_part, self._columns, part)).reduce(pairs)
            score.details[name] = only.value  # type: ignore[index]
        return score


def _part(columns: Columns, part: slice, features: Features) -> np.ndarray:
    return columns(features)[:, part]


def blendshapes(features: Features) -> np.ndarray:
    """(T, 52) MediaPipe blendshape scores in [0, 1]."""
    return features["blendshapes"]


def head_pose(features: Features) -> np.ndarray:
    """(T, 6) MediaPipe head rotation (radians about x, y, z) and translation (centimetres)."""
    return np.concatenate([features["rotation"], features["translation"]], axis=1)


def expression(features: Features) -> np.ndarray:
    """(T, 64) ReconNet expression coefficients."""
    return features["coefficients"][:, EXPRESSION]


def recon_pose(features: Features) -> np.ndarray:
    """(T, 6) ReconNet angles in radians and translation."""
    return np.concatenate([features["coefficients"][:, ANGLES], features["coefficients"][:, TRANSLATION]], axis=1)


POSE_PARTS = {"rotation_only": slice(0, 3), "translation_only": slice(3, 6)}
_FRECHET = "|mu1 - mu2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), unbiased, float64, frames of all clips pooled"


def _info(variant: str, column: str, title: str, backbone: str, what: str, source: str, parity: str) -> MetricInfo:
    return MetricInfo(
        id=variant,
        column=column,
        title=title,
        higher_is_better=False,
        level="corpus",
        backbones=(backbone,),
        sides=("generated", "reference"),
        formula=f"{_FRECHET}; {what}",
        source=source,
        parity=parity,
    )


_MEDIAPIPE_PARITY = "blendshapes and angles of the real sample clips as measured independently with MediaPipe 1.2.2"
_EFID_MP = _info(
    "efid-mp52",
    "E-FID (MediaPipe)",
    "Frechet distance of MediaPipe's 52 blendshapes",
    FaceLandmarker.id,
    "52 blendshape scores",
    "floatbench; after EMO (arXiv 2402.17485) with MediaPipe in place of Deep3DFaceRecon",
    _MEDIAPIPE_PARITY,
)
_PFID_MP = _info(
    "pfid-mp6",
    "P-FID (MediaPipe)",
    "Frechet distance of MediaPipe's head pose",
    FaceLandmarker.id,
    "3 angles in radians and translation in centimetres; rotation alone in the details",
    "floatbench; after FLOAT (arXiv 2412.01064) with MediaPipe in place of Deep3DFaceRecon",
    _MEDIAPIPE_PARITY,
)

_RECON_PARITY = (
    "Deep3DFaceRecon_pytorch at 9167c713, equal weights: alignment pixel for pixel, coefficients within 1e-5"
)
_EMO = "EMO (arXiv 2402.17485): Deng et al.'s expression coefficients"
_FLOAT = "FLOAT (arXiv 2412.01064), which leaves the numbers open: Deng et al.'s angles and translation"


def _recon(variant: str, column: str, backbone: str, how: str) -> MetricInfo:
    what, source = ("64 expression coefficients", _EMO)
    if column == "P-FID":
        what, source = ("3 angles in radians and 3 translation numbers; each alone in the details", _FLOAT)
    return _info(
        variant, column, f"Frechet distance of ReconNet's {what}", backbone, f"{what}, {how}", source, _RECON_PARITY
    )


_ALIGNED = "five-point alignment, frames without a face left out on both sides"
_HOLD = "five-point alignment, frames without a face use the last face's points"
_FIXED = "whole frame at 224, no alignment"


METRICS: dict[str, Callable[..., Metric]] = {
    "efid": partial(FaceFrechet, _recon("efid", "E-FID", "reconnet", _ALIGNED), expression),
    "efid-hold": partial(FaceFrechet, _recon("efid-hold", "E-FID", "reconnet-hold", _HOLD), expression),
    "pfid-fixedcrop": partial(
        FaceFrechet, _recon("pfid-fixedcrop", "P-FID", "reconnet-fixedcrop", _FIXED), recon_pose, POSE_PARTS
    ),
    "pfid-aligned": partial(FaceFrechet, _recon("pfid-aligned", "P-FID", "reconnet", _ALIGNED), recon_pose, POSE_PARTS),
    "pfid-aligned-hold": partial(
        FaceFrechet, _recon("pfid-aligned-hold", "P-FID", "reconnet-hold", _HOLD), recon_pose, POSE_PARTS
    ),
    "efid-mp52": partial(FaceFrechet, _EFID_MP, blendshapes),
    "pfid-mp6": partial(FaceFrechet, _PFID_MP, head_pose, POSE_PARTS),
}
BACKBONES: dict[str, Callable[[], Backbone]] = {FaceLandmarker.id: FaceLandmarker, **RECONNET_BACKBONES}
