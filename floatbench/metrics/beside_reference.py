"""A measure of one video shown beside the same measure of its reference, and how far apart the two are.

Much of what is said of a talking head has no best value: a head that shakes has more "diversity" than a person's, and a
still picture is the smoothest of all. So each such measure has a twin `...-gap`, which is 0 where the clip does as its
reference does and 1 where one of the two does nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics.avcorr import AudioEnvelope
from floatbench.metrics.base import ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.types import Features


@dataclass(frozen=True)
class VideoReading:
    """What a measure says of one video.

    Attributes:
        value: the number, not negative; extra: further numbers; tracks: arrays for the report's page.
        pictures, of_pictures: measured, and what the clip has.
    """

    value: float
    pictures: int
    of_pictures: int
    extra: Mapping[str, float] = field(default_factory=dict)
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)


Look = Callable[[str], Features]
"""The features of one video by the backbone's id."""
Measure = Callable[[Look], VideoReading]


class BesideReference(ClipMetric):
    """A measure of the generated clip, beside the reference's own.

    The extras of a clip are those of the measure, `reference` (the same measure of the reference) and `ratio`, where
    the reference can be measured and is not 0.
    """

    def __init__(self, info: MetricInfo, measure: Measure) -> None:
        self.info = info
        self._measure = measure

    def clip_value(self, pair: Pair) -> ClipValue:
        own = self._measure(pair.generated)
        extra = dict(own.extra)
        try:
            real = self._measure(pair.reference)
        except ClipError:  # what the clip does is known without it
            return ClipValue(own.value, extra, own.tracks, own.pictures, own.of_pictures)
        extra |= {"reference": real.value} | {f"reference_{name}": number for name, number in real.extra.items()}
        if real.value > 0:
            extra["ratio"] = own.value / real.value
        return ClipValue(own.value, extra, own.tracks, own.pictures, own.of_pictures)


class ReferenceGap(ClipMetric):
    """abs(generated - reference) / (generated + reference) of a measure, for each clip: 0 equal, 1 one of them is 0.

    Where both are 0 they are equal. Extras: `generated`, `reference`.
    """

    def __init__(self, info: MetricInfo, measure: Measure) -> None:
        self.info = info
        self._measure = measure

    def clip_value(self, pair: Pair) -> ClipValue:
        own, real = self._measure(pair.generated), self._measure(pair.reference)
        whole = own.value + real.value
        value = abs(own.value - real.value) / whole if whole > 0 else 0.0
        extra = {"generated": own.value, "reference": real.value}
        return ClipValue(value, extra, {}, own.pictures, own.of_pictures)


def with_twin(info: MetricInfo, measure: Measure) -> dict[str, Callable[..., Metric]]:
    """The measure under its id, and its twin under `ID-gap`."""
    twin = replace(
        info,
        id=f"{info.id}-gap",
        column=f"{info.column} (gap)",
        title=f"{info.title}: how far from the reference's",
        higher_is_better=False,
        formula=f"abs(g - r) / (g + r), g and r: {info.formula}",
        source="floatbench",
    )
    return {info.id: partial(BesideReference, info, measure), twin.id: partial(ReferenceGap, twin, measure)}


def described(
    variant: str, column: str, title: str, higher: bool, formula: str, backbones: tuple[str, ...], source: str
) -> MetricInfo:
    """The description of a measure of one video that is shown beside the reference's."""
    return MetricInfo(
        id=variant,
        column=column,
        title=title,
        higher_is_better=higher,
        backbones=backbones,
        sides=("generated", "reference"),
        formula=formula,
        source=source,
        parity="closed forms on made-up features",
        needs_audio=not {"silero-vad", AudioEnvelope.id}.isdisjoint(backbones),
    )
