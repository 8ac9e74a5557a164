"""What changes in a video of half a minute and more that should not: the person, sharpness, colour, place, lips, sync.

Each measure follows one curve over the clip. Its value is the size of the curve's slope in a least-squares line, per
minute: 0 where nothing drifts, whatever the curve's level is. With sign it stands in the details (`slope`), beside the
mean of the first and of the last ten seconds and the same slope of the reference, since a person who comes nearer in
half a minute drifts as well. Clips of less than 30 s are refused: in them a head that turns once is a trend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics import face_points as points
from floatbench.metrics import syncnet, tiles
from floatbench.metrics.arcface import ArcFaceOnnx
from floatbench.metrics.avcorr import MAX_LAG, AudioEnvelope, jaw_signal, lagged_correlations
from floatbench.metrics.base import ClipValue, Metric, MetricInfo, Pair, Side
from floatbench.metrics.beside_reference import Look
from floatbench.metrics.clip import ClipMetric
from floatbench.metrics.csim import cosines
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.metrics.lse import block_judgements
from floatbench.metrics.theval import mouth_opening
from floatbench.metrics.tiles import PictureTiles
from floatbench.types import FPS, Features

LEAST_SECONDS = 30.0
ENDS_SECONDS = 10.0
"""What counts as the beginning and as the end of a clip."""
STRETCH = 75
"""Frames of one judgement of lips and sound."""
LONG_STRETCH = 250
"""Frames of one correlation of mouth and loudness: 3 s are too few for one."""


@dataclass(frozen=True)
class Curve:
    """What a measure follows over a clip.

    Attributes:
        seconds: (n,) when each number holds; values: (n, k) numbers, NaN where there is none; parts: their k names.
        pictures, frames: measured frames, and those that the clip has.
    """

    seconds: np.ndarray
    values: np.ndarray
    parts: tuple[str, ...]
    pictures: int
    frames: int


def slopes(seconds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(k,) slope per minute of the least-squares line through each of (n, k) curves; rows with NaN are left out."""
    known = np.isfinite(values).all(axis=1)
    minutes, curves = seconds[known] / 60, values[known]
    centred = minutes - minutes.mean()
    return centred @ (curves - curves.mean(axis=0)) / (centred @ centred)


def at_the_ends(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """(k,) means over the first and over the last ten seconds; raises ClipError where nothing was measured there."""
    known = np.isfinite(curve.values).all(axis=1)
    ends = []
    for name, part in (
        ("first", curve.seconds < ENDS_SECONDS),
        ("last", curve.seconds >= curve.frames / FPS - ENDS_SECONDS),
    ):
        if not (known & part).any():
            raise ClipError("few_pictures", f"nothing could be measured in the {name} ten seconds")
        ends.append(curve.values[known & part].mean(axis=0))
    return ends[0], ends[1]


Follow = Callable[[Look, Pair], Curve]


class Drift(ClipMetric):
    """How fast a curve drifts, per minute.

    Args:
        info: the variant. follow: the curve of one video. relative: slope as a share of the curve's mean.

    Extras of a clip: `slope` with its sign (of several parts `slope_PART`), `first`, `last` (means over ten seconds;
    of several parts their distance `moved`), `last_over_first` where the first is not 0, and `reference`, the same
    value of the reference, with `reference_slope`.
    """

    def __init__(self, info: MetricInfo, follow: Follow, relative: bool = False) -> None:
        self.info = info
        self._follow = follow
        self._relative = relative

    def clip_value(self, pair: Pair) -> ClipValue:
        curve = self._curve(pair, "generated")
        value, extra = self._reading(curve)
        try:
            real, other = self._reading(self._curve(pair, "reference"))
        except ClipError:  # what the clip does is known without it
            pass
        else:
            extra |= {"reference": real}
            extra |= {f"reference_{name}": number for name, number in other.items() if name.startswith("slope")}
        tracks = {name: curve.values[:, i].astype(np.float32) for i, name in enumerate(curve.parts)}
        return ClipValue(value, extra, tracks, curve.pictures, curve.frames)

    def _curve(self, pair: Pair, side: Side) -> Curve:
        look = pair.generated if side == "generated" else pair.reference
        curve = self._follow(look, pair)
        if curve.frames < LEAST_SECONDS * FPS:
            raise ClipError("too_short", f"{curve.frames / FPS:.1f} s; what drifts needs {LEAST_SECONDS:.0f} s")
        return curve

    def _reading(self, curve: Curve) -> tuple[float, dict[str, float]]:
        slope, (first, last) = slopes(curve.seconds, curve.values), at_the_ends(curve)
        if self._relative:
            level = np.nanmean(curve.values, axis=0)
            slope = np.divide(slope, level, out=np.zeros_like(slope), where=level > 0)
        if len(curve.parts) > 1:
            extra = {f"slope_{name}": float(part) for name, part in zip(curve.parts, slope, strict=True)}
            return float(np.linalg.norm(slope)), extra | {"moved": float(np.linalg.norm(last - first))}
        extra = {"slope": float(slope[0]), "first": float(first[0]), "last": float(last[0])}
        if first[0] > 0:
            extra["last_over_first"] = float(last[0] / first[0])
        return abs(float(slope[0])), extra


def likeness(look: Look, pair: Pair, backbone: str) -> Curve:
    """Cosine of each frame's identity embedding with the source picture's."""
    source = pair.source(backbone)
    if not source["found"][0]:
        raise ClipError("no_face", "no face in the source picture")
    features = look(backbone)
    found = features["found"].astype(bool)
    return _framewise(cosines(features["embeddings"], source["embeddings"][0]), found, ("csim",))


def sharpness(look: Look, pair: Pair, whole: bool = False) -> Curve:
    """Variance of the Laplacian inside the box of the face, or of the `whole` picture."""
    return _tilewise(look, whole, tiles.sharpness, ("sharpness",))


def colour(look: Look, pair: Pair, whole: bool = False) -> Curve:
    """Mean L*a*b* inside the box of the face, or of the `whole` picture."""
    return _tilewise(look, whole, tiles.colour, ("lightness", "green_red", "blue_yellow"))


def place(look: Look, pair: Pair) -> Curve:
    """Middle of the face's box, in eye distances of the clip."""
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    mesh = points.in_pixels(features)
    box = mesh[:, points.FACE]
    middle = (box.min(axis=1) + box.max(axis=1)) / 2 / points.eye_distance(mesh, found)
    return _framewise(middle, found, ("right", "down"))


def lips(look: Look, pair: Pair) -> Curve:
    """Standard deviation of the mouth's opening in stretches of 75 frames."""
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    opened = np.where(found, mouth_opening(features), np.nan)
    starts = _starts(len(opened), STRETCH)
    parts = [opened[start : start + STRETCH] for start in starts]
    values = [np.nanstd(part) if np.isfinite(part).sum() > 1 else np.nan for part in parts]
    return _stretched(starts, STRETCH, np.array(values), ("lips",), int(found.sum()), len(found))


def sync(look: Look, pair: Pair, backbones: tuple[str, str], part: str) -> Curve:
    """LSE-D (`distance`) or LSE-C (`confidence`) of SyncNet's stretches of 75 frames of the longest face track."""
    heard, seen = look(backbones[1]), look(backbones[0])
    judged = block_judgements(seen, heard, STRETCH)
    starts = int(seen["track"][0]) + STRETCH * np.arange(len(judged))
    values = np.array([getattr(one, part) for one in judged])
    return _stretched(starts, STRETCH, values, (part,), int(seen["track"][1]), int(seen["frames"][0]))


def tiny_sync(look: Look, pair: Pair, backbones: tuple[str, str], part: str) -> Curve:
    """The same of the small sync network, whose features are those of the whole clip."""
    seen, heard = look(backbones[0])["lips"], look(backbones[1])["sound"]
    frames = min(len(seen), len(heard)) + syncnet.FRAMES - 1
    starts = _starts(frames, STRETCH)
    windows = STRETCH - syncnet.LOST
    judged = [syncnet.judge(syncnet.distances(seen[s : s + windows], heard[s : s + windows])) for s in starts]
    values = np.array([getattr(one, part) for one in judged])
    return _stretched(starts, STRETCH, values, (part,), frames, frames)


def correlation(look: Look, pair: Pair) -> Curve:
    """Best correlation of jaw and loudness over the lags of -10..10 frames, in stretches of 10 s."""
    features, sound = look(FaceLandmarker.id), look(AudioEnvelope.id)["rms"]
    found, jaw = points.seen(features), jaw_signal(features)
    starts = _starts(min(len(jaw), len(sound)), LONG_STRETCH)
    values = np.full(len(starts), np.nan)
    for i, start in enumerate(starts):
        part = slice(start, start + LONG_STRETCH)
        r = lagged_correlations(jaw[part], sound[part], found[part], MAX_LAG)
        if not np.isnan(r).all():
            values[i] = np.nanmax(r)
    return _stretched(starts, LONG_STRETCH, values, ("r",), int(found.sum()), len(found))


def tiny_place(look: Look, pair: Pair) -> Curve:
    """Where the small network sees the head: its shift to the right and upward, in head units (2.2 a head)."""
    pose = look("tiny-frames")["pose"]
    return _framewise(pose[:, 3:5], np.ones(len(pose), bool), ("right", "up"))


def _framewise(values: np.ndarray, found: np.ndarray, parts: tuple[str, ...]) -> Curve:
    """A curve with one entry a frame from (T,) or (T, k) values; frames without a face have none."""
    curves = np.asarray(values, np.float64).reshape(len(found), -1)
    return Curve(np.arange(len(found)) / FPS, np.where(found[:, None], curves, np.nan), parts, int(found.sum()),
                 len(found))  # fmt: skip


def _starts(frames: int, length: int) -> np.ndarray:
    """First frames of as many stretches as fit, spread from the beginning to the end."""
    count = frames // length
    return np.linspace(0, frames - length, count).round().astype(int) if count else np.zeros(0, int)


def _stretched(
    starts: np.ndarray, length: int, values: np.ndarray, parts: tuple[str, ...], pictures: int, frames: int
) -> Curve:
    """A curve with one entry for each stretch of frames, at its middle."""
    return Curve((starts + length / 2) / FPS, values.reshape(len(starts), -1), parts, pictures, frames)


def _tilewise(
    look: Look, whole: bool, measure: Callable[[Features, np.ndarray], np.ndarray], parts: tuple[str, ...]
) -> Curve:
    features = look(PictureTiles.id)
    frames, rows = int(features["frames"][0]), len(features["lab"])
    boxes, pictures = np.tile([0.0, 0.0, 1.0, 1.0], (rows, 1)), frames
    found = np.ones(rows, bool)
    if not whole:
        face = look(FaceLandmarker.id)
        every, mesh = points.seen(face), face["mesh"][:: tiles.EVERY, points.FACE].astype(np.float64)
        boxes = np.concatenate([mesh.min(axis=1), mesh.max(axis=1)], axis=1)
        found, pictures = every[:: tiles.EVERY], int(every.sum())
    weights = tiles.shares(boxes)
    found = found & (weights.sum(axis=(1, 2)) > 0)
    values = measure(features, weights).reshape(rows, -1)
    seconds = np.arange(rows) * tiles.EVERY / FPS
    return Curve(seconds, np.where(found[:, None], values, np.nan), parts, pictures, frames)


_SOURCE = "floatbench; what users of long videos report"


def _info(
    name: str, what: str, title: str, formula: str, backbones: tuple[str, ...], *, source: str = _SOURCE,
    audio: bool = False, sides: tuple[Side, ...] = ("generated", "reference"), tiny: bool = False,
) -> MetricInfo:  # fmt: skip
    return MetricInfo(
        id=f"drift-{name}",
        column=f"DRIFT {what}",
        title=title + (" (small offline network)" if tiny else ""),
        higher_is_better=False,
        backbones=backbones,
        sides=sides,
        formula=f"|slope of the least-squares line| a minute of {formula}",
        source=source,
        parity="closed forms on made-up features",
        tiny=tiny,
        needs_audio=audio,
    )


_MESH = (FaceLandmarker.id,)
_ALL_SIDES: tuple[Side, ...] = ("generated", "reference", "source")
_SYNC = ("syncnet-lip", "syncnet-sound")
_TINY_SYNC = ("tiny-lips", "tiny-sound")
_COSINE = "the cosine with the source picture"
_SHARP, _LAB = "the variance of the Laplacian, over its mean", "the mean L*a*b*, Euclidean"
_FACE, _FRAME = "; box of the face", "; whole picture"


def _catalogue() -> dict[str, Callable[..., Metric]]:
    """Each variant: its description, the curve that it follows, whether relative."""
    face, stretches = (PictureTiles.id, *_MESH), f" in stretches of {STRETCH} frames"
    made: list[tuple[MetricInfo, Follow, bool]] = [
        (_info("csim", "CSIM", "Drift away from the source's identity", _COSINE, (ArcFaceOnnx.id,), sides=_ALL_SIDES),
         partial(likeness, backbone=ArcFaceOnnx.id), False),
        (_info("sharpness", "sharpness", "Drift of the face's sharpness", _SHARP + _FACE, face), sharpness, True),
        (_info("sharpness-frame", "sharpness (frame)", "Drift of the picture's sharpness", _SHARP + _FRAME, face[:1]),
         partial(sharpness, whole=True), True),
        (_info("colour", "colour", "Drift of the face's colour", _LAB + _FACE, face), colour, False),
        (_info("colour-frame", "colour (frame)", "Drift of the picture's colour", _LAB + _FRAME, face[:1]),
         partial(colour, whole=True), False),
        (_info("place", "place", "Drift of the face's place", "the middle of its box in eye distances", _MESH),
         place, False),
        (_info("lips", "lips", "Drift of how much the lips move",
               f"the deviation of the mouth's opening{stretches}, over its mean", _MESH), lips, True),
        (_info("lse-d", "LSE-D", "Drift of LSE-D", f"LSE-D{stretches}", _SYNC, audio=True),
         partial(sync, backbones=_SYNC, part="distance"), False),
        (_info("lse-c", "LSE-C", "Drift of LSE-C", f"LSE-C{stretches}", _SYNC, audio=True),
         partial(sync, backbones=_SYNC, part="confidence"), False),
        (_info("avcorr", "AVCORR", "Drift of the correlation of jaw and loudness",
               "the best r over the lags in stretches of 10 s", (*_MESH, AudioEnvelope.id), audio=True),
         correlation, False),
        (_info("csim-tiny", "CSIM", "Drift away from the source's identity", _COSINE, ("tiny-identity",),
               sides=_ALL_SIDES, tiny=True), partial(likeness, backbone="tiny-identity"), False),
        (_info("place-tiny", "place", "Drift of the head's place", "the head's shift in head units", ("tiny-frames",),
               tiny=True), tiny_place, False),
        (_info("lse-tiny-d", "LSE-D", "Drift of LSE-D", f"LSE-D{stretches}", _TINY_SYNC, audio=True, tiny=True),
         partial(tiny_sync, backbones=_TINY_SYNC, part="distance"), False),
        (_info("lse-tiny-c", "LSE-C", "Drift of LSE-C", f"LSE-C{stretches}", _TINY_SYNC, audio=True, tiny=True),
         partial(tiny_sync, backbones=_TINY_SYNC, part="confidence"), False),
    ]  # fmt: skip
    return {info.id: partial(Drift, info, follow, relative) for info, follow, relative in made}


METRICS: dict[str, Callable[..., Metric]] = _catalogue()
BACKBONES = {PictureTiles.id: PictureTiles}
