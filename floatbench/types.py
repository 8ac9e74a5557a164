"""The small types that the engine, the metrics and the baselines share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

FPS = 25
SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640

VIDEO_SUFFIXES = (
    ".mkv", ".mp4", ".mov", ".avi", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".ts", ".mts", ".ogv", ".3gp",
)  # fmt: skip
"""What counts as a video in a folder; a lossless Matroska file is looked for first."""

Features = dict[str, np.ndarray]
"""What a backbone returns for one clip: named arrays, the first axis usually frames (T) or windows."""


@dataclass(frozen=True)
class ClipMedia:
    """One decoded clip, 25 frames a second.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        audio: (640 * T,) int16 mono at 16 kHz, or None when the clip has no usable sound.
    """

    frames: np.ndarray
    audio: np.ndarray | None = field(default=None)

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be (T, H, W, 3) uint8, got {self.frames.shape} {self.frames.dtype}")
        if self.audio is not None and (self.audio.ndim != 1 or self.audio.dtype != np.int16):
            raise ValueError(f"audio must be (samples,) int16, got {self.audio.shape} {self.audio.dtype}")

    @property
    def n_frames(self) -> int:
        return int(self.frames.shape[0])

    @cached_property
    def pixels_sha256(self) -> str:
        """SHA-256 of the frame size and the raw R-G-B bytes of all frames in order (content, not container)."""
        digest = hashlib.sha256(repr(self.frames.shape).encode())
        for frame in self.frames:
            digest.update(np.ascontiguousarray(frame).data)
        return digest.hexdigest()

    def with_audio(self, audio: np.ndarray | None) -> ClipMedia:
        """The same pictures with other sound; a hash of the pictures that is known is not made again."""
        other = ClipMedia(self.frames, audio)
        if "pixels_sha256" in self.__dict__:
            other.__dict__["pixels_sha256"] = self.pixels_sha256
        return other

    @cached_property
    def pcm_sha256(self) -> str:
        """SHA-256 of the int16 little-endian samples; the empty string without sound."""
        if self.audio is None:
            return ""
        return hashlib.sha256(self.audio.astype("<i2").tobytes()).hexdigest()
