"""The voice: pulses and hiss through moving formants (source and filter), 16 kHz, driven by the phone timeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from floatbench.synthetic.identity import Identity
from floatbench.synthetic.phones import INVENTORY, PHONES, Timeline, articulate, formant_tracks
from floatbench.types import SAMPLE_RATE

_HOP = 80  # 5 ms between two filter shapes
_WINDOW = 320
_FFT = 512
_BLOCK = 1024  # windows whose spectra are held at a time
_CHUNK = 1 << 18  # samples that are drawn or counted at a time


@dataclass(frozen=True)
class Manner:
    """How an emotion speaks: speed, pitch and its range, loudness and mouth opening, all relative to neutral speech."""

    rate: float
    pitch: float
    melody: float
    energy: float
    mouth: float


MANNERS = {
    "angry": Manner(1.12, 1.15, 1.4, 1.5, 1.12),
    "disgust": Manner(0.92, 0.93, 1.0, 0.9, 0.92),
    "fear": Manner(1.18, 1.32, 0.8, 0.85, 0.9),
    "happy": Manner(1.08, 1.2, 1.5, 1.2, 1.05),
    "neutral": Manner(1.0, 1.0, 1.0, 1.0, 1.0),
    "sad": Manner(0.82, 0.88, 0.55, 0.6, 0.78),
    "surprise": Manner(1.04, 1.3, 1.7, 1.2, 1.12),
}


def _smooth(track: np.ndarray, width: int) -> np.ndarray:
    """Moving average over 2 * width + 1 hops along the last axis, edges repeated."""
    padded = np.pad(track, [(0, 0)] * (track.ndim - 1) + [(width, width)], mode="edge")
    total = np.cumsum(np.pad(padded, [(0, 0)] * (track.ndim - 1) + [(1, 0)]), -1)
    return (total[..., 2 * width + 1 :] - total[..., : -2 * width - 1]) / (2 * width + 1)


def loudness(timeline: Timeline, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitudes of voice and hiss at the given times, before smoothing; stops are silent, then burst."""
    at = np.minimum(np.searchsorted(timeline.end, times, side="right"), len(timeline.phones) - 1)
    voiced, noise = np.zeros(len(times)), np.zeros(len(times))
    for i in np.unique(at):
        phone, here = INVENTORY[PHONES[timeline.phones[i]]], at == i
        weight = 0.6 + 0.4 * timeline.stress[i]
        left = timeline.end[i] - times[here]
        voiced[here] = phone.voiced * weight
        noise[here] = phone.noise * weight * ((left < 0.022) if phone.stop else 1.0)
    return voiced, noise


def pitch_track(
    timeline: Timeline, times: np.ndarray, person: Identity, manner: Manner, rng: np.random.Generator
) -> np.ndarray:
    """Fundamental frequency (hertz) at the given times: declination, accents on stressed phones, slow wander."""
    base = 150.0 * 2 ** (0.62 * person["voice_pitch"]) * manner.pitch
    at = np.minimum(np.searchsorted(timeline.end, times, side="right"), len(timeline.phones) - 1)
    accent = _smooth((timeline.stress[at] == 1.0).astype(float), 14)
    wander = sum(np.sin(2 * np.pi * (f * times + rng.random())) / (i + 1) for i, f in enumerate((0.31, 0.73, 1.6)))
    semitones = manner.melody * (2.6 * accent + 0.9 * wander - 0.7 * (times % 2.2))
    return base * 2 ** (semitones / 12)


def _envelopes(formants: np.ndarray, frequency: np.ndarray) -> np.ndarray:
    """Magnitude of three moving and two fixed resonances, (hops, bins)."""
    fixed = np.array([[3500.0], [4600.0]]) * np.ones(formants.shape[1])
    centres = np.concatenate([formants, fixed])
    widths = (70.0, 95.0, 140.0, 220.0, 300.0)
    shape = np.ones((formants.shape[1], len(frequency)))
    for centre, width in zip(centres, widths, strict=True):
        c = centre[:, None]
        shape *= c * c / np.sqrt((frequency**2 - c * c) ** 2 + (frequency * width) ** 2 + 1.0)
    return shape


def _noise_shape(timeline: Timeline, times: np.ndarray, frequency: np.ndarray, formant_shape: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(timeline.end, times, side="right"), len(timeline.phones) - 1)
    shape = np.zeros((len(times), len(frequency)))
    for i in np.unique(at):
        phone, here = INVENTORY[PHONES[timeline.phones[i]]], at == i
        centre, width = phone.band
        shape[here] = np.exp(-(((frequency - centre) / width) ** 2)) if width else 0.25 * formant_shape[here]
    return shape


def synthesise(
    timeline: Timeline, person: Identity, emotion: str, smile: float, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """The sound of a timeline, (samples,) int16 at 16 kHz.

    Spectra are held for `_BLOCK` windows at a time, so that ten minutes take the memory of a few copies of the sound.

    Args:
        smile: mean smile of the clip; spread lips shorten the tract and raise the formants a little.
        rng: hiss, pitch wander and phases.
    """
    manner = MANNERS[emotion]
    hops = samples // _HOP + 2
    times = np.arange(hops) * _HOP / SAMPLE_RATE
    tract = 1 + 0.13 * -person["voice_tract"] + 0.03 * smile
    formants = formant_tracks(timeline, times) * tract
    mouth = articulate(timeline, times, manner.mouth)
    formants[0] *= 1 + 0.25 * (mouth["jaw"] - 0.4)
    formants[1] *= 1 - 0.12 * mouth["lip_round"] + 0.05 * mouth["lip_width"]
    pitch = pitch_track(timeline, times, person, manner, rng)
    voiced, hiss = loudness(timeline, times)
    length = (hops - 1) * _HOP + _WINDOW
    source = 0.03 * rng.standard_normal(length)  # breath
    _add_pulses(source, pitch)
    white = rng.standard_normal(length)
    voice_level = _smooth(voiced, 2) * np.sqrt(150 / pitch)
    sound = _filtered(source, white, formants, voice_level, 0.05 * _smooth(hiss, 1), timeline)
    del source, white
    sound = sound[_WINDOW // 2 : _WINDOW // 2 + samples]  # a window's middle is its time
    level = 0.085 * manner.energy / (np.sqrt(np.mean(sound**2)) + 1e-9)
    return _recorded(sound, level, rng)


def _add_pulses(source: np.ndarray, pitch: np.ndarray) -> None:
    """Adds one pulse for each whole cycle of the pitch, which is given for every hop."""
    hops, cycles = np.arange(len(pitch)) * _HOP, 0.0
    for start in range(0, len(source), _CHUNK):
        at = np.arange(start, min(start + _CHUNK, len(source)))
        steps = np.interp(at, hops, pitch)
        steps[0] += cycles
        count = np.cumsum(steps)
        source[at] += np.diff(np.floor(count / SAMPLE_RATE), prepend=np.floor(cycles / SAMPLE_RATE))
        cycles = count[-1]


def _filtered(
    source: np.ndarray, white: np.ndarray, formants: np.ndarray, voice: np.ndarray, hiss: np.ndarray, timeline: Timeline
) -> np.ndarray:
    """Voice and hiss through their moving filters: windows of 20 ms, overlapped and added."""
    frequency = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    tilt = frequency / (frequency + 80) / (1 + (frequency / 420) ** 1.15)
    window = np.hanning(_WINDOW + 1)[:-1]
    hops = len(voice)
    sound, tail = np.zeros((hops + 1, _HOP)), np.zeros((_FFT // _HOP, _FFT))
    for start in range(0, hops, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, hops))
        shape = _envelopes(formants[:, block], frequency)
        noise_shape = _noise_shape(timeline, block * _HOP / SAMPLE_RATE, frequency, shape)
        index = block[:, None] * _HOP + np.arange(_WINDOW)
        spectrum = np.fft.rfft(source[index] * window, _FFT) * (voice[block, None] * shape * tilt)
        spectrum += np.fft.rfft(white[index] * window, _FFT) * (hiss[block, None] * noise_shape)
        parts = np.concatenate([tail, np.fft.irfft(spectrum, _FFT)])
        _overlap_add(parts, sound[block[0] : block[-1] + 1])
        tail = parts[-len(tail) :]
    _overlap_add(np.concatenate([tail, np.zeros((1, _FFT))]), sound[hops:])
    return sound.ravel()


def _overlap_add(parts: np.ndarray, sound: np.ndarray) -> None:
    """Adds to each hop of `sound` (hops, 80) its window's response, then those before it, `parts` (6 + hops, 512)."""
    earlier = len(parts) - len(sound)
    for back in range(earlier + 1):
        piece = parts[earlier - back : len(parts) - back, back * _HOP : (back + 1) * _HOP]
        sound[:, : piece.shape[1]] += piece


def _recorded(sound: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """The sound at its level, softly limited, in a quiet room: int16."""
    found = np.empty(len(sound), np.int16)
    for start in range(0, len(sound), _CHUNK):
        piece = sound[start : start + _CHUNK]
        room = 0.0006 * rng.standard_normal(len(piece))
        loud = np.round((np.tanh(piece * level * 1.1) * 0.9 + room) * 32767)
        found[start : start + _CHUNK] = np.clip(loud, -32768, 32767)
    return found
