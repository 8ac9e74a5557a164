"""What the tests of `floatbench generate` type and lay out."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from floatbench.cli.app import main

RNG = np.random.default_rng(0)
FACE = RNG.integers(0, 256, (96, 96, 3), dtype=np.uint8)


def sound(path: Path, seconds: float, rate: int = 16_000, channels: int = 1, width: int = 2, loud: float = 0.3) -> None:
    """Writes white noise as a WAV file."""
    values = RNG.uniform(-loud, loud, int(seconds * rate) * channels)
    scaled = (values * (2 ** (8 * width - 1) - 1)).astype("<i4")
    data = scaled.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(channels)
        stream.setsampwidth(width)
        stream.setframerate(rate)
        stream.writeframes(data)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code  # type: ignore[return-value]


def generate(weights: Path | str, *arguments: str | Path, crop: bool = False) -> int:
    given = [str(a) for a in arguments]
    base = ["generate", "--weights", str(weights), "--nfe", "2", "--quiet", *([] if crop else ["--no-crop"])]
    for name, value in (("--image", "in/face.png"), ("--audio", "in/speech.wav")):
        if name not in given and "--jobs" not in given:
            base += [name, value]
    return run(*base, *given)


def left() -> list[str]:
    """What lies in the current folder beside the inputs."""
    return sorted(p.name for p in Path().iterdir() if p.name != "in")
