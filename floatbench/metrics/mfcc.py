"""MFCC as SyncNet was trained with: python_speech_features 0.6 with its defaults, in NumPy.

Source: the defaults of `python_speech_features.mfcc`: 25 ms windows every 10 ms, rectangular, 26 mel filters, 13
coefficients, the first replaced by the log energy.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from floatbench.types import SAMPLE_RATE

WINDOW = 400
STEP = 160
FFT = 512
FILTERS = 26
COEFFICIENTS = 13
PREEMPHASIS = 0.97
LIFTER = 22
EPSILON = float(np.finfo(float).eps)


def frame_count(samples: int) -> int:
    """Windows of a sound: 1 + ceil((samples - 400) / 160), at least 1; the last is padded with zeros."""
    return 1 if samples <= WINDOW else 1 + -(-(samples - WINDOW) // STEP)


@cache
def mel_filters() -> np.ndarray:
    """(26, 257) triangles between 28 points equally spaced in mel from 0 to 8000 Hz, rounded down to FFT bins."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    edges = np.floor((FFT + 1) * hertz / SAMPLE_RATE).astype(int)
    bank = np.zeros((FILTERS, FFT // 2 + 1))
    for row, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rising, falling = np.arange(low, middle), np.arange(middle, high)
        bank[row, rising] = (rising - low) / (middle - low)
        bank[row, falling] = (high - falling) / (high - middle)
    return bank


def preemphasis(audio: np.ndarray) -> np.ndarray:
    """x[n] - 0.97 x[n-1]; the first sample stays."""
    audio = np.asarray(audio)
    return np.append(audio[:1], audio[1:] - PREEMPHASIS * audio[:-1])


def windows(signal: np.ndarray) -> np.ndarray:
    """(N, 400) windows of a (samples,) signal, the last padded with zeros."""
    count = frame_count(len(signal))
    padded = np.concatenate([signal, np.zeros((count - 1) * STEP + WINDOW - len(signal))])
    return np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::STEP]


def coefficients(frames: np.ndarray) -> np.ndarray:
    """(N, 400) pre-emphasised windows -> (N, 13) float64."""
    from scipy.fft import dct

    power = np.abs(np.fft.rfft(frames, FFT)) ** 2 / FFT
    energy = power.sum(axis=1)
    mel = power @ mel_filters().T
    logs = np.log(np.where(mel == 0, EPSILON, mel))
    cepstra = np.asarray(dct(logs, type=2, axis=1, norm="ortho"))[:, :COEFFICIENTS]
    cepstra = cepstra * (1 + LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / LIFTER))
    cepstra[:, 0] = np.log(np.where(energy == 0, EPSILON, energy))
    return cepstra


def mfcc(audio: np.ndarray) -> np.ndarray:
    """(samples,) int16 sound at 16 kHz -> (N, 13) float64; 100 rows a second.

    The samples enter as integers: sound in [-1, 1] would shift the first coefficient by -20.794.
    """
    return coefficients(windows(preemphasis(audio)))
