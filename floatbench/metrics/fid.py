"""FID: the Frechet distance of Inception features over all frames of all clips, pooled.

    >>> import floatbench
    >>> score = floatbench.measure("fid", generated, reference, identities=people)  # lists of (T, H, W, 3) uint8 arrays
    >>> score.value, score.interval, score.details["n_generated"]

Both sides must have the same picture size and come from the same decoder; frames are never written as JPEG on the way.
"""

from __future__ import annotations

from functools import partial

from floatbench.metrics.base import MetricInfo
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.inception import BACKBONES as BACKBONES
from floatbench.metrics.inception import backbone_id

_PARITY = "pytorch-fid 0.3.0 with equal weights: features and distance within 1e-4 relative"
_VARIANTS = {
    "fid": ("Frechet inception distance", backbone_id(2048, "bilinear"), "pytorch-fid 0.3.0", _PARITY),
    "fid-antialias": (
        "FID with an antialiased resize to 299",
        backbone_id(2048, "antialias"),
        "own variant; no reference tool has exactly these settings",
        "none; the network and the distance are those of fid",
    ),
    "fid-clean": (
        "FID with clean-fid's resize (PIL bicubic on float channels)",
        backbone_id(2048, "clean"),
        "clean-fid 0.1.35, Parmar et al. 2022",
        "resize formula tested against PIL; clean-fid itself was not run beside it",
    ),
    **{
        f"fid-{tap}": (
            f"FID on {tap} features of an earlier stage",
            backbone_id(tap, "bilinear"),
            "pytorch-fid --dims",
            _PARITY,
        )
        for tap in (64, 192, 768)
    },
}


class FID(FrechetMetric):
    """FID of a named variant, or over any frame backbone.

    Args:
        variant: `fid` (the default of every protocol), `fid-clean`, `fid-antialias`, `fid-64`, `fid-192`, `fid-768`.
        info: replaces the variant, to use the metric with another backbone that returns {"features": (T, d)}.
    """

    def __init__(self, variant: str = "fid", info: MetricInfo | None = None) -> None:
        super().__init__(info or _info(variant))


def _info(variant: str) -> MetricInfo:
    title, backbone, source, parity = _VARIANTS[variant]
    return MetricInfo(
        id=variant,
        column="FID",
        title=title,
        higher_is_better=False,
        level="corpus",
        backbones=(backbone,),
        sides=("generated", "reference"),
        formula="|m1 - m2|^2 + Tr(S1 + S2 - 2 (S1 S2)^(1/2)), every frame, all clips pooled, unbiased covariance",
        source=source,
        parity=parity,
    )


METRICS = {name: partial(FID, name) for name in _VARIANTS}
