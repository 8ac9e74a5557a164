"""The contract between the engine and the metrics: backbones map decoded clips to features, metrics reduce them.

A `Backbone` sees one decoded clip and returns arrays; the engine caches them by content. A `Metric` declares the
backbones it needs and turns the features of (generated, reference, source) into per-clip values and one score. Neither
touches files.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from floatbench.code_hash import code_of
from floatbench.errors import ClipError, UsageError
from floatbench.types import ClipMedia, Features

if TYPE_CHECKING:
    from floatbench.metrics.paired import PairedDifference

Side = Literal["generated", "reference", "source"]
Part = Literal["frames", "audio"]
MEASURED_FLOOR = 0.75
"""Share of a clip's pictures that must be measured for the clip to count.

The pictures that are left when a face is lost are no sample of the clip: with half of them gone the mouth's correlation
with the sound rose from 0.25 to 0.43.
"""


class Backbone(ABC):
    """A network (or plain signal processing) that turns one decoded clip into feature arrays.

    Class attributes:
        id: unique name; part of the cache key.
        uses: which parts of a clip the result depends on; the cache key holds the hashes of these parts
            only, so a clip with shifted sound shares its picture features with the unshifted one.
        weights: names in the weight registry, empty for pure signal processing.
        licence: licence of the weights in a few words.
        on_device: False for what runs on the CPU whatever the device is.

    Example:
        >>> import floatbench, numpy as np
        >>> from floatbench.types import ClipMedia
        >>> class Brightness(floatbench.Backbone):
        ...     id = "brightness"
        ...
        ...     def load(self, device="cpu"): ...
        ...
        ...     def extract(self, clip):
        ...         return {"mean": clip.frames.mean((1, 2, 3))}
        >>> Brightness().extract(ClipMedia(np.full((2, 4, 4, 3), 10, np.uint8)))["mean"].tolist()
        [10.0, 10.0]
    """

    id: str
    uses: frozenset[Part] = frozenset({"frames"})
    weights: tuple[str, ...] = ()
    licence: str = "none"
    on_device: bool = True

    def settings(self) -> dict[str, Any]:
        """Everything beside the weights that changes the result (JSON types); batch size does not belong here."""
        return {}

    def weight_hashes(self) -> dict[str, str]:
        """Weight name -> SHA-256 of the file in use; raises DataError when a file is missing or damaged."""
        if not self.weights:
            return {}
        from floatbench import weights

        return {name: weights.sha256(name) for name in self.weights}

    def made_with(self, device: str = "cpu") -> dict[str, Any]:
        """What computes its features (JSON types).

        `code`: module -> hash of the definitions that it uses; `libraries`: distribution -> version; `device`: its kind
        (`cpu`, `cuda`), since the last digits differ from one kind to another.
        """
        code = code_of(type(self))
        kind = device.partition(":")[0] if self.on_device else "cpu"
        return {"code": dict(code.sources), "libraries": dict(code.libraries), "device": kind}

    def fingerprint(self, device: str = "cpu") -> str:
        """SHA-256 over id, settings, weight hashes and `made_with`; the first half of a feature's cache key."""
        record = {"id": self.id, "settings": self.settings(), "weights": self.weight_hashes()} | self.made_with(device)
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()

    @abstractmethod
    def load(self, device: str = "cpu") -> None:
        """Loads the networks once; called before the first `extract` in every worker."""

    @abstractmethod
    def extract(self, clip: ClipMedia) -> Features:
        """Features of one clip; raises ClipError with a reason when the clip cannot be measured."""


class PairBackbone(Backbone):
    """A backbone that sees a generated clip beside its reference, as a distance from frame to frame must at full size.

    Its features are kept under the content of both clips, and both sides of a `Pair` give them.
    """

    @abstractmethod
    def extract_pair(self, generated: ClipMedia, reference: ClipMedia) -> Features:
        """Features of the two clips; raises ClipError with a reason when they cannot be measured."""

    def extract(self, clip: ClipMedia) -> Features:
        """There are none of one clip."""
        raise UsageError(f"{self.id} sees two clips", fix="extract_pair(generated, reference)")


class Pair:
    """The features of one clip as a metric sees them; arrays are loaded when they are asked for.

    Args:
        clip_id, identity: of the protocol's clip.
        load: called with (side, backbone id); returns features or raises ClipError if extraction had failed.
        emotion: that the generated face should show; empty where nobody said.
    """

    def __init__(self, clip_id: str, identity: str, load: Callable[[Side, str], Features], emotion: str = "") -> None:
        self.clip_id = clip_id
        self.identity = identity
        self.emotion = emotion
        self._load = load

    def generated(self, backbone: str) -> Features:
        return self._load("generated", backbone)

    def reference(self, backbone: str) -> Features:
        return self._load("reference", backbone)

    def source(self, backbone: str) -> Features:
        return self._load("source", backbone)


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """What a metric variant is. The first five fields are enough for a metric of one's own.

    Attributes:
        id: the variant id (`fid`, `csim-source`, `efid-mp52` ...); title: what it is, in one line.
        higher_is_better: which way is up. backbones: ids of those it reads; sides: of which videos.
        level: `clip` is a value for each clip and their mean, `corpus` one value of all clips.
        column: the table's column: FID, FVD, CSIM, E-FID, P-FID, LSE-D, LSE-C, AVCORR ...; without one the id.
        formula, source, parity: how it is computed, paper or reference tool, how far equality with that was shown.
        tiny: uses the bundled offline backbones: footnoted, never beside official ones. needs_audio: reads the sound.
        needs_label: reads `Pair.emotion`.
    """

    id: str
    title: str
    higher_is_better: bool
    backbones: tuple[str, ...]
    sides: tuple[Side, ...]
    level: Literal["corpus", "clip"] = "clip"
    column: str = ""
    formula: str = "not stated"
    source: str = "not stated"
    parity: str = "not shown"
    tiny: bool = False
    needs_audio: bool = False
    needs_label: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", self.column or self.id)


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a score and how it was made."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True)
class ClipValue:
    """A metric's result on one clip.

    Attributes:
        value: the clip's own number (None for corpus metrics that have none).
        extra: further numbers of the clip (offset, track length, frames used ...).
        tracks: per-frame arrays for the report's page.
        pictures, of_pictures: how many pictures (for FVD: windows) were measured, and how many the clip has; 0 of 0
            where a metric does not count them.
    """

    value: float | None
    extra: Mapping[str, float] = field(default_factory=dict)
    tracks: Mapping[str, np.ndarray] = field(default_factory=dict)
    pictures: int = 0
    of_pictures: int = 0


@dataclass(frozen=True)
class DistanceFolds:
    """What a distance keeps of its parts, so that it can be paired with another one.

    Attributes:
        value: the distance; left_out: the distances with one group of clips left out each.
        sizes: rows of each group; unit: what was grouped, in words.
        rows, groups: hashes of which rows of which clips entered, and of which clips are in which group.
        clips, people: how many entered.
        why: why no interval may be made of them; `left_out` is then empty.
        scale: where errors are made: `root` of a distance that is never negative, `plain` of an unbiased estimate.
    """

    value: float
    left_out: tuple[float, ...]
    sizes: tuple[int, ...]
    rows: str
    groups: str
    clips: int
    people: int
    unit: str = "people"
    why: str = ""
    scale: Literal["root", "plain"] = "root"


@dataclass(frozen=True)
class ClipFolds:
    """What a mean keeps of its parts: (clip, person, value) of each clip that entered; `why` as for a distance."""

    values: tuple[tuple[str, str, float], ...]
    why: str = ""

    def only(self, clips: Container[str]) -> ClipFolds:
        """The same for some of the clips."""
        return ClipFolds(tuple(entry for entry in self.values if entry[0] in clips), self.why)


Folds = DistanceFolds | ClipFolds


@dataclass(frozen=True)
class Score:
    """The corpus score of one metric variant for one method.

    Attributes:
        n: clips that entered; failures: clip id -> "reason: detail" for those that did not.
        interval: None when it cannot be given honestly; `no_interval` then says why.
        details: n-curve, extrapolation, sample counts, secondary numbers (JSON types).
        pictures, of_pictures: what was measured inside the clips that entered, and what they have; see `ClipValue`.
        marks: what a reader must know beside the number ("few rows: ...").
        folds: what the paired test with another system is made of; None where a metric keeps nothing.

    Example:
        >>> import floatbench, numpy as np
        >>> clip = np.zeros((25, 64, 64, 3), np.uint8)
        >>> score = floatbench.measure("psnr-grey128", [clip, clip], [clip, clip])
        >>> score.value, score.n, dict(score.failures)
        (100.0, 2, {})
    """

    metric: str
    value: float | None
    n: int
    failures: Mapping[str, str] = field(default_factory=dict)
    interval: Interval | None = None
    no_interval: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 0
    of_pictures: int = 0
    marks: tuple[str, ...] = ()
    folds: Folds | None = None

    @property
    def measured_share(self) -> float:
        """Share of the entered clips' pictures that were measured, 1 where a metric does not count them."""
        return self.pictures / self.of_pictures if self.of_pictures else 1.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Metric(ABC):
    """One metric variant. Instances are cheap, hold settings only and keep no state between calls.

    Example:
        >>> import floatbench
        >>> from floatbench.metrics.fid import FID
        >>> metric: floatbench.Metric = FID()
        >>> metric.info.id, metric.info.level, metric.info.sides
        ('fid', 'corpus', ('generated', 'reference'))
    """

    info: MetricInfo

    @abstractmethod
    def clip_value(self, pair: Pair) -> ClipValue:
        """The clip's value, its extras and tracks; raises ClipError when the clip cannot be measured."""

    @abstractmethod
    def reduce(self, pairs: Sequence[Pair]) -> Score:
        """The corpus score over the clips of one method, in any order; failures are counted, not dropped."""

    def fold_pair(self, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair]) -> tuple[Folds, Folds]:
        """The folds of two systems on what both have of the same clips, for `floatbench.metrics.paired.difference`.

        Raises:
            UsageError: the metric keeps none, or the systems have nothing in common.
        """
        scores = [self.reduce(pairs) for pairs in (pairs_a, pairs_b)]
        first, second = (score.folds or ClipFolds(()) if score.value is None else score.folds for score in scores)
        if not isinstance(first, ClipFolds) or not isinstance(second, ClipFolds):
            raise UsageError(f"{self.info.id} offers no paired comparison")
        common = {clip for clip, _, _ in first.values} & {clip for clip, _, _ in second.values}
        if not common:
            raise UsageError(f"{self.info.id}: the two systems have no measurable clip in common")
        return first.only(common), second.only(common)

    def compare(self, pairs_a: Sequence[Pair], pairs_b: Sequence[Pair]) -> PairedDifference:
        """The paired difference of two systems on the clips that both have; UsageError when there is none."""
        from floatbench.metrics import paired, statistics

        a, b = ({pair.clip_id: pair for pair in pairs} for pairs in (pairs_a, pairs_b))
        common = sorted(a.keys() & b.keys())
        if not common:
            raise UsageError(f"{self.info.id}: the two systems have no clip in common")
        first, second = self.fold_pair([a[clip] for clip in common], [b[clip] for clip in common])
        return paired.difference([first], [second], statistics.content_seed(self.info.id))


def require_measured(pictures: int, of_pictures: int) -> None:
    """Raises ClipError `few_pictures` when less than `MEASURED_FLOOR` of a clip's pictures were measured."""
    if pictures < MEASURED_FLOOR * of_pictures:
        what = f"{pictures} of {of_pictures} pictures could be measured, {MEASURED_FLOOR:.0%} are needed"
        raise ClipError("few_pictures", what)


def guarded_value(metric: Metric, pair: Pair) -> ClipValue:
    """`metric.clip_value` behind the guard of all metrics.

    Raises:
        ClipError: what the metric raises; `not_finite` for a NaN or infinity in any of its numbers; `few_pictures`.
    """
    result = metric.clip_value(pair)
    for name, number in {"value": result.value, **result.extra}.items():
        if number is not None and not math.isfinite(number):
            raise ClipError("not_finite", f"{metric.info.id}: {name} is {number}")
    require_measured(result.pictures, result.of_pictures)
    return result


def split_failures(metric: Metric, pairs: Sequence[Pair]) -> tuple[list[tuple[Pair, ClipValue]], dict[str, str]]:
    """Evaluates each clip in clip-id order and separates the failures (clip id -> "reason: detail")."""
    good: list[tuple[Pair, ClipValue]] = []
    failures: dict[str, str] = {}
    for pair in sorted(pairs, key=lambda p: p.clip_id):
        try:
            good.append((pair, guarded_value(metric, pair)))
        except ClipError as error:
            failures[pair.clip_id] = str(error)
    return good, failures
