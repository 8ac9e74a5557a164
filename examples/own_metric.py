"""A metric of one's own: how far the brightness of a video drifts from that of its reference.

FLOATBENCH_PLUGINS=own_metric.py floatbench score --generated mine --reference real --metrics brightness-error
"""

import numpy as np

import floatbench
from floatbench.metrics.base import ClipValue, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.types import ClipMedia, Features


class Brightness(floatbench.Backbone):
    """Sees one decoded clip and gives arrays, which are kept by content: `mean` (T,), in levels of 0..255."""

    id = "brightness"

    def load(self, device: str = "cpu") -> None:
        """There is no network to load."""

    def extract(self, clip: ClipMedia) -> Features:
        return {"mean": clip.frames.mean((1, 2, 3))}


class BrightnessError(ClipMetric):
    """One value for each clip; the score is their mean, with an interval over people."""

    info = MetricInfo(
        id="brightness-error",
        title="Mean absolute difference of the brightness of each frame, in levels",
        higher_is_better=False,
        backbones=("brightness",),
        sides=("generated", "reference"),
    )

    def clip_value(self, pair: Pair) -> ClipValue:
        generated, reference = pair.generated("brightness")["mean"], pair.reference("brightness")["mean"]
        frames = min(len(generated), len(reference))
        difference = np.abs(generated[:frames] - reference[:frames])
        return ClipValue(float(difference.mean()), tracks={"brightness error": difference.astype(np.float32)})


METRICS = {"brightness-error": BrightnessError}
BACKBONES = {"brightness": Brightness}
