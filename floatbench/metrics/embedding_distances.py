"""`cmmd` and `jedi`: squared kernel distances of embeddings, each with its authors' kernel, estimate and factor.

    >>> import floatbench
    >>> score = floatbench.measure("cmmd", generated, reference, identities=people)

Both estimates take all pairs of rows, a row with itself too, so that they are never negative and shrink with n; `kid`
has the unbiased one. Frames of one clip are alike, so that people are left out for the interval, as everywhere.
Source: Jayasumana et al. (2024), arXiv 2401.09603; Luo et al. (2025), arXiv 2410.05203.
"""

from __future__ import annotations

from collections.abc import Callable

from floatbench.metrics.base import Metric, MetricInfo
from floatbench.metrics.clip_vision import CLIPVision
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.kernels import GAUSSIAN, SQUARE
from floatbench.metrics.kid import KernelMetric
from floatbench.metrics.video_features import VideoFrechet, VJEPAFeatures

_CMMD = MetricInfo(
    id="cmmd",
    column="CMMD",
    title="Kernel distance of CLIP embeddings of all frames",
    higher_is_better=False,
    level="corpus",
    backbones=(CLIPVision.id,),
    sides=("generated", "reference"),
    formula=GAUSSIAN.formula,
    source="Jayasumana et al. 2024; CLIP ViT-L/14 at 336 px, the middle square, embeddings of length 1",
    parity="cmmd-pytorch on equal input: embeddings of a small network within 1e-5, distance within 1e-9 relative",
)
_JEDI = MetricInfo(
    id="jedi",
    column="JEDi",
    title="Kernel distance of V-JEPA features of 16 frames",
    higher_is_better=False,
    level="corpus",
    backbones=(VJEPAFeatures.id,),
    sides=("generated", "reference"),
    formula=f"{SQUARE.formula}; consecutive windows of 16 frames, remainder dropped",
    source="Luo et al. 2025; V-JEPA ViT-H/16 with its Something-Something probe; frames squashed to 224 x 224, which "
    "its authors leave to the caller",
    parity="V-JEPA's own classes on equal seeded weights and input: features within 1e-5 of their size",
)


def _cmmd() -> Metric:
    return KernelMetric(_CMMD, FrechetMetric(_CMMD), GAUSSIAN)


def _jedi() -> Metric:
    return KernelMetric(_JEDI, VideoFrechet(_JEDI, failed="too_short"), SQUARE)


METRICS: dict[str, Callable[[], Metric]] = {_CMMD.id: _cmmd, _JEDI.id: _jedi}
