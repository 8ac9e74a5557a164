"""Makes small media files of every kind with PyAV; nothing of the sample pack is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

TICKS = 60_000


@dataclass(frozen=True)
class Film:
    """A test video: picture k is one flat grey of level `grey(k)`, with a white corner that shows its orientation."""

    frames: int = 30
    rate: Fraction = Fraction(25)
    stamps: Sequence[float] | None = None
    size: tuple[int, int] = (32, 16)  # width, height
    codec: str = "ffv1"
    pix_fmt: str = "bgr0"
    format: str = "matroska"
    rotation: int | None = None
    aspect: Fraction | None = None
    sound: np.ndarray | None = None  # (channels, samples) float, full scale 1
    sound_rate: int = 16_000
    sound_start: float = 0.0
    sound_codec: str = "pcm_s16le"

    @staticmethod
    def grey(k: int) -> int:
        return 5 + k % 240

    def picture(self, k: int) -> np.ndarray:
        width, height = self.size
        picture = np.full((height, width, 3), self.grey(k), np.uint8)
        picture[: height // 4, : width // 4] = 255
        return picture

    def write(self, path: Path) -> Path:
        with av.open(f"file:{path}", "w", format=self.format) as out:
            video = out.add_stream(self.codec, rate=self.rate)
            video.width, video.height = self.size
            video.pix_fmt = self.pix_fmt
            video.time_base = video.codec_context.time_base = Fraction(1, TICKS)
            if self.rotation is not None:
                video.set_display_rotation(self.rotation)
            if self.aspect is not None:
                video.codec_context.sample_aspect_ratio = self.aspect
            sound = None
            if self.sound is not None:
                layout = "mono" if len(self.sound) == 1 else "stereo"
                sound = out.add_stream(self.sound_codec, rate=self.sound_rate, layout=layout)
            for k in range(self.frames):
                frame = av.VideoFrame.from_ndarray(self.picture(k), format="rgb24")
                stamp = self.stamps[k] if self.stamps is not None else k / float(self.rate)
                frame.pts, frame.time_base = round(stamp * TICKS), Fraction(1, TICKS)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            if sound is not None and self.sound is not None:
                self._write_sound(out, sound, self.sound)
        return path

    def _write_sound(self, out: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray) -> None:
        for first in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, first : first + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=stream.layout.name)
            frame.sample_rate = self.sound_rate
            frame.time_base = Fraction(1, self.sound_rate)
            frame.pts = first + round(self.sound_start * self.sound_rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    """`film(name="clip.mkv", **settings)` writes a `Film` into the test's folder and returns its path."""

    def make(name: str = "clip.mkv", **settings: object) -> Path:
        return Film(**settings).write(tmp_path / name)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def greys() -> Callable[[np.ndarray], list[int]]:
    """Which source picture each frame of a decoded `Film` shows, from its grey level at the lower right corner."""

    def read(frames: np.ndarray) -> list[int]:
        return [int(frame[-1, -1, 0]) - 5 for frame in frames]

    return read
