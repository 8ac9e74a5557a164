"""AVCORR: does the mouth open when the sound is loud? A sound judge that needs no research-only weights; it is not LSE.

The mouth signal of every frame (MediaPipe) is correlated with the loudness of the 40 ms of sound under it, at lags of
-10..10 frames; a positive lag means that the sound comes later than the face.

The best of 21 lags is above zero for noise, too: nine re-encoded still pictures earn `avcorr` 0.15 on average.
`avcorr-excess` takes off what the same search finds in the clip's own sound turned in a circle, so that chance is 0.

Loudness against jaw is a weak judge of running speech: of fifteen real clips only ten pass a permutation test at 0.04.
Read it over many clips.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.landmarker import JAW_OPEN, FaceLandmarker
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features

SILENCE_DBFS = -60.0
MAX_LAG = 10
MIN_FRAMES = 25
"""Frames that must overlap at a lag: a correlation of fewer is noise."""
NULL_TURNS = 64
"""Most turns of the sound that the null takes; of a long clip they are spread evenly."""
MIN_NULL_TURNS = 8
"""Fewer turns give no null worth the name: with ten lags either way a clip of 49 frames has eight."""


def envelope(audio: np.ndarray) -> np.ndarray:
    """Loudness per frame: RMS of each 640 samples (40 ms) of (640 T,) int16 sound, (T,) float64 of full scale."""
    windows = len(audio) // SAMPLES_PER_FRAME
    blocks = audio[: windows * SAMPLES_PER_FRAME].reshape(windows, SAMPLES_PER_FRAME).astype(np.float64) / 32768
    return np.sqrt(np.mean(blocks**2, axis=1))


def require_sound(clip: ClipMedia) -> np.ndarray:
    """The clip's samples; raises ClipError `no_audio`, or `silent` below -60 dBFS."""
    if clip.audio is None or len(clip.audio) == 0:
        raise ClipError("no_audio")
    level = float(np.sqrt(np.mean(clip.audio.astype(np.float64) ** 2))) / 32768
    if 20 * np.log10(max(level, 1e-12)) < SILENCE_DBFS:
        raise ClipError("silent")
    return clip.audio


class AudioEnvelope(Backbone):
    """Loudness of every frame's 40 ms of sound: `rms` (T,) float32 of full scale."""

    id = "audio-envelope"
    on_device = False
    uses = frozenset({"audio"})

    def settings(self) -> dict[str, Any]:
        return {"window_samples": SAMPLES_PER_FRAME, "version": 1}

    def load(self, device: str = "cpu") -> None:
        """Nothing to load."""

    def extract(self, clip: ClipMedia) -> Features:
        return {"rms": envelope(require_sound(clip)).astype(np.float32)}


def lagged_correlations(
    face: np.ndarray, sound: np.ndarray, found: np.ndarray | None = None, max_lag: int = MAX_LAG
) -> np.ndarray:
    """Pearson r of face[t] and sound[t + lag] for lag = -max_lag..max_lag, (2 max_lag + 1,).

    `found` (T,) bool leaves out frames without a face. A lag with fewer than 25 common frames gives NaN; a signal
    that does not vary gives 0, because it tells nothing of the other.
    """
    length = min(len(face), len(sound))
    use = np.ones(length, bool) if found is None else np.asarray(found[:length], bool)
    result = np.full(2 * max_lag + 1, np.nan)
    for k, lag in enumerate(range(-max_lag, max_lag + 1)):
        start, stop = max(0, -lag), length - max(0, lag)
        keep = use[start:stop] if stop > start else use[:0]
        if keep.sum() < MIN_FRAMES:
            continue
        a = np.asarray(face[start:stop], np.float64)[keep]
        b = np.asarray(sound[start + lag : stop + lag], np.float64)[keep]
        result[k] = _pearson(a, b)
    return result


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) <= 1e-6 * np.abs(a).max(initial=0) or np.ptp(b) <= 1e-6 * np.abs(b).max(initial=0):
        return 0.0  # includes all-zero signals
    return float(np.corrcoef(a, b)[0, 1])


def null_turns(frames: int, max_lag: int = MAX_LAG) -> np.ndarray:
    """(n,) by how many frames the null turns the sound: never so little that a lag reaches the true place again.

    A turn by s looks at the true sound moved by s - max_lag to s + max_lag, which must stay beyond the lags searched;
    the circle has two sides. None are left below 4 max_lag + 2 frames.
    """
    turns = np.arange(2 * max_lag + 1, frames - 2 * max_lag)
    if len(turns) <= NULL_TURNS:
        return turns
    return turns[np.linspace(0, len(turns) - 1, NULL_TURNS).round().astype(int)]


def null_best(
    face: np.ndarray, sound: np.ndarray, found: np.ndarray | None = None, max_lag: int = MAX_LAG
) -> np.ndarray:
    """(n,) best correlation over the lags for every turn of the sound: what the search finds where nothing fits."""
    length = min(len(face), len(sound))
    turns = null_turns(length, max_lag)
    best = [np.nanmax(lagged_correlations(face, np.roll(sound[:length], turn), found, max_lag)) for turn in turns]
    return np.array(best)


def jaw_signal(features: Features) -> np.ndarray:
    """(T,) the blendshape `jawOpen`."""
    return features["blendshapes"][:, JAW_OPEN]


def lip_signal(features: Features) -> np.ndarray:
    """(T,) gap of the inner lips over the height of the face."""
    return features["mouth"]


class AVCorr(ClipMetric):
    """Best correlation of mouth and loudness over the lags.

    Args:
        info: the variant.
        signal: picks the (T,) mouth signal from the landmarker's features.
        max_lag: lags searched on either side, in frames.
        excess: takes off the mean of `null_best`, so that a mouth that knows nothing of the sound scores 0.

    The extras of a clip are `lag` (frames, positive = sound later), `r_lag0`, `frames`, `frames_no_face`,
    `frames_two_faces`, `frames_trimmed` (picture and sound of unequal length) and `constant` (1 when one signal does
    not vary: the value is then 0); with `excess` also `r` (the best correlation), `null` (what was taken off) and `p`
    (share of turned sounds that fit at least as well).
    """

    def __init__(
        self,
        info: MetricInfo,
        signal: Callable[[Features], np.ndarray],
        max_lag: int = MAX_LAG,
        excess: bool = False,
    ) -> None:
        if max_lag < 0:
            raise UsageError(f"{info.id}: max_lag must not be negative, got {max_lag}")
        self.info = info
        self._signal = signal
        self._max_lag = int(max_lag)
        self._excess = excess

    def clip_value(self, pair: Pair) -> ClipValue:
        sound = pair.generated(AudioEnvelope.id)["rms"]
        features = pair.generated(FaceLandmarker.id)
        found = features["found"].astype(bool)
        if not found.any():
            raise ClipError("no_face", f"no face in any of {len(found)} frames")
        face = self._signal(features)
        if not np.isfinite(face[found]).all() or not np.isfinite(sound).all():
            raise ClipError("not_finite", f"{self.info.id}: the mouth or the loudness")
        r = lagged_correlations(face, sound, found, self._max_lag)
        if np.isnan(r).all():
            raise ClipError("too_short", f"fewer than {MIN_FRAMES} frames with a face and sound")
        best = int(np.nanargmax(r))
        length = min(len(face), len(sound))
        extra = {
            "lag": float(best - self._max_lag),
            "frames": float(length),
            "frames_no_face": float((~found[:length]).sum()),
            "frames_two_faces": float((features["faces"] > 1).sum()),
            "frames_trimmed": float(max(len(face), len(sound)) - length),
            "constant": float(np.all(r[~np.isnan(r)] == 0)),
        }
        if not np.isnan(r[self._max_lag]):
            extra["r_lag0"] = float(r[self._max_lag])
        value = float(r[best])
        if self._excess:
            null = self._null(face, sound, found)
            extra |= {"r": value, "null": float(null.mean()), "p": float((1 + (null >= value).sum()) / (1 + len(null)))}
            value -= extra["null"]
        mouth = np.where(found, face, np.nan).astype(np.float32)
        tracks = {"mouth": mouth, "loudness": np.asarray(sound, np.float32)}
        return ClipValue(value, extra, tracks, int(found[:length].sum()), length)

    def _null(self, face: np.ndarray, sound: np.ndarray, found: np.ndarray) -> np.ndarray:
        null = null_best(face, sound, found, self._max_lag)
        if len(null) < MIN_NULL_TURNS:
            least = 4 * self._max_lag + 1 + MIN_NULL_TURNS
            raise ClipError("too_short", f"{min(len(face), len(sound))} frames; its null needs {least}")
        return null


def _info(variant: str, what: str, excess: bool = False) -> MetricInfo:
    formula = "max over lags of Pearson r(mouth[t], rms[t + lag]), 40 ms windows; mean over clips"
    null = ", less its mean over the clip's sound turned in a circle" if excess else ""
    return MetricInfo(
        id=variant,
        column="AVCORR (excess)" if excess else "AVCORR",
        title=f"Correlation of {what} and loudness, best of the lags -10..10{null}",
        higher_is_better=True,
        level="clip",
        backbones=(FaceLandmarker.id, AudioEnvelope.id),
        sides=("generated",),
        formula=f"{formula}{null}",
        source="floatbench; no paper",
        parity="lag and r of the real sample clips as measured independently with MediaPipe 1.2.2",
        needs_audio=True,
    )


_JAW, _LIPS = "jaw opening (MediaPipe jawOpen)", "the gap between the inner lips (MediaPipe mesh)"
METRICS: dict[str, Callable[..., Metric]] = {
    "avcorr": partial(AVCorr, _info("avcorr", _JAW), jaw_signal),
    "avcorr-lips": partial(AVCorr, _info("avcorr-lips", _LIPS), lip_signal),
    "avcorr-excess": partial(AVCorr, _info("avcorr-excess", _JAW, excess=True), jaw_signal, excess=True),
    "avcorr-lips-excess": partial(AVCorr, _info("avcorr-lips-excess", _LIPS, excess=True), lip_signal, excess=True),
}
BACKBONES: dict[str, Callable[[], Backbone]] = {AudioEnvelope.id: AudioEnvelope, FaceLandmarker.id: FaceLandmarker}
