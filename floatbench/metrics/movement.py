"""How the head turns, the eyes blink and look, and how calm the picture and the face in it are.

All of it is read from MediaPipe's pass over the clip and the small grey pictures, which other metrics keep, too.
Each measure has a twin `...-gap`, see floatbench.metrics.beside_reference: only that one can be ranked without a second
thought.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics import face_points as points
from floatbench.metrics.base import ClipValue, Metric, MetricInfo, Pair
from floatbench.metrics.basic import SIDE, Pixels
from floatbench.metrics.beside_reference import Look, Measure, VideoReading, described, with_twin
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.types import FPS, Features

ANGLES = ("pitch", "yaw", "roll")
BLINK_PROMINENCE = 0.25
"""A blink rises above what is around it by that much of the blendshape's range; open eyes tremble by less than 0.1."""
BLINK_LONGEST = 0.6
"""Seconds at half its height from which on a blink counts as closed eyes; people's take 0.1 to 0.4 s."""
CLOSED = 0.5
"""Mean of both `eyeBlink` from which on the direction of the gaze means nothing."""
REACH = 1.6
"""How far beyond its outline the face is taken to reach: hair, ears and chin belong to the head."""
LEAST_OUTSIDE = 0.05
"""Share of the picture that must lie outside the face."""


def head_movement(look: Look) -> VideoReading:
    """Mean over pitch, yaw and roll of their standard deviation over time, in degrees.

    Extras: each of the three; `speed`, mean length of the angles' one-frame difference, degrees a second; `jerk`, that
    of their third difference, degrees a second cubed.
    """
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    degrees = np.degrees(np.unwrap(features["rotation"].astype(np.float64), axis=0))
    spread = degrees[found].std(axis=0)
    extra = {name: float(value) for name, value in zip(ANGLES, spread, strict=True)}
    extra["speed"] = _length(points.differences(degrees, found)) * FPS
    extra["jerk"] = _length(points.differences(degrees, found, 3)) * FPS**3
    track = np.where(found[:, None], degrees, np.nan).astype(np.float32)
    tracks = {name: track[:, i] for i, name in enumerate(ANGLES)}
    return VideoReading(float(spread.mean()), int(found.sum()), len(found), extra, tracks)


def blinks(look: Look) -> VideoReading:
    """Blinks a minute: peaks of the mean of both `eyeBlink` that stand out by 0.25 and last at most 0.6 s.

    Extras: `count`; `seconds`, the median length at half the height, where there is a blink; `open`, the median level.
    """
    from scipy.signal import find_peaks  # takes two seconds to import

    features = look(FaceLandmarker.id)
    found = points.seen(features)
    closed = features["blendshapes"][:, points.BLINK].mean(axis=1, dtype=np.float64)
    every = np.arange(len(closed))
    filled = np.interp(every, every[found], closed[found])
    widest = BLINK_LONGEST * FPS
    peaks, shape = find_peaks(filled, prominence=BLINK_PROMINENCE, width=(0, widest), rel_height=0.5)
    extra = {"count": float(len(peaks)), "open": float(np.median(closed[found]))}
    if len(peaks):
        extra["seconds"] = float(np.median(shape["widths"])) / FPS
    minutes = found.sum() / FPS / 60
    track = np.where(found, closed, np.nan).astype(np.float32)
    return VideoReading(len(peaks) / minutes, int(found.sum()), len(found), extra, {"eyes closed": track})


def gaze(look: Look) -> VideoReading:
    """Spread of the gaze: root of the summed variances of its two directions, in units of the blendshapes.

    Left and right is the mean of both eyes' `eyeLookOut` and `eyeLookIn`, up and down that of `eyeLookUp` and
    `eyeLookDown`. Frames with closed eyes are left out. Extras: `sideways`, `upward` (standard deviations), `closed`
    (share of frames).
    """
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    shapes = features["blendshapes"].astype(np.float64)
    sees = found & (shapes[:, points.BLINK].mean(axis=1) < CLOSED)
    if sees.sum() < 2:
        raise ClipError("too_short", "the eyes are open in fewer than 2 frames")
    sideways = (shapes[:, points.LOOK_LEFT].sum(axis=1) - shapes[:, points.LOOK_RIGHT].sum(axis=1)) / 2
    upward = (shapes[:, points.LOOK_UP].sum(axis=1) - shapes[:, points.LOOK_DOWN].sum(axis=1)) / 2
    spread = np.array([sideways[sees].std(), upward[sees].std()])
    extra = {"sideways": spread[0], "upward": spread[1], "closed": 1 - sees.sum() / found.sum()}
    return VideoReading(float(np.hypot(*spread)), int(found.sum()), len(found), {k: float(v) for k, v in extra.items()})


def landmark_jerk(look: Look) -> VideoReading:
    """Mean length of the third difference of all points of the face, in eye distances a second cubed.

    Extra: `mouth`, the same of the 40 points of the lips.
    """
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    mesh = points.in_pixels(features)
    jerks = points.differences(mesh[:, points.FACE], found, 3) * (FPS**3 / points.eye_distance(mesh, found))
    extra = {"mouth": _length(jerks[:, points.LIPS])}
    return VideoReading(_length(jerks), int(found.sum()), len(found), extra)


def flicker(look: Look, inside: bool = False) -> VideoReading:
    """Mean absolute difference of consecutive grey pictures of 128 x 128, in levels of 255.

    Args:
        inside: False: outside what the face ever reaches in the clip (its outline grown 1.6-fold). True: inside its
            outline, after the picture before was moved onto this one by the affine motion of the mesh.

    Extra: `area`, the share of the picture that was looked at.
    """
    features, grey = look(FaceLandmarker.id), look(Pixels.id)["grey"]
    length = min(len(grey), len(features["found"]))
    found = points.seen(features)[:length]
    mesh = features["mesh"][:length, points.FACE].astype(np.float64) * SIDE
    if inside:
        return _inside(mesh, grey, found)
    free = ~np.any([_reached(face, REACH) for face in mesh[found]], axis=0)
    if free.mean() < LEAST_OUTSIDE:
        raise ClipError("few_pictures", f"the face reaches all but {free.mean():.0%} of the picture")
    change = points.differences(grey[:length].astype(np.float64), found)
    track = np.abs(change)[:, free].mean(axis=1)
    return VideoReading(float(track.mean()), int(found.sum()), length, {"area": float(free.mean())})


def _inside(mesh: np.ndarray, grey: np.ndarray, found: np.ndarray) -> VideoReading:
    both = np.flatnonzero(found[1:] & found[:-1])
    if not len(both):
        raise ClipError("too_short", "a face in 2 frames in a row is needed")
    rest, area = [], []
    for t in both:
        moved = cv2.warpAffine(grey[t].astype(np.float32), _affine(mesh[t], mesh[t + 1]), (SIDE, SIDE))
        face = _reached(mesh[t + 1], 1.0)
        rest.append(float(np.abs(moved - grey[t + 1])[face].mean()) if face.any() else 0.0)
        area.append(float(face.mean()))
    return VideoReading(float(np.mean(rest)), int(found.sum()), len(found), {"area": float(np.mean(area))})


def _affine(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(2, 3) affine map that carries (P, 2) points onto others with the least squared error."""
    return np.linalg.lstsq(np.column_stack([before, np.ones(len(before))]), after, rcond=None)[0].T


def _reached(face: np.ndarray, grown: float) -> np.ndarray:
    """(128, 128) bool: inside the outline of (P, 2) points, grown about their middle."""
    centre = face.mean(axis=0)
    outline = cv2.convexHull((centre + grown * (face - centre)).round().astype(np.int32))
    return cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), outline, 1).astype(bool)


def _length(steps: np.ndarray) -> float:
    return float(np.linalg.norm(steps, axis=-1).mean())


_MESH = (FaceLandmarker.id,)
_BOTH = (FaceLandmarker.id, Pixels.id)
_OURS = "floatbench; MediaPipe Face Landmarker"
_MEASURES: tuple[tuple[MetricInfo, Measure], ...] = (
    (
        described(
            "head-div", "HEAD-DIV", "How much the head turns", True,
            "mean over pitch, yaw, roll of the standard deviation over time, degrees", _MESH,
            "SadTalker (arXiv 2211.12194) and others report such a diversity of head motion, each with its own network",
        ),
        head_movement,
    ),
    (described("blinks", "BLINKS", "Blinks a minute", True,
          "peaks of eyeBlink with prominence 0.25 and at most 0.6 s, over minutes with a face", _MESH, _OURS), blinks),
    (described("gaze", "GAZE", "Spread of the gaze", True,
          "root of the summed variances of eyeLook sideways and upward, eyes open", _MESH, _OURS), gaze),
    (described("smooth", "JERK", "Jerk of the mesh", False,
          "mean over points and frames of |third difference| x 25^3 over the eye distance", _MESH, _OURS),
     landmark_jerk),
    (described("flicker", "FLICKER", "Flicker around the head", False,
          "mean |difference of consecutive grey 128 px pictures| outside the outlines of the face grown 1.6-fold",
          _BOTH, _OURS), flicker),
    (described("flicker-face", "FLICKER (face)", "Flicker of the face", False,
          "mean |picture - picture before, moved by the mesh's affine motion| inside the face, grey 128 px",
          _BOTH, _OURS), partial(flicker, inside=True)),
)  # fmt: skip


class ControlLeak(ClipMetric):
    """How much else changes when one direction of the motion is edited.

    `generated` is the edited video, `reference` the same method's video without the edit (`floatbench score` takes two
    such folders). Of each of 55 numbers (three angles, 52 blendshapes) the change is the difference of the means over
    time in units of the number's own spread over time in the unedited video, but at least `FLOOR` of its range.

    Args:
        info: the variant.
        aimed: the number that was to change: `pitch`, `yaw`, `roll` or a blendshape's index; without one the number
            that changed most.

    Extras: `aimed` (change of that number), `ratio` (leak over aimed).
    """

    FLOOR = (np.radians(0.5), 0.01)
    """Radians and blendshape units: what MediaPipe makes of a still picture after encoding trembles by about that."""

    def __init__(self, info: MetricInfo, aimed: str = "") -> None:
        self.info = info
        self._aimed = None if not aimed else ANGLES.index(aimed) if aimed in ANGLES else len(ANGLES) + int(aimed)

    def clip_value(self, pair: Pair) -> ClipValue:
        edited, plain = pair.generated(FaceLandmarker.id), pair.reference(FaceLandmarker.id)
        (now, found), (before, real) = (_numbers(side) for side in (edited, plain))
        floor = np.repeat(self.FLOOR, [len(ANGLES), before.shape[1] - len(ANGLES)])
        change = np.abs(now[found].mean(axis=0) - before[real].mean(axis=0))
        change /= np.maximum(before[real].std(axis=0), floor)
        aimed = int(change.argmax()) if self._aimed is None else self._aimed
        leak = float(np.delete(change, aimed).mean())
        extra = {"aimed": float(change[aimed])}
        if change[aimed] > 0:
            extra["ratio"] = leak / float(change[aimed])
        return ClipValue(leak, extra, {}, int(found.sum()), len(found))


def _numbers(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """(T, 55) angles and blendshapes, (T,) frames with a face."""
    both = np.concatenate([np.unwrap(features["rotation"], axis=0), features["blendshapes"]], axis=1)
    return both.astype(np.float64), points.seen(features)


_LEAK = described(
    "control-leak", "CONTROL-LEAK", "What else changes under one edited direction", False,
    "mean over the other angles and blendshapes of |change of the mean| over their own spread", _MESH,
    "floatbench; after FLOAT (arXiv 2412.01064), which edits head directions without numbers",
)  # fmt: skip
METRICS: dict[str, Callable[..., Metric]] = {
    variant: made for about, measure in _MEASURES for variant, made in with_twin(about, measure).items()
} | {_LEAK.id: partial(ControlLeak, _LEAK)}
