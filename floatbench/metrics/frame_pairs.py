"""Measures that hold a video to its reference moment by moment: landmarks, coefficients, beats, warped curves.

Only a method that is told the reference's motion can match it frame by frame: of one that makes its own motion from
sound they say that it moves differently, not that it moves badly. Papers print them, so they are here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics import efid
from floatbench.metrics import face_points as points
from floatbench.metrics.avcorr import AudioEnvelope
from floatbench.metrics.base import ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.beside_reference import described
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.metrics.theval import mouth_opening
from floatbench.types import Features

BEAT_SIGMA = 3.0
"""Frames: how near an onset must be to a beat; 2 sigma^2 is SadTalker's 2 * 9."""
SMOOTHED = 5.0
"""Frames: sigma of the Gaussian over the speed before its minima are beats."""
RISE = 0.5
"""Least rise of the logarithm of the loudness from one frame to the next that is an onset."""
GAMMA = 0.1
"""Softness of soft-DTW, in units of a squared standard deviation of the reference's curve."""


def both_found(generated: Features, reference: Features) -> np.ndarray:
    """(T,) bool over the shorter side: frames with a face on both; ClipError without enough."""
    mine, real = points.seen(generated, 1), points.seen(reference, 1)
    length = min(len(mine), len(real))
    both = mine[:length] & real[:length]
    if not both.any():
        raise ClipError("no_face", f"no frame of {length} has a face on both sides")
    return both


class LandmarkDistance(ClipMetric):
    """Mean distance of the points to those of the reference frame of the same time, over the reference's eye distance.

    Args:
        info: the variant. which: of the 478 points.

    Extra: `aligned`, the same after the middle of the points has been moved onto the reference's.
    """

    def __init__(self, info: MetricInfo, which: slice | tuple[int, ...]) -> None:
        self.info = info
        self._which = which

    def clip_value(self, pair: Pair) -> ClipValue:
        generated, reference = pair.generated(FaceLandmarker.id), pair.reference(FaceLandmarker.id)
        both = both_found(generated, reference)
        real = points.in_pixels(reference)
        scale = points.eye_distance(real, points.seen(reference, 1))
        height, width = (int(side) for side in reference["size"])
        mine = generated["mesh"][: len(both)].astype(np.float64) * (width, height)  # in pixels of the reference
        away = (mine[both] - real[: len(both)][both])[:, self._which] / scale
        moved = away - away.mean(axis=1, keepdims=True)
        extra = {"aligned": float(np.linalg.norm(moved, axis=2).mean())}
        return ClipValue(float(np.linalg.norm(away, axis=2).mean()), extra, {}, int(both.sum()), len(both))


class CoefficientDistance(ClipMetric):
    """Mean over frames and numbers of abs(generated - reference) of per-frame face numbers.

    Args:
        info: the variant; its backbone has a mask `found` (T,). columns: picks the (T, d) numbers.
    """

    def __init__(self, info: MetricInfo, columns: efid.Columns) -> None:
        self.info = info
        self._columns = columns

    def clip_value(self, pair: Pair) -> ClipValue:
        generated, reference = (side(self.info.backbones[0]) for side in (pair.generated, pair.reference))
        both = both_found(generated, reference)
        mine, real = (self._columns(side)[: len(both)].astype(np.float64) for side in (generated, reference))
        return ClipValue(float(np.abs(mine - real)[both].mean()), {}, {}, int(both.sum()), len(both))


def motion_beats(features: Features) -> np.ndarray:
    """(n,) frames at which the face's speed, smoothed over time, is least: where one movement ends and another begins.

    The speed is the mean length of the points' one-frame difference; over a lost face it is filled in linearly.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import argrelextrema  # takes two seconds to import

    found = points.seen(features, 3)
    mesh = points.in_pixels(features)[:, points.FACE]
    every, both = np.arange(len(found) - 1), found[1:] & found[:-1]
    if not both.any():
        raise ClipError("too_short", "a face in 2 frames in a row is needed")
    speed = np.linalg.norm(np.diff(mesh, axis=0), axis=2).mean(axis=1)
    smooth = gaussian_filter1d(np.interp(every, every[both], speed[both]), SMOOTHED)
    return argrelextrema(smooth, np.less)[0]


def sound_onsets(rms: np.ndarray) -> np.ndarray:
    """(n,) frames at which the logarithm of the loudness, kept above a thousandth of its peak, rises most."""
    from scipy.signal import find_peaks

    level = np.log(np.maximum(rms.astype(np.float64), 1e-3 * max(float(rms.max()), 1e-9)))
    return find_peaks(np.diff(level, prepend=level[0]), height=RISE)[0]


def nearness(frames: np.ndarray, others: np.ndarray) -> float:
    """Mean over `frames` of exp(-d^2 / 18), d to the nearest of `others`; 0 where either is empty."""
    if not len(frames) or not len(others):
        return 0.0
    away = np.abs(frames[:, None] - others).min(axis=1)
    return float(np.exp(-(away**2) / (2 * BEAT_SIGMA**2)).mean())


class BeatAlignment(ClipMetric):
    """Mean over the beats of the motion of exp(-d^2 / 18), d frames to the nearest onset of the sound.

    Extras: `beats`, `onsets`; `over_onsets`, the mean over the onsets with d to the nearest beat, which is what
    Bailando's public code prints; `reference`, the reference's own value, where it can be measured.
    """

    def __init__(self, info: MetricInfo) -> None:
        self.info = info

    def clip_value(self, pair: Pair) -> ClipValue:
        value, extra, found = self._of(pair.generated)
        with suppress(ClipError):  # what the clip does is known without it
            extra["reference"] = self._of(pair.reference)[0]
        return ClipValue(value, extra, {}, int(found.sum()), len(found))

    def _of(self, look: Callable[[str], Features]) -> tuple[float, dict[str, float], np.ndarray]:
        features = look(FaceLandmarker.id)
        beats, onsets = motion_beats(features), sound_onsets(look(AudioEnvelope.id)["rms"])
        if not len(onsets):
            raise ClipError("silent", "the sound has no onset")
        extra = {"beats": float(len(beats)), "onsets": float(len(onsets)), "over_onsets": nearness(onsets, beats)}
        return nearness(beats, onsets), extra, points.seen(features, 3)


def soft_dtw(x: np.ndarray, y: np.ndarray, gamma: float = GAMMA) -> float:
    """Soft-DTW of (n, d) and (m, d) curves with squared Euclidean costs (Cuturi and Blondel 2017), float64."""
    costs = np.square(x[:, None] - y[None]).sum(axis=2)
    n, m = costs.shape
    before, last = np.full(n + 1, np.inf), np.full(n + 1, np.inf)
    before[0] = 0.0  # anti-diagonals i + j = 0 and 1 of the table with a border, indexed by i
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        steps = np.stack([last[i - 1], last[i], before[i - 1]])
        least = steps.min(axis=0)
        soft = least - gamma * np.log(np.exp(-(steps - least) / gamma).sum(axis=0))
        before, last = last, np.full(n + 1, np.inf)
        last[i] = costs[i - 1, diagonal - i - 1] + soft
    return float(last[n])


def warped_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Soft-DTW divergence (Blondel et al. 2021) of (n, d) and (m, d) curves over their mean length: 0 where equal."""
    own = (soft_dtw(x, x) + soft_dtw(y, y)) / 2
    return max(soft_dtw(x, y) - own, 0.0) / ((len(x) + len(y)) / 2)


class WarpedDistance(ClipMetric):
    """Soft-DTW divergence of a curve and the reference's, both in the reference's standard deviations about its mean.

    Frames without a face are filled in linearly. A reference that does not vary fails with `constant`.
    """

    def __init__(self, info: MetricInfo, curve: Callable[[Features], np.ndarray]) -> None:
        self.info = info
        self._curve = curve

    def clip_value(self, pair: Pair) -> ClipValue:
        generated, reference = pair.generated(FaceLandmarker.id), pair.reference(FaceLandmarker.id)
        mine, real = (self._filled(side) for side in (generated, reference))
        spread = real.std(axis=0)
        if (spread < 1e-9).any():
            raise ClipError("constant", f"{self.info.id}: the reference's curve does not vary")
        value = warped_distance((mine - real.mean(axis=0)) / spread, (real - real.mean(axis=0)) / spread)
        found = points.seen(generated)
        return ClipValue(value, {}, {}, int(found.sum()), len(found))

    def _filled(self, features: Features) -> np.ndarray:
        found = points.seen(features)
        curve = self._curve(features).reshape(len(found), -1).astype(np.float64)
        every = np.arange(len(found))
        return np.stack([np.interp(every, every[found], part[found]) for part in curve.T], axis=1)


def head_angles(features: Features) -> np.ndarray:
    """(T, 3) degrees."""
    return np.degrees(np.unwrap(features["rotation"].astype(np.float64), axis=0))


_MESH = (FaceLandmarker.id,)


def _info(
    variant: str, column: str, title: str, formula: str, source: str, *, backbones: tuple[str, ...] = _MESH,
    higher: bool = False,
) -> MetricInfo:  # fmt: skip
    return described(variant, column, title, higher, formula, backbones, source)


def _coefficients(variant: str, of: str, what: str, columns: efid.Columns) -> tuple[str, Callable[..., Metric]]:
    """The mean absolute difference of the numbers that a Frechet variant reads."""
    kind = variant[:3].upper()
    column = kind if of in ("efid", "pfid-fixedcrop") else f"{kind} (MediaPipe)"
    info = _info(
        variant, column, f"Mean absolute difference of {what}", f"mean |g - r| of the numbers of {of}",
        "PIRenderer and its successors", backbones=efid.METRICS[of]().info.backbones,
    )  # fmt: skip
    return variant, partial(CoefficientDistance, info, columns)


_LMD = "mean |p_g(t) - p_r(t)| over the reference's eye distance, "
_DTW = "soft-DTW divergence a frame, gamma 0.1, in the reference's standard deviations"
_WARPED = "soft-DTW: Cuturi and Blondel 2017; its divergence: Blondel et al. 2021; for talking heads arXiv 2606.01031"
METRICS: dict[str, Callable[..., Metric]] = {
    "lmd": partial(LandmarkDistance, _info("lmd", "LMD", "Landmark distance", _LMD + "468 points", "ATVGnet (2019)"),
                   points.FACE),
    "lmd-mouth": partial(LandmarkDistance, _info("lmd-mouth", "LMD (mouth)", "Landmark distance of the lips",
                                                 _LMD + "40 points of the lips", "ATVGnet (2019)"), points.LIPS),
    **dict((
        _coefficients("aed", "efid", "64 expression numbers", efid.expression),
        _coefficients("apd", "pfid-fixedcrop", "six pose numbers", efid.recon_pose),
        _coefficients("aed-mp52", "efid-mp52", "52 blendshapes", efid.blendshapes),
        _coefficients("apd-mp6", "pfid-mp6", "head rotation and translation", efid.head_pose),
    )),
    "beat-align": partial(BeatAlignment, _info(
        "beat-align", "BEAT-ALIGN", "Beats of the motion beside onsets of the sound",
        "mean over minima of the mesh's speed of exp(-d^2 / 18), d frames to the nearest rise of loudness",
        "after SadTalker (arXiv 2211.12194); onsets are our own", backbones=(*_MESH, AudioEnvelope.id), higher=True)),
    "dtw-lips": partial(WarpedDistance, _info("dtw-lips", "DTW lips", "Warped distance of the mouth's opening", _DTW,
                                              _WARPED), mouth_opening),
    "dtw-head": partial(WarpedDistance, _info("dtw-head", "DTW head", "Warped distance of the head's angles", _DTW,
                                              _WARPED), head_angles),
}  # fmt: skip
