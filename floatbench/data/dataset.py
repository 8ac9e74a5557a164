"""Datasets: what gives the engine the reference media of a protocol's clips."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.types import ClipMedia

if TYPE_CHECKING:
    from floatbench.media.crop import Cut


@dataclass(frozen=True)
class Availability:
    """State of one clip on this machine.

    `ready`; `unprepared` (the raw file is here); `missing` (it is not); `rejected`. `fix` says what mends it.
    """

    clip_id: str
    state: str
    reason: str = ""  # a code of floatbench.errors.REASONS for rejected clips
    detail: str = ""
    fix: str = ""


TRUTH_OF_CLIP = ("identity", "emotion")
"""What of a synthetic clip's truth holds for all of its frames."""


@dataclass(frozen=True)
class Reference:
    """A prepared clip.

    Attributes:
        media: (T, H, W, 3) uint8 frames and (640 T,) int16 sound, or None where the clip has no usable sound.
        source: (H, W, 3) uint8, the picture a method animates (frame 0 unless the clip names its own).
        video: the prepared lossless file, when there is one.
        flags: pp1 flags such as `upscaled`, `no_audio`, `silent`, `padded`.
        truth: ground-truth arrays of synthetic clips, a row a frame but for `TRUTH_OF_CLIP`; None for real ones.
        cut: how the pictures were cut out of their original; None where they were not.
    """

    media: ClipMedia
    source: np.ndarray
    video: Path | None = None
    flags: tuple[str, ...] = ()
    truth: dict[str, np.ndarray] | None = None
    cut: Cut | None = None


class Dataset(ABC):
    """Gives the reference media of a protocol's clips; instances are picklable and cheap.

    Class attributes:
        auto_prepare: True when a run prepares the clips itself (one's own folder); large data sets are prepared by
            `floatbench protocol prepare`.
    """

    auto_prepare = False

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol

    @abstractmethod
    def availability(self) -> list[Availability]:
        """One entry per clip of the protocol, in its order, without decoding anything."""

    def ready(self) -> list[Clip]:
        """The clips that are prepared, in the protocol's order: those that may lend something."""
        states = {state.clip_id: state.state for state in self.availability()}
        return [clip for clip in self.protocol.clips if states.get(clip.id) == "ready"]

    def prepare(self, progress: Progress, workers: int = 1) -> None:  # noqa: B027 - many datasets need none
        """Makes what `load` reads (pp1 store); resumes; rendered data sets need nothing."""

    def content_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Clip id -> a hash of everything that `load` reads or computes the clip from, without decoding it.

        Clips whose content the protocol's own hash holds are left out.
        """
        return {}

    @abstractmethod
    def load(self, clip: Clip) -> Reference:
        """Decodes one prepared clip; raises ClipError (rejected, damaged) or DataError (absent)."""

    def load_source(self, clip: Clip) -> tuple[np.ndarray, Cut | None]:
        """`source` and `cut` of a clip, without decoding the rest where that is possible; errors as for `load`."""
        found = self.load(clip)
        return found.source, found.cut
