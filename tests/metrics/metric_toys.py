"""A toy metric and its clips, for tests of what is done with scores."""

from __future__ import annotations

from floatbench.errors import ClipError
from floatbench.metrics.base import ClipValue, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric


def info(name="toy", level="corpus"):
    return MetricInfo(
        id=name, column="TOY", title="toy", higher_is_better=False, level=level, backbones=("b",),
        sides=("generated", "reference"),
    )  # fmt: skip


def pair(name, identity, generated, reference=None):
    features = {"generated": generated, "reference": reference}

    def load(side, backbone):
        if isinstance(features[side], ClipError):
            raise features[side]
        return {"features": features[side]}

    return Pair(name, identity, load)


class Value(ClipMetric):
    info = info("value", "clip")

    def clip_value(self, p):
        return ClipValue(float(p.generated("b")["features"]))
