"""Finds metrics and backbones by id: the built-in ones by module, outside ones by entry point.

A module named here registers what it offers in two plain dictionaries, `METRICS` (variant id -> Metric factory) and
`BACKBONES` (backbone id -> Backbone factory). Outside modules do the same: see floatbench.plugins.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from floatbench.errors import UsageError
from floatbench.metrics.base import Backbone, Metric
from floatbench.plugins import collect
from floatbench.text import near

MODULES = (
    "floatbench.metrics.basic",
    "floatbench.metrics.full_size",
    "floatbench.metrics.lpips",
    "floatbench.metrics.fid",
    "floatbench.metrics.fvd",
    "floatbench.metrics.csim",
    "floatbench.metrics.efid",
    "floatbench.metrics.lse",
    "floatbench.metrics.avcorr",
    "floatbench.metrics.tiny",
    "floatbench.metrics.kid",
    "floatbench.metrics.movement",
    "floatbench.metrics.theval",
    "floatbench.metrics.emotion",
    "floatbench.metrics.drift",
    "floatbench.metrics.judge",
    "floatbench.metrics.frame_pairs",
    "floatbench.metrics.clip_vision",
    "floatbench.metrics.video_features",
    "floatbench.metrics.embedding_distances",
    "floatbench.metrics.desync",
)

_NOT_FREE = "code and weights of its network may not be used commercially"
LEFT_OUT = {
    "theval-aesthetics": f"TOPIQ-IAA: {_NOT_FREE}",
    "theval-mouth-quality": f"MUSIQ: {_NOT_FREE}",
    "theval-face-quality": f"TOPIQ-NR-face: {_NOT_FREE}",
    "theval-head-motion": "of RetinaFace and FaceXFormer; theval-head-motion-mp is its formula on MediaPipe",
}
"""Measures of THEval that are not computed here, and why; nothing stands in for them in its total."""


@cache
def _catalogue(kind: str) -> dict[str, Any]:
    return collect(kind, MODULES)


def _get(kind: str, name: str) -> object:
    catalogue = _catalogue(kind)
    if name not in catalogue and name in LEFT_OUT:
        raise UsageError(f"{name} is left out ({LEFT_OUT[name]})", fix="--metrics theval measures the other five")
    if name not in catalogue:
        raise UsageError(f"unknown {kind[:-1]} {name!r}", fix=near(name, catalogue, "floatbench metrics list"))
    return catalogue[name]


def metric(variant: str, **settings: Any) -> Metric:
    """A new instance of the metric variant with a protocol's settings for it; UsageError for what is unknown."""
    return _make(_get("metrics", variant), variant, settings)


def backbone(name: str, **settings: Any) -> Backbone:
    """A new, unloaded instance of the backbone; raises UsageError for an unknown id or setting."""
    return _make(_get("backbones", name), name, settings)


def _make(factory: Any, name: str, settings: dict[str, Any]) -> Any:
    try:
        return factory(**settings)
    except TypeError as error:
        if not settings:
            raise
        raise UsageError(f"{name} does not take the settings {sorted(settings)}: {error}") from None


def metric_ids() -> list[str]:
    return sorted(_catalogue("metrics"))


def backbone_ids() -> list[str]:
    return sorted(_catalogue("backbones"))
