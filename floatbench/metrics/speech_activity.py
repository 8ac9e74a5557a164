"""Where somebody speaks: Silero's voice activity network on the sound, with loudness in blocks of 50 ms.

The network is the ONNX file for 16 kHz inside the MIT wheel `silero-vad`; it keeps a state from chunk to chunk, which
starts anew with every clip, so that no clip depends on the one before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from floatbench.metrics.avcorr import require_sound
from floatbench.metrics.base import Backbone
from floatbench.metrics.onnx_session import open_session
from floatbench.types import FPS, SAMPLE_RATE, ClipMedia, Features

CHUNK = 512
CONTEXT = 64
"""Samples of a chunk, and of the end of the one before that the network sees again."""
STATE = (2, 1, 128)
BLOCK = SAMPLE_RATE // 20
"""Samples of a block of loudness, 50 ms, and from the middle of one to the middle of the next."""
SPEECH, NO_SPEECH = 0.5, 0.35
"""Probability from which on speech begins, and below which it may end; these and the next are Silero's defaults."""
SHORTEST, PAUSE, MARGIN = 0.25, 0.1, 0.03
"""Seconds: speech that is shorter does not count; a shorter pause does not end it; it is grown at both ends."""
TENTHS = 1
"""Decimals of a second to which Silero rounds the ends of speech (`return_seconds` of its version 5.1.2)."""


class SpeechActivity(Backbone):
    """Features: `speech` (N,) float32, probability of speech in each 512 samples; `rms` (M,) float32, of 800 samples
    around every 800th, silence before the first and after the last."""

    id = "silero-vad"
    uses = frozenset({"audio"})
    weights = ("silero-vad",)
    licence = "MIT"
    on_device = False

    def __init__(self, model: Path | None = None) -> None:
        self._model = model
        self._session: Any = None

    def settings(self) -> dict[str, Any]:
        return {"chunk": CHUNK, "context": CONTEXT, "block": BLOCK, "version": 2}

    def load(self, device: str = "cpu") -> None:
        """Opens the model, which runs on the CPU whatever the device."""
        if self._session is not None:
            return
        if self._model is None:
            from floatbench import weights

            self._model = weights.path(self.weights[0])
        self._session = open_session(self._model, threads=1)

    def extract(self, clip: ClipMedia) -> Features:
        """Raises ClipError `no_audio` or `silent`."""
        sound = require_sound(clip).astype(np.float32) / 32768
        self.load()
        padded = np.pad(sound.astype(np.float64), BLOCK // 2)
        whole = padded[: len(padded) // BLOCK * BLOCK].reshape(-1, BLOCK)
        return {"speech": self._probabilities(sound), "rms": np.sqrt((whole**2).mean(axis=1)).astype(np.float32)}

    def _probabilities(self, sound: np.ndarray) -> np.ndarray:
        chunks = np.pad(sound, (0, -len(sound) % CHUNK)).reshape(-1, CHUNK)
        before, state = np.zeros(CONTEXT, np.float32), np.zeros(STATE, np.float32)
        found = []
        for chunk in chunks:
            given = {"input": np.concatenate([before, chunk])[None], "state": state, "sr": np.array(SAMPLE_RATE)}
            probability, state = self._session.run(None, given)
            before = chunk[-CONTEXT:]
            found.append(float(probability[0, 0]))
        return np.array(found, np.float32)


def spoken(probabilities: np.ndarray, seconds: float) -> list[tuple[float, float]]:
    """Stretches of speech (start, end) in seconds of a sound of that length, from one probability each 32 ms.

    Speech begins with a chunk of at least 0.5 and ends where a pause begins: a chunk below 0.35 after which no chunk of
    0.5 comes for 0.1 s. Stretches of up to 0.25 s are dropped; the others grow by 0.03 s at both ends and never meet.
    """
    length, margin = round(seconds * SAMPLE_RATE), round(MARGIN * SAMPLE_RATE)
    found: list[tuple[int, int]] = []
    start = pause = None
    for chunk, probability in enumerate(probabilities):
        sample = chunk * CHUNK
        if probability >= SPEECH:
            start, pause = (sample if start is None else start), None
        elif start is not None and probability < NO_SPEECH:
            pause = sample if pause is None else pause
            if sample - pause >= PAUSE * SAMPLE_RATE:
                found.append((start, pause))
                start = pause = None
    if start is not None:
        found.append((start, length))
    long = [(a, b) for a, b in found if b - a > SHORTEST * SAMPLE_RATE]
    return [(max(a - margin, 0) / SAMPLE_RATE, min(b + margin, length) / SAMPLE_RATE) for a, b in long]


def speaks(features: Features, frames: int) -> np.ndarray:
    """(T,) bool: frame t is of speech, as THEval counts: from the frame in which it begins to that in which it ends.

    Both ends are rounded to a tenth of a second before.
    """
    inside = np.zeros(frames, bool)
    for start, end in spoken(features["speech"], frames / FPS):
        first, last = int(round(start, TENTHS) * FPS), int(round(end, TENTHS) * FPS)
        inside[first : last + 1] = True
    return inside


def loudness(features: Features, frames: int) -> np.ndarray:
    """(T,) RMS of the 50 ms blocks, linear between the times of their middles."""
    blocks = features["rms"].astype(np.float64)
    return np.interp(np.arange(frames) / FPS, np.arange(len(blocks)) * (BLOCK / SAMPLE_RATE), blocks)
