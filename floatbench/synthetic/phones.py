"""A small language: phones with their sound and their mouth, words made of them, and the timeline of one clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

ARTICULATORS = ("jaw", "lip_width", "lip_round", "lip_press", "lip_bite", "tongue")
"""The expression coefficients that speech moves."""


@dataclass(frozen=True)
class Phone:
    """One speech sound.

    Attributes:
        formants: first three resonances in hertz of a voice of average length.
        voiced, noise: amplitudes of the voice and of the hiss, 0 .. 1.
        band: centre and width in hertz of the hiss; (0, 0) shapes it by the formants (h).
        ms: mean length.
        mouth: targets of the articulators; those that are absent go along with the neighbours.
        vowel: true for the nucleus of a syllable.
        stop: the sound is shut off, then bursts.
    """

    formants: tuple[float, float, float]
    voiced: float
    noise: float = 0.0
    band: tuple[float, float] = (0.0, 0.0)
    ms: float = 90.0
    mouth: dict[str, float] = field(default_factory=dict)
    vowel: bool = False
    stop: bool = False


def _vowel(f1: float, f2: float, f3: float, jaw: float, width: float, rounded: float, ms: float = 125.0) -> Phone:
    mouth = {"jaw": jaw, "lip_width": width, "lip_round": rounded, "lip_press": 0.0, "lip_bite": 0.0, "tongue": 0.15}
    return Phone((f1, f2, f3), 1.0, ms=ms, mouth=mouth, vowel=True)


INVENTORY: dict[str, Phone] = {
    "_": Phone((500, 1500, 2500), 0.0, ms=160, mouth=dict.fromkeys(ARTICULATORS, 0.0)),
    "a": _vowel(780, 1300, 2550, 0.95, 0.1, 0.0, 140),
    "ae": _vowel(690, 1750, 2450, 0.78, 0.45, 0.0, 135),
    "e": _vowel(500, 1900, 2600, 0.45, 0.5, 0.0),
    "i": _vowel(285, 2300, 3050, 0.16, 0.9, 0.0),
    "o": _vowel(480, 880, 2450, 0.5, -0.3, 0.75),
    "u": _vowel(310, 740, 2250, 0.16, -0.5, 1.0),
    "@": _vowel(530, 1450, 2500, 0.36, 0.05, 0.05, 85),
    "m": Phone((250, 1050, 2150), 0.45, ms=80, mouth={"lip_press": 1.0, "jaw": 0.08, "lip_bite": 0.0}),
    "n": Phone((280, 1650, 2600), 0.45, ms=70, mouth={"tongue": 0.9, "jaw": 0.22, "lip_press": 0.0}),
    "l": Phone((360, 1250, 2750), 0.65, ms=65, mouth={"tongue": 1.0, "jaw": 0.36, "lip_press": 0.0}),
    "r": Phone((380, 1150, 1650), 0.65, ms=70, mouth={"lip_round": 0.45, "jaw": 0.28, "lip_press": 0.0}),
    "w": Phone(
        (300, 650, 2200), 0.6, ms=75, mouth={"lip_round": 1.0, "jaw": 0.14, "lip_width": -0.4, "lip_press": 0.0}
    ),
    "j": Phone((280, 2250, 3000), 0.6, ms=65, mouth={"lip_width": 0.7, "jaw": 0.16, "lip_press": 0.0}),
    "p": Phone((350, 950, 2200), 0.0, 0.55, (900, 900), 90, {"lip_press": 1.0, "jaw": 0.06}, stop=True),
    "b": Phone((300, 950, 2200), 0.12, 0.4, (800, 800), 80, {"lip_press": 1.0, "jaw": 0.06}, stop=True),
    "t": Phone((350, 1750, 2700), 0.0, 0.7, (4300, 2200), 85, {"tongue": 0.9, "jaw": 0.15}, stop=True),
    "d": Phone((320, 1700, 2700), 0.12, 0.5, (3800, 2200), 75, {"tongue": 0.9, "jaw": 0.18}, stop=True),
    "k": Phone((350, 1600, 2300), 0.0, 0.65, (1900, 900), 90, {"jaw": 0.28, "lip_press": 0.0}, stop=True),
    "g": Phone((320, 1500, 2300), 0.12, 0.45, (1800, 900), 80, {"jaw": 0.28, "lip_press": 0.0}, stop=True),
    "s": Phone((350, 1700, 2600), 0.0, 0.55, (6200, 1800), 105, {"jaw": 0.06, "lip_width": 0.45, "lip_press": 0.0}),
    "z": Phone((320, 1700, 2600), 0.4, 0.35, (6000, 1800), 90, {"jaw": 0.07, "lip_width": 0.4, "lip_press": 0.0}),
    "sh": Phone((350, 1700, 2400), 0.0, 0.6, (3200, 1400), 110, {"jaw": 0.12, "lip_round": 0.7, "lip_press": 0.0}),
    "f": Phone((350, 1200, 2400), 0.0, 0.28, (5200, 5000), 95, {"lip_bite": 1.0, "jaw": 0.1, "lip_press": 0.0}),
    "v": Phone((300, 1200, 2400), 0.45, 0.16, (4800, 5000), 80, {"lip_bite": 1.0, "jaw": 0.1, "lip_press": 0.0}),
    "h": Phone((520, 1500, 2500), 0.0, 0.3, (0, 0), 65, {"lip_press": 0.0}),
}
PHONES = tuple(INVENTORY)
"""Phone numbers of the truth arrays are positions in this tuple; 0 is the pause."""
_VOWELS = tuple(name for name, phone in INVENTORY.items() if phone.vowel)
_ONSETS = tuple(name for name, phone in INVENTORY.items() if not phone.vowel and name != "_")
_CODAS = ("m", "n", "l", "s", "t", "k", "f", "z", "p")


@dataclass(frozen=True)
class Timeline:
    """The phones of one clip.

    Attributes:
        phones: (P,) int, positions in PHONES.
        start, end: (P,) seconds; the last end lies at or behind the clip's end.
        stress: (P,) 0 .. 1, how strongly the phone is spoken.
    """

    phones: np.ndarray
    start: np.ndarray
    end: np.ndarray
    stress: np.ndarray


def speak(rng: np.random.Generator, seconds: float, rate: float) -> Timeline:
    """A random utterance: words of one to three syllables, pauses between phrases, a short silence at the beginning.

    Args:
        seconds: the clip's length.
        rate: speed of speech, 1 is normal.
    """
    names, lengths, stress = ["_"], [float(rng.uniform(0.06, 0.16))], [0.0]
    now, words_left = lengths[0], int(rng.integers(2, 6))
    while now < seconds:
        word: list[tuple[str, float]] = []
        syllables = int(rng.choice([1, 2, 3], p=[0.4, 0.42, 0.18]))
        strong = int(rng.integers(syllables))
        for k in range(syllables):
            weight = 1.0 if k == strong else 0.55
            if rng.random() < 0.85:
                word.append((str(rng.choice(_ONSETS)), weight))
            weak = k != strong and rng.random() < 0.4
            word.append(("@" if weak else str(rng.choice(_VOWELS[:-1])), weight))
            if rng.random() < 0.35:
                word.append((str(rng.choice(_CODAS)), weight))
        words_left -= 1
        if words_left == 0:
            word.append(("_", 0.0))
            words_left = int(rng.integers(2, 6))
        for name, weight in word:
            phone = INVENTORY[name]
            length = phone.ms / 1000 * float(rng.uniform(0.8, 1.25)) / rate
            length *= 1.25 if phone.vowel and weight == 1.0 else 1.0
            length = length + 0.12 * float(rng.random()) if name == "_" else length
            names.append(name)
            lengths.append(length)
            stress.append(weight)
            now += length
    end = np.cumsum(lengths)
    return Timeline(np.array([PHONES.index(n) for n in names]), end - lengths, end, np.array(stress))


def phone_at(timeline: Timeline, times: np.ndarray) -> np.ndarray:
    """Number of the phone that sounds at each time (seconds), (len(times),) int16."""
    at = np.searchsorted(timeline.end, times, side="right")
    return timeline.phones[np.minimum(at, len(timeline.phones) - 1)].astype(np.int16)


_REACH = {"jaw": 0.055, "lip_width": 0.075, "lip_round": 0.085, "lip_press": 0.032, "lip_bite": 0.04, "tongue": 0.045}
"""How far in seconds a phone's target reaches over its neighbours (co-articulation)."""


_PAIRS = 1 << 20
"""Pairs of phone and time that are weighed at a time: 8 MB an array, so that memory does not grow with the square of
the length."""


_FAR = 3.0
"""Seconds beyond which a phone's pull is lost in the last digit of `_FLOOR`."""
_FLOOR = 1e-9
"""What every phone pulls with at any time, so that the mean is defined in silence."""


def _stretches(timeline: Timeline, times: np.ndarray) -> list[np.ndarray]:
    """The times in about equal stretches, none of a single time, whose sum NumPy would make in another order."""
    pairs = len(timeline.phones) * len(times)
    return np.array_split(times, min(-(-pairs // _PAIRS), max(len(times) // 2, 1)))


def _near(timeline: Timeline, times: np.ndarray) -> tuple[slice, np.ndarray]:
    """The phones within `_FAR` of the times, and the seconds from each of them to each time; 0 while it sounds."""
    first = int(np.searchsorted(timeline.end, times.min() - _FAR))
    near = slice(first, int(np.searchsorted(timeline.start, times.max() + _FAR, side="right")))
    before, behind = timeline.start[near, None] - times, times - timeline.end[near, None]
    return near, np.maximum(before, 0) + np.maximum(behind, 0)


def _pulls(timeline: Timeline, name: str, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """How much each phone cares for an articulator, and where it wants it, (P,) each."""
    cares, target = np.zeros(len(timeline.phones)), np.zeros(len(timeline.phones))
    for i, number in enumerate(timeline.phones):
        phone = INVENTORY[PHONES[number]]
        if name in phone.mouth:
            firm = name in ("lip_press", "lip_bite") and phone.mouth[name] > 0.5
            cares[i] = 6.0 if firm else (1.0 if phone.vowel else 1.6)
            emphasis = 0.72 + 0.28 * timeline.stress[i] if phone.vowel else 1.0
            target[i] = phone.mouth[name] * (emphasis * strength if name != "lip_press" else 1.0)
    return cares, target


def articulate(timeline: Timeline, times: np.ndarray, strength: float) -> dict[str, np.ndarray]:
    """Articulator tracks at the given times, 0 .. 1 (width -1 .. 1).

    Every phone that cares for an articulator pulls it to its target with a weight that falls off exponentially outside
    the phone (dominance functions after Cohen and Massaro, 1993); `strength` scales the vowels' jaw and lips.
    """
    pulls = {name: _pulls(timeline, name, strength) for name in ARTICULATORS}
    middle, lasts = 0.5 * (timeline.start + timeline.end), timeline.end - timeline.start
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ARTICULATORS}
    for stretch in _stretches(timeline, times):
        near, outside = _near(timeline, stretch)
        centre = np.abs(stretch - middle[near, None]) / lasts[near, None]
        for name, (cares, target) in pulls.items():
            falls = np.exp(-((outside / _REACH[name]) ** 1.2))
            weight = np.full((len(target), len(stretch)), _FLOOR)
            weight[near] += cares[near, None] * falls * (1.2 - 0.4 * np.minimum(centre, 1))
            track = (weight * target[:, None]).sum(0) / weight.sum(0)
            parts[name].append(np.clip(track, -1 if name == "lip_width" else 0, 1))
    return {name: np.concatenate(found) for name, found in parts.items()}


def formant_tracks(timeline: Timeline, times: np.ndarray) -> np.ndarray:
    """First three formants (3, len(times)) in hertz, gliding between the phones; pauses take no part."""
    targets = np.array([INVENTORY[PHONES[n]].formants for n in timeline.phones]).T
    loud = np.where(timeline.phones == 0, 1e-4, 1.0)[:, None]
    parts = []
    for stretch in _stretches(timeline, times):
        near, outside = _near(timeline, stretch)
        weight = np.full((len(loud), len(stretch)), _FLOOR)
        weight[near] += loud[near] * np.exp(-outside / 0.022)
        parts.append((targets[:, :, None] * weight).sum(1) / weight.sum(0))
    return np.concatenate(parts, 1)
