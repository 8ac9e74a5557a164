"""Methods: what turns one picture, one sound and a seed into a video."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from floatbench.protocol.protocol import Clip
from floatbench.types import ClipMedia

if TYPE_CHECKING:
    from floatbench.media.crop import Cut

Kind = Literal["system", "baseline", "videos", "control", "oracle"]
"""What a method is to a table.

`system` generates in this process, `baseline` is the official code of a system in an environment of its own, `videos`
are finished videos of any system. A `control` has an answer known beforehand, an `oracle` is given more than a picture
and a sound; neither is ever ranked.
"""
Need = Literal["reference", "partner", "truth", "source_video"]
PartnerRule = Literal["next", "first", "neutral"]
"""Which clip of another identity is borrowed from: the next one in protocol order, or the first one of all."""
MAX_LENGTH_DIFFERENCE = 2
"""Frames that a video may have too many or too few; they are cut off, and said. More is a failed clip."""


@dataclass(frozen=True)
class ClipRequest:
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
        reference, partner, truth: only given to controls and oracles that declare them in `Method.needs`.
        source_video: (n_frames, H, W, 3) uint8 RGB, only for methods that declare it, by the protocol's rule.
        cut: how the reference was cut out of its original, for finished videos that are to be cut alike.
        spec: the protocol's `preprocessing.spec`, for methods that decode a video themselves (`Method.decodes`).
        memory: bytes of frames that may come back as `Generated.media` where a file would do as well; see `in_memory`.
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
    source_video: np.ndarray | None = None
    cut: Cut | None = None
    spec: str = "pp1"
    memory: int = 0

    def in_memory(self, n_frames: int, height: int, width: int) -> bool:
        """True where so many uint8 RGB frames of this size go straight to who asked, and no file is to be written."""
        return math.prod((n_frames, height, width, 3)) <= self.memory


@dataclass(frozen=True)
class Generated:
    """What a method returns.

    Attributes:
        video: a file in `ClipRequest.folder` (lossless FFV1 from floatbench.media, or whatever the system writes), or
        media: frames in memory; a run writes them losslessly itself, except a control's. Beside a `video` they are its
            pictures as `read_video` gives them, so that it is not decoded again.
        audio: int16 sound that replaces the driving sound when the clip is scored (controls that move the sound).
        timing: stage -> seconds; the stages of FLOAT are speech, emotion, encode, solve, decode, convert, mux.
        details: settings and counts worth recording (true NFE, preset, native size ...), JSON types.
        original: what the system wrote, where `video` was resampled from it; kept beside it.
        input_key: hash of the finished video that this is, see `Method.input_keys`.
        cut: how the pictures of `video` are to be cut before they are scored; None leaves them as they are.
    """

    video: Path | None = None
    media: ClipMedia | None = None
    audio: np.ndarray | None = None
    timing: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    original: Path | None = None
    input_key: str = ""
    cut: Cut | None = None


class Method(ABC):
    """Turns (source image, audio, seed) into a video.

    A method is made once, by its name, and handed to the worker processes before `load`: until then an instance must
    be picklable.

    Class attributes:
        kind: what it is to a table; goes into every record.
        needs: extra inputs; a system may ask for `source_video`, all else is for controls and oracles.
        partner_rule, partner_sound: which clip a control borrows from, and whether that clip must have sound.
        needs_sound: False for what has its pictures already: a clip without sound loses its sound metrics only.
        ranked: False for what never enters a ranking.
        uses_seed: False when the system cannot be seeded; recorded in its row.
        decodes: True for what reads a video file itself: its pictures depend on the protocol's rule for colours.
        weights: names in the weight registry of all that it opens. licence: of a system that brings its own.

    Example:
        A module `still.py` beside the runs, named in `FLOATBENCH_PLUGINS=still`, offers the method to every command.

        >>> import floatbench
        >>> from floatbench.methods.method import ClipRequest, Generated
        >>> from floatbench.types import ClipMedia
        >>> class Still(floatbench.Method):
        ...     name = "still"
        ...
        ...     def generate(self, request: ClipRequest) -> Generated:
        ...         return Generated(media=ClipMedia(request.source[None].repeat(request.n_frames, axis=0)))
        >>> METHODS = {"still": Still}
    """

    name: str
    kind: Kind = "system"
    needs: frozenset[Need] = frozenset()
    partner_rule: PartnerRule = "next"
    partner_sound: bool = False
    needs_sound: bool = True
    ranked: bool = True
    uses_seed: bool = True
    decodes: bool = False
    weights: tuple[str, ...] = ()
    licence: str = ""

    def describe(self) -> dict[str, Any]:
        """Settings, weights (name -> sha256), versions, licences: goes into the record. No loading."""
        return {}

    def record(self) -> dict[str, Any]:
        """What run.json and scores.json keep: the kind, what `describe` says, and that it is not ranked where not."""
        unranked = {} if self.ranked or self.kind in ("control", "oracle") else {"ranked": False}
        return {"kind": self.kind, **unranked, **self.describe()}

    def key(self) -> str:
        """A hash of everything that decides its pixels beside clip and seed; rows with another key are made again.

        Empty: a row stays valid for as long as the method keeps its name. No loading.
        """
        return ""

    def match(self, clips: Sequence[Clip], chosen: Sequence[Clip]) -> list[str]:
        """Finds what belongs to each clip of a protocol, before any work; returns notes about what does not match.

        Args:
            chosen: the clips of this call; the others are told so that what belongs to them is nobody else's.

        Raises UsageError where that is not clear, DataError where nothing belongs to any clip of the call.
        """
        return []

    def input_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Clip id -> hash of the content of the files outside of the run that its video comes from; a clip without
        such a file is left out. A row whose file has changed, has come or has gone is made again."""
        return {}

    def expect(self, n_clips: int) -> None:  # noqa: B027
        """Told before `load` how many clips one worker process will ask for in this run."""

    def check_device(self, device: str) -> None:  # noqa: B027 - most run on any
        """Raises UsageError when the method was asked for with something that this device does not have."""

    def load(self, device: str = "cpu") -> None:  # noqa: B027 - controls load nothing
        """Loads networks or starts the system's worker; called once in every worker process."""

    @abstractmethod
    def generate(self, request: ClipRequest) -> Generated:
        """Animates one clip; raises ClipError for a clip that fails, any other exception becomes `method_error`."""

    def close(self) -> None:  # noqa: B027
        """Ends what `load` started."""
