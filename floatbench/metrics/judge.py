"""How far a judge of lips and sound can be trusted on a set of clips: does it prefer a recording's own sound?

Asked on the *reference* videos, whatever the method is: the lips of a real recording belong to its own sound, at offset
0. A judge at 0.5 tosses a coin on this data, and what it says of generated videos there means nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import syncnet, theval
from floatbench.metrics.avcorr import MAX_LAG, AudioEnvelope, jaw_signal, lagged_correlations, lip_signal
from floatbench.metrics.base import ClipValue, Metric, MetricInfo, Pair, Score
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.desync import OFFSETS, SyncOffsets
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.metrics.lse import aligned
from floatbench.metrics.speech_activity import BLOCK, SpeechActivity, loudness, speaks
from floatbench.types import FPS, SAMPLES_PER_FRAME, Features

FARTHEST = 15
"""Frames to either side that are asked about: SyncNet's own window."""
SHOWN = (1, 2, 3, 5, 10, 15)
"""Shifts whose shares stand in the details."""
OTHERS = 8
"""Clips of other people whose sound is tried on each clip."""


class SyncJudge(ABC):
    """What a sync measure says of a face and a sound; more is better.

    Attributes:
        backbones: through which it looks and hears. lags: frames by which it can say how well a moved sound fits.
    """

    backbones: tuple[str, ...]
    lags: range = range(-FARTHEST, FARTHEST + 1)

    @abstractmethod
    def at_lags(self, *read: Features) -> np.ndarray:
        """(one for each of `lags`,) how well they fit with the sound taken so many frames later, on the same frames.

        Args:
            read: the features of `backbones`, in their order.

        Raises ClipError `too_short`, `no_face`.
        """


class TwoTowerJudge(SyncJudge):
    """One that reads face and sound apart: any sound can be tried on any face. `backbones`: of face, of sound."""

    backbones: tuple[str, str]

    @abstractmethod
    def at_lags(self, face: Features, sound: Features) -> np.ndarray: ...

    @abstractmethod
    def length(self, face: Features, sound: Features) -> int:
        """How many frames or windows both have."""

    @abstractmethod
    def as_used(self, face: Features, sound: Features, length: int) -> Mapping[str, float]:
        """How well the first `length` fit by the measure itself, with whatever search it has, by the measure's name."""


class SyncNetJudge(TwoTowerJudge):
    """SyncNet: the mean distance at one offset; LSE-D and LSE-C. Only windows with sound at every offset count."""

    def __init__(self, backbones: tuple[str, str]) -> None:
        self.backbones = backbones

    def windows(self, face: Features, sound: Features) -> tuple[np.ndarray, np.ndarray]:
        """The windows of the face and of the sound that belong together."""
        lips, heard, _ = aligned(face, sound)
        return lips, heard

    def at_lags(self, face: Features, sound: Features) -> np.ndarray:
        table = syncnet.distances(*self.windows(face, sound))[FARTHEST:-FARTHEST]
        if not len(table):
            raise ClipError("too_short", f"SyncNet needs {2 * FARTHEST + syncnet.LOST + 1} frames to be asked")
        return -table.mean(axis=0)

    def length(self, face: Features, sound: Features) -> int:
        return len(self.windows(face, sound)[0])

    def as_used(self, face: Features, sound: Features, length: int) -> Mapping[str, float]:
        lips, heard = self.windows(face, sound)
        result = syncnet.judge(syncnet.distances(lips[:length], heard[:length]))
        return {"lse_d": -result.distance, "lse_c": result.confidence}


class TinySyncJudge(SyncNetJudge):
    """The same of the small sync network, whose windows are those of the whole clip."""

    def windows(self, face: Features, sound: Features) -> tuple[np.ndarray, np.ndarray]:
        count = min(len(face["lips"]) - 1, len(sound["sound"]))
        return face["lips"][:count], sound["sound"][:count]


class CorrelationJudge(TwoTowerJudge):
    """Pearson r of mouth and loudness at one lag; the best of the lags -10..10."""

    backbones = (FaceLandmarker.id, AudioEnvelope.id)

    def __init__(self, signal: Callable[[Features], np.ndarray]) -> None:
        self._signal = signal

    def at_lags(self, face: Features, sound: Features) -> np.ndarray:
        mouth, found, loud = self._signal(face), face["found"].astype(bool), sound["rms"]
        length = min(len(mouth), len(loud))
        middle = slice(FARTHEST, length - FARTHEST)
        return _each_lag(length, lambda moved: _fits(mouth[middle], loud[moved], found[middle], 0))

    def length(self, face: Features, sound: Features) -> int:
        return min(len(face["found"]), len(sound["rms"]))

    def as_used(self, face: Features, sound: Features, length: int) -> Mapping[str, float]:
        found = face["found"].astype(bool)[:length]
        return {"avcorr": _fits(self._signal(face)[:length], sound["rms"][:length], found, MAX_LAG)}


class OpeningJudge(TwoTowerJudge):
    """THEval's lip-sync: opening of the mouth and loudness, both scaled, on frames of speech; it has no search."""

    backbones = (FaceLandmarker.id, SpeechActivity.id)

    def at_lags(self, face: Features, sound: Features) -> np.ndarray:
        frames = len(face["found"])
        middle = slice(FARTHEST, frames - FARTHEST)
        opened, found = theval.mouth_opening(face)[middle], face["found"].astype(bool)[middle]
        loud, spoken = loudness(sound, frames), speaks(sound, frames)
        return _each_lag(frames, lambda moved: -theval.apart(opened, loud[moved], found & spoken[moved]))

    def length(self, face: Features, sound: Features) -> int:
        return min(len(face["found"]), (len(sound["rms"]) - 1) * BLOCK // SAMPLES_PER_FRAME)

    def as_used(self, face: Features, sound: Features, length: int) -> Mapping[str, float]:
        use = face["found"].astype(bool)[:length] & speaks(sound, length)
        return {"lipsync": -theval.apart(theval.mouth_opening(face)[:length], loudness(sound, length), use)}


class OffsetJudge(SyncJudge):
    """Synchformer: the probability that it gives to an offset, in its steps of 0.2 s. It looks and hears at once."""

    backbones = (SyncOffsets.id,)
    lags = range(-FARTHEST, FARTHEST + 1, 5)

    def at_lags(self, read: Features) -> np.ndarray:
        """(7,) mean over windows of the logarithm of the probability of each offset, up to a constant."""
        later = -np.rint(OFFSETS * FPS).astype(int)  # a positive class means that the sound comes too early
        logits = read["logits"].mean(axis=0, dtype=np.float64)
        return np.array([logits[later == lag].item() for lag in self.lags])


def _each_lag(frames: int, fit: Callable[[slice], float]) -> np.ndarray:
    """(31,) `fit` for the middle of the face's frames with the sound's frames moved by -15 to 15."""
    if frames <= 2 * FARTHEST:
        raise ClipError("too_short", f"{frames} frames; more than {2 * FARTHEST} are needed")
    lags = range(-FARTHEST, FARTHEST + 1)
    return np.array([fit(slice(FARTHEST + lag, frames - FARTHEST + lag)) for lag in lags])


def _fits(mouth: np.ndarray, loud: np.ndarray, found: np.ndarray, max_lag: int) -> float:
    r = lagged_correlations(mouth, loud, found, max_lag)
    if np.isnan(r).all():
        raise ClipError("too_short", "fewer than 25 frames with a face and sound")
    return float(np.nanmax(r))


def preferred(own: float, other: float) -> float:
    """1 where the own sound fits better, 0 where the other does, a half where the judge sees no difference."""
    return float(np.sign(own - other) + 1) / 2


class JudgeAccuracy(ClipMetric):
    """Share of comparisons in which the judge prefers a recording's own sound to the same sound `shift` frames off.

    Args:
        info: the variant. judge: who is asked. shift: frames to both sides, 1 to 15, of which the judge can speak.

    Extras of a clip: `at_K`, the same for other shifts; `offset`, where it likes the sound best (positive = sound
    later). `Score.details` of a judge of two towers has `swapped_NAME` as well: the share of comparisons with the sound
    of up to eight clips of other people in which the measure itself, with its search, prefers the own sound; equally
    long parts are compared.
    """

    def __init__(self, info: MetricInfo, judge: SyncJudge, shift: int = 5) -> None:
        if not 1 <= int(shift) <= FARTHEST:
            raise UsageError(f"{info.id}: shift must be 1 to {FARTHEST} frames, got {shift}")
        if int(shift) not in judge.lags:
            raise UsageError(f"{info.id}: shift must be a multiple of {judge.lags.step} frames, got {shift}")
        self.info = info
        self.judge = judge
        self.shift = int(shift)

    def clip_value(self, pair: Pair) -> ClipValue:
        lags = self.judge.lags
        fit = self.judge.at_lags(*(pair.reference(name) for name in self.judge.backbones))
        at = dict(zip(lags, fit.tolist(), strict=True))
        shares = {k: (preferred(at[0], at[-k]) + preferred(at[0], at[k])) / 2 for k in lags if k > 0}
        extra = {f"at_{k}": shares[k] for k in SHOWN if k in shares} | {"offset": float(lags[int(np.argmax(fit))])}
        return ClipValue(shares[self.shift], extra, {"fit": fit.astype(np.float32)})

    def reduce(self, pairs: Sequence[Pair]) -> Score:
        score = super().reduce(pairs)
        if not isinstance(self.judge, TwoTowerJudge):
            return score
        ordered = sorted(pairs, key=lambda pair: pair.clip_id)
        clips = [found for i in range(len(ordered)) if (found := _against_others(self.judge, ordered, i))]
        for name in sorted({name for found in clips for name in found}):
            score.details[f"swapped_{name}"] = float(np.mean([found[name] for found in clips]))  # type: ignore[index]
        return score


def _against_others(judge: TwoTowerJudge, pairs: Sequence[Pair], i: int) -> dict[str, float]:
    """Of one clip, by measure: share of other people's sounds that fit worse; empty where nothing can be said."""
    own = pairs[i]
    others = [pair for pair in (*pairs[i + 1 :], *pairs[:i]) if pair.identity != own.identity][:OTHERS]
    won: dict[str, list[float]] = {}
    for other in others:
        try:
            face, sound = (own.reference(name) for name in judge.backbones)
            strange = other.reference(judge.backbones[1])
            length = min(judge.length(face, sound), judge.length(face, strange))
            right, wrong = (judge.as_used(face, one, length) for one in (sound, strange))
        except ClipError:
            continue
        for name in right:
            won.setdefault(name, []).append(preferred(right[name], wrong[name]))
    return {name: float(np.mean(found)) for name, found in won.items()}


def _info(of: str, title: str, judge: SyncJudge, tiny: bool = False) -> MetricInfo:
    return MetricInfo(
        id=f"judge-acc-{of}",
        column=f"JUDGE-ACC {title}",
        title=f"How often {title} prefers a recording's own sound" + (" (small offline network)" if tiny else ""),
        higher_is_better=True,
        backbones=judge.backbones,
        sides=("reference",),
        formula="mean of [fit(0) > fit(-k)] and [fit(0) > fit(k)] on the reference, k = 5 frames; ties count a half",
        source="floatbench; LatentSync trains and tests its SyncNet by such an accuracy",
        parity="closed forms on made-up features",
        tiny=tiny,
        needs_audio=True,
    )


_JUDGES: dict[str, tuple[str, SyncJudge]] = {
    "lse-direct": ("LSE", SyncNetJudge(("syncnet-lip", "syncnet-sound"))),
    "lse-ffmpeg": ("LSE (ffmpeg)", SyncNetJudge(("syncnet-lip-ffmpeg", "syncnet-sound"))),
    "lse-wholeframe": ("LSE (whole frame)", SyncNetJudge(("syncnet-lip-wholeframe", "syncnet-sound"))),
    "lse-tiny": ("LSE", TinySyncJudge(("tiny-lips", "tiny-sound"))),
    "avcorr": ("AVCORR", CorrelationJudge(jaw_signal)),
    "avcorr-lips": ("AVCORR (lips)", CorrelationJudge(lip_signal)),
    "theval-lipsync": ("THEval lip-sync", OpeningJudge()),
    "desync": ("DESYNC", OffsetJudge()),
}
METRICS: dict[str, Callable[..., Metric]] = {
    f"judge-acc-{of}": partial(JudgeAccuracy, _info(of, title, judge, of.endswith("tiny")), judge)
    for of, (title, judge) in _JUDGES.items()
}
