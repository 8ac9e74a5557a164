"""THEval's measures that need only a mesh, and two more that need voice activity (arXiv 2511.04520).

Each is implemented as the public code defines it, so that numbers can be compared, but with every frame and every clip
on its own: its trackers keep state from video to video, its lip synchronisation swaps colours, and clips that fail
vanish; here the mesh is found in each picture alone, in RGB, and a failure is counted.

Two of them depend on more than the motion: on the size of the face in the picture (`theval-lip-dynamics`) and on the
size of the picture (`theval-head-motion-mp`). They have a form of ours that is free of scale (`lip-dynamics`,
`head-motion`); and each has its `-gap`, see floatbench.metrics.beside_reference.

Not here: aesthetics, mouth and face quality (networks of a package that is no longer free), and head motion by
RetinaFace and FaceXFormer; `theval-head-motion-mp` is the same formula on MediaPipe's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from floatbench.errors import ClipError
from floatbench.metrics import face_points as points
from floatbench.metrics.base import Metric, MetricInfo
from floatbench.metrics.beside_reference import Look, Measure, VideoReading, described, with_twin
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.metrics.speech_activity import SpeechActivity, loudness, speaks
from floatbench.types import FPS, Features

SIDE = 256
"""Frames are squashed to this many pixels on both sides before lips are measured."""
SHORTEST_SILENCE = 0.3
LEAST_SPEECH = 0.1
"""Seconds of a pause that counts; share of the frames that must be speech."""
EYE_CORNERS = (33, 263)
RIGHT_CORNERS, LEFT_CORNERS = (33, 133), (362, 263)


def lip_dynamics(look: Look, scale_free: bool = False) -> VideoReading:
    """Mean over the 780 pairs of 40 lip points of the standard deviation of their distance over time.

    Args:
        scale_free: in eye distances of the picture as it is, instead of pixels of the frame squashed to 256 x 256.
    """
    from scipy.spatial.distance import pdist

    features = look(FaceLandmarker.id)
    if not scale_free and not features["found"].any():
        return VideoReading(0.0, len(features["found"]), len(features["found"]))  # as THEval counts a lost face
    found = points.seen(features)
    mesh = points.in_pixels(features) if scale_free else features["mesh"].astype(np.float64) * SIDE
    scale = points.eye_distance(mesh, found) if scale_free else 1.0
    apart = np.stack([pdist(lips) for lips in mesh[found][:, points.LIPS]])
    return VideoReading(float(apart.std(axis=0).mean()) / scale, int(found.sum()), len(found))


def head_motion(look: Look, scale_free: bool = False) -> VideoReading:
    """sqrt(s d + t) of the head's angles in degrees and the middle of the face's box.

    s is the mean of the three standard deviations, d the mean of the three variances of the one-frame differences, t
    the mean of the variances of the box's middle in pixels, or, `scale_free`, in hundredths of the eye distance.
    Extras: `turning` s d, `moving` t.
    """
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    degrees = np.degrees(np.unwrap(features["rotation"].astype(np.float64), axis=0))
    mesh = points.in_pixels(features)[:, points.FACE]
    centre = (mesh.min(axis=1) + mesh.max(axis=1)) / 2
    if scale_free:
        centre = centre * 100 / points.eye_distance(points.in_pixels(features), found)
    turning = degrees[found].std(axis=0).mean() * points.differences(degrees, found).var(axis=0).mean()
    moving = centre[found].var(axis=0).mean()
    extra = {"turning": float(turning), "moving": float(moving)}
    return VideoReading(float(np.sqrt(turning + moving)), int(found.sum()), len(found), extra)


def brows(look: Look) -> VideoReading:
    """Mean over both sides of abs(one-frame difference) of brow to eye over the distance of the eyes."""
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    mesh = points.in_pixels(features)
    eyes = [points.middle(mesh, which) for which in (points.RIGHT_EYE, points.LEFT_EYE)]
    lifted = [points.middle(mesh, which) for which in (points.RIGHT_BROW, points.LEFT_BROW)]
    width = np.maximum(np.linalg.norm(eyes[0] - eyes[1], axis=1), 1e-9)
    raised = np.stack([np.linalg.norm(b - e, axis=1) / width for b, e in zip(lifted, eyes, strict=True)], axis=1)
    steps = np.abs(points.differences(raised, found))
    track = np.where(found, raised.mean(axis=1), np.nan).astype(np.float32)
    return VideoReading(float(steps.mean()), int(found.sum()), len(found), {}, {"brows": track})


def silent_lips(look: Look) -> VideoReading:
    """Median of abs(gap - mean gap) in the pauses of speech, in eye widths of the frame squashed to 256 x 256.

    The gap of a frame is the mean over eight pairs of inner lip points of abs(difference of y). Pauses of at least
    0.3 s count. Extra: `frames` in pauses.
    """
    features = look(FaceLandmarker.id)
    found = points.seen(features)
    quiet = _long_runs(~speaks(look(SpeechActivity.id), len(found)), SHORTEST_SILENCE) & found
    if quiet.sum() < 2:
        raise ClipError("too_short", f"{int(quiet.sum())} frames in pauses of at least 0.3 s")
    mesh = features["mesh"].astype(np.float64) * SIDE
    heights = np.abs(mesh[:, points.INNER_UPPER, 1] - mesh[:, points.INNER_LOWER, 1]).mean(axis=1)
    eyes = np.linalg.norm(mesh[:, EYE_CORNERS[0]] - mesh[:, EYE_CORNERS[1]], axis=1)
    gap = (heights / np.maximum(eyes, 1e-9))[quiet]
    value = float(np.median(np.abs(gap - gap.mean())))
    return VideoReading(value, int(found.sum()), len(found), {"frames": float(quiet.sum())})


def lipsync(look: Look) -> VideoReading:
    """Mean abs(openness - loudness) on frames of speech, both scaled from their least to their greatest value there.

    It compares two curves without regard to their shape: another clip's sound scores nearly as well, so that no
    ranking by it says who is in time. Extra: `frames` of speech.
    """
    features, sound = look(FaceLandmarker.id), look(SpeechActivity.id)
    found = points.seen(features)
    speech = speaks(sound, len(found))
    if speech.mean() < LEAST_SPEECH:
        raise ClipError("too_short", f"speech in {int(speech.sum())} of {len(found)} frames, 10% are needed")
    use = speech & found
    opened, loud = mouth_opening(features), loudness(sound, len(found))
    tracks = {"mouth": np.where(found, opened, np.nan).astype(np.float32), "loudness": loud.astype(np.float32)}
    distance = apart(opened, loud, use)
    return VideoReading(distance, int(found.sum()), len(found), {"frames": float(use.sum())}, tracks)


def apart(opened: np.ndarray, loud: np.ndarray, use: np.ndarray) -> float:
    """Mean abs(opening - loudness), (T,) both, on the frames to use, each scaled from 0 to 1 there.

    Raises ClipError `too_short` below 2 frames.
    """
    if use.sum() < 2:
        raise ClipError("too_short", f"speech in {int(use.sum())} frames with a face, 2 are needed")
    return float(np.abs(_scaled(opened[use]) - _scaled(loud[use])).mean())


def mouth_opening(features: Features) -> np.ndarray:
    """(T,) gap of the middles of the inner lips over the sideways distance of the eyes."""
    mesh = features["mesh"].astype(np.float64)
    heights = np.abs(mesh[:, points.INNER_UPPER, 1].mean(axis=1) - mesh[:, points.INNER_LOWER, 1].mean(axis=1))
    widths = np.abs(mesh[:, RIGHT_CORNERS, 0].mean(axis=1) - mesh[:, LEFT_CORNERS, 0].mean(axis=1))
    return heights / np.maximum(widths, 1e-9)


def _long_runs(chosen: np.ndarray, seconds: float) -> np.ndarray:
    """(T,) bool: what is left of `chosen` when runs shorter than that are dropped."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(int)))
    kept = np.zeros(len(chosen), bool)
    for start, end in edges.reshape(-1, 2):
        kept[start:end] = (end - start) / FPS >= seconds
    return kept


def _scaled(values: np.ndarray) -> np.ndarray:
    """From 0 to 1; a curve that does not vary is 0 throughout."""
    return (values - values.min()) / (np.ptp(values) + 1e-8)


_SOURCE = "THEval (arXiv 2511.04520)"
_OURS = "floatbench; after THEval (arXiv 2511.04520)"
_MESH = (FaceLandmarker.id,)
_SOUND = (FaceLandmarker.id, SpeechActivity.id)
_MEASURES: tuple[tuple[MetricInfo, Measure], ...] = (
    (described("theval-lip-dynamics", "THEval lips", "How much the lips move", True,
               "mean over 780 pairs of lip points of the deviation of their distance, frame squashed to 256 x 256; "
               "grows with the size of the face in the picture", _MESH, _SOURCE), lip_dynamics),
    (described("lip-dynamics", "LIPS", "How much the lips move, free of scale", True,
               "mean over 780 pairs of lip points of the deviation of their distance, in eye distances", _MESH, _OURS),
     partial(lip_dynamics, scale_free=True)),
    (described("theval-head-motion-mp", "THEval head (MediaPipe)", "Head motion of MediaPipe's matrix and box", True,
               "sqrt(s d + t): deviations of the angles times variance of their steps, plus variance of the box's "
               "middle in pixels; grows with the size of the picture", _MESH, _SOURCE), head_motion),
    (described("head-motion", "HEAD", "Head motion, free of scale", True,
               "sqrt(s d + t) with the middle of the box in hundredths of the eye distance", _MESH, _OURS),
     partial(head_motion, scale_free=True)),
    (described("theval-brows", "THEval brows", "How much the brows move", True,
               "mean over sides and steps of |difference of (brow to eye) / (eye to eye)|", _MESH, _SOURCE), brows),
    (described("theval-silent-lips", "THEval silent lips", "How much the lips move in pauses", False,
               "median of |gap of the inner lips - its mean| in pauses of at least 0.3 s, over the width of the eyes",
               _SOUND, _SOURCE), silent_lips),
    (described("theval-lipsync", "THEval lip-sync", "Opening of the mouth against loudness", False,
               "mean |opening - loudness| on frames of speech, both scaled to 0..1", _SOUND, _SOURCE), lipsync),
)  # fmt: skip
METRICS: dict[str, Callable[..., Metric]] = {
    variant: made for about, measure in _MEASURES for variant, made in with_twin(about, measure).items()
}
BACKBONES = {SpeechActivity.id: SpeechActivity}
