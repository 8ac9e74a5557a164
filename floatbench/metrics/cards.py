"""What `floatbench metrics list` and `show` print: every variant with its definition, weights, licences and parity."""

from __future__ import annotations

from typing import Any

from floatbench import weights
from floatbench.metrics import registry


def cards() -> list[dict[str, Any]]:
    """One card per variant, by id."""
    return [card(name) for name in registry.metric_ids()]


def card(variant: str) -> dict[str, Any]:
    """Definition, formula, source, parity, backbones with settings, weights with state and licence (JSON types).

    Raises UsageError for an unknown id.
    """
    info = registry.metric(variant).info
    backbones = [registry.backbone(name) for name in info.backbones]
    names = list(dict.fromkeys(weight for backbone in backbones for weight in backbone.weights))
    return {
        "id": info.id,
        "column": info.column,
        "title": info.title,
        "better": "higher" if info.higher_is_better else "lower",
        "level": info.level,
        "sides": list(info.sides),
        "formula": info.formula,
        "source": info.source,
        "parity": info.parity,
        "tiny": info.tiny,
        "needs_audio": info.needs_audio,
        "backbones": [{"id": b.id, "settings": b.settings(), "licence": b.licence} for b in backbones],
        "weights": [_weight(name) for name in names],
    }


def _weight(name: str) -> dict[str, Any]:
    entry = weights.entry(name)
    state = "missing"
    if weights.is_fabricated(name):
        state = "fabricated"
    elif weights.available(name):
        state = "present"
    return {
        "name": name,
        "state": state,
        "licence": entry.licence,
        "commercial": entry.commercial,
        "urls": list(entry.urls),
    }
