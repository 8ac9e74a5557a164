"""How a person moves during a clip: speech laid over an emotion, head motion, blinks and glances."""

from __future__ import annotations

import numpy as np

from floatbench.synthetic.expression import EMOTION_FACES, EXPRESSION
from floatbench.synthetic.phones import ARTICULATORS, Timeline, articulate
from floatbench.synthetic.voice import MANNERS

_SPREAD = np.array([0.15, 0.085, 0.055, 0.035, 0.025, 0.06])
_REST = np.array([0.14, 0.06, 0.04, 0.04, 0.03, 0.10])


def _wander(rng: np.random.Generator, times: np.ndarray, count: int) -> np.ndarray:
    """Slow smooth tracks (len(times), count) of about unit spread, made of sines between 0.1 and 1.1 Hz."""
    frequency = np.array([0.11, 0.23, 0.47, 0.83, 1.1])[:, None] * rng.uniform(0.85, 1.15, (5, count))
    size = np.array([0.9, 0.8, 0.5, 0.25, 0.14])[:, None] * rng.uniform(0.6, 1.3, (5, count))
    phase = rng.uniform(0, 2 * np.pi, (5, count))
    return (size * np.sin(2 * np.pi * frequency * times[:, None, None] + phase)).sum(1)


def pose_track(rng: np.random.Generator, times: np.ndarray, timeline: Timeline, emotion: str) -> np.ndarray:
    """Head pose (T, 6) float32 in the order of POSE; nods go with stressed phones."""
    energy = MANNERS[emotion].energy
    track = rng.standard_normal(6).clip(-1.5, 1.5) * _REST + _wander(rng, times, 6) * _SPREAD * (0.7 + 0.4 * energy)
    at = np.minimum(np.searchsorted(timeline.end, times, side="right"), len(timeline.phones) - 1)
    beat = np.convolve(np.pad((timeline.stress[at] == 1.0).astype(float), 3, mode="edge"), np.hanning(7) / 3, "valid")
    track[:, 1] -= 0.035 * energy * beat
    limit = np.array([0.55, 0.32, 0.25, 0.12, 0.09, 0.25])
    return (limit * np.tanh(track / limit)).astype(np.float32)


def _blinks(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    shut, now = np.zeros(len(times)), float(rng.uniform(0.4, 2.2))
    while now < times[-1] + 0.2:
        shut = np.maximum(shut, np.clip(1.35 - np.abs(times - now) / 0.085, 0, 1))
        now += float(rng.uniform(1.4, 4.2))
    return shut


def _glances(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """Gaze offsets (T, 2) that jump now and then."""
    track, now, here = np.zeros((len(times), 2)), 0.0, rng.standard_normal(2) * 0.15
    while now < times[-1] + 1:
        track[times >= now] = here
        now += float(rng.uniform(0.5, 1.8))
        here = rng.standard_normal(2) * (0.1 if rng.random() < 0.6 else 0.4)
    return track


def expression_track(
    rng: np.random.Generator, times: np.ndarray, timeline: Timeline, emotion: str, pose: np.ndarray
) -> np.ndarray:
    """Expression coefficients (T, len(EXPRESSION)) float32: the emotion's face, speech, blinks and gaze."""
    track = {name: np.zeros(len(times)) for name in EXPRESSION}
    strength = float(rng.uniform(0.65, 1.0)) * (1 + 0.14 * _wander(rng, times, 1)[:, 0])
    for name, value in EMOTION_FACES[emotion].items():
        track[name] += value * strength
    mouth = articulate(timeline, times, MANNERS[emotion].mouth)
    for name in ARTICULATORS:
        track[name] += mouth[name]
    track["lip_press"] = np.minimum(track["lip_press"], 1)
    track["smile"] *= 1 - 0.35 * mouth["lip_round"]
    at = np.minimum(np.searchsorted(timeline.end, times, side="right"), len(timeline.phones) - 1)
    accent = np.convolve(np.pad((timeline.stress[at] == 1.0).astype(float), 4, mode="edge"), np.hanning(9) / 4, "valid")
    track["brow_raise"] += 0.22 * accent * float(rng.random()) + 0.06 * np.maximum(_wander(rng, times, 1)[:, 0], 0)
    blink = _blinks(rng, times)
    track["lids"] += blink * (1 - track["lids"])
    gaze = _glances(rng, times)
    track["gaze_x"] = gaze[:, 0] - 1.1 * pose[:, 0]
    track["gaze_y"] = gaze[:, 1] - 1.1 * pose[:, 1] - 0.5 * blink
    signed = {"smile", "lip_width", "lids", "gaze_x", "gaze_y"}
    return np.stack([np.clip(track[n], -1 if n in signed else 0, 1) for n in EXPRESSION], -1).astype(np.float32)
