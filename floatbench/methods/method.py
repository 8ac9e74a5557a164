"""Methods: what turns one picture, one sound and a seed into a video."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.types import ClipMedia


@dataclass(frozen=True)
class Request:
    """What a method is given for one clip.

    Attributes:
        clip_id: unique, any characters; name files after `slug`.
        slug: safe file stem.
        source: (H, W, 3) uint8 RGB, the picture to animate, already cropped by the protocol.
        audio: (640 * n_frames,) int16 mono 16 kHz.
        n_frames: how many frames are expected at 25 fps.
        seed: derived from (run seed, clip id, replicate); see floatbench.seeds.
        folder: an empty folder for the method's output.
        labels: the clip's labels (emotion ...).
        reference, partner: only given to controls that declare them in `Method.needs`.
    """

    clip_id: str
    slug: str
    source: np.ndarray
    audio: np.ndarray | None
    n_frames: int
    seed: int
    folder: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    reference: ClipMedia | None = None
    partner: ClipMedia | None = None
    truth: Mapping[str, np.ndarray] | None = None


@dataclass(frozen=True)
class Generated:
    """What a method returns.

    Attributes:
        video: a file in `Request.folder` (lossless FFV1 from floatbench.media, or whatever the system writes), or
        media: decoded frames instead of a file (controls).
        audio: int16 sound that replaces the driving sound when the clip is scored (controls that move the sound).
        timing: stage -> seconds; the stages of FLOAT are speech, emotion, encode, solve, decode, convert, mux.
        details: settings and counts worth recording (true NFE, preset, native size ...), JSON types.
        original: what the system wrote, where `video` was resampled from it; kept beside it.
    """

    video: Path | None = None
    media: ClipMedia | None = None
    audio: np.ndarray | None = None
    timing: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    original: Path | None = None


class Method(ABC):
    """Turns (source image, audio, seed) into a video.

    Class attributes:
        needs: extra inputs, of {"reference", "partner", "truth"}; only controls and oracles have any.
        ranked: False for controls and oracles, which never enter a ranking.
        uses_seed: False when the system cannot be seeded; recorded in its row.

    Example:
        A module `still.py` beside the runs, named in `FLOATBENCH_PLUGINS=still`, offers the method to every command.

        >>> import floatbench
        >>> from floatbench.methods.method import Generated, Request
        >>> from floatbench.types import ClipMedia
        >>> class Still(floatbench.Method):
        ...     name = "still"
        ...
        ...     def generate(self, request: Request) -> Generated:
        ...         return Generated(media=ClipMedia(request.source[None].repeat(request.n_frames, axis=0)))
        >>> METHODS = {"still": Still}
    """

    name: str
    needs: frozenset[str] = frozenset()
    ranked: bool = True
    uses_seed: bool = True

    def describe(self) -> dict[str, Any]:
        """Settings, weights (name -> sha256), versions, licences: goes into the record. No loading."""
        return {}

    def key(self) -> str:
        """A hash of everything that decides its pixels beside clip and seed; rows with another key are made again.

        Empty: a row stays valid for as long as the method keeps its name. No loading.
        """
        return ""

    def expect(self, n_clips: int) -> None:  # noqa: B027
        """Told before `load` how many clips one worker process will ask for in this run."""

    def load(self, device: str = "cpu") -> None:  # noqa: B027 - controls load nothing
        """Loads networks or starts the system's worker; called once in every worker process."""

    @abstractmethod
    def generate(self, request: Request) -> Generated:
        """Animates one clip; raises ClipError for a clip that fails, any other exception becomes `method_error`."""

    def close(self) -> None:  # noqa: B027
        """Ends what `load` started."""
