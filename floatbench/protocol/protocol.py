"""The Protocol: clips, preprocessing, metric variants, seeds and coverage floor, identified by a content hash."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

BoxBackend = Literal["s3fd", "mediapipe", "given", "none"]
BOX_BACKENDS: tuple[str, ...] = get_args(BoxBackend)
ClipFile = Literal["video", "audio", "source"]
SourceVideo = Literal["none", "still", "other-clip", "own"]
SOURCE_VIDEOS: tuple[str, ...] = get_args(SourceVideo)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clip(_Strict):
    """One item of a protocol.

    `id` is unique in the protocol and may hold any characters (it is a relative path in `folder:` protocols); files
    named after a clip use `slug`. `video`, `audio` and `source` are paths or member names as the data set gives them.

    Attributes:
        start_s, end_s: the window [start, end) in the video's own time, seconds; None is the file's begin or end.
        labels: the clip's labels (emotion, category, flags ...), all text.
        face: (x, y, width, height) of a region that says which face is meant, as fractions of the picture's height.
        sha256: hashes of the files, where they are part of what the protocol is (`folder:` protocols).

    Example:
        >>> import floatbench
        >>> floatbench.Clip(id="a/b.mp4", identity="ann", end_s=3.0).slug
        'a_b_mp4-b0a066fc'
    """

    id: Annotated[str, Field(min_length=1)]
    identity: Annotated[str, Field(min_length=1)]
    video: str = ""
    audio: str = ""
    source: str = ""
    start_s: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    end_s: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    labels: dict[str, str] = {}
    face: tuple[float, float, float, float] | None = None
    sha256: dict[ClipFile, str] = {}

    @model_validator(mode="after")
    def _ordered_window(self) -> Clip:
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ValueError(f"the window ends at {self.end_s} s, before it starts")
        return self

    @property
    def slug(self) -> str:
        """A safe, unique file stem: readable characters of the id and 8 hex digits of its SHA-256."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in self.id).lstrip("-")[:60]
        return f"{safe or 'clip'}-{hashlib.sha256(self.id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


class Preprocessing(_Strict):
    """How reference clips are made from raw files: `pp1` or `pp2` (docs/media.md), and the box back end."""

    spec: Literal["pp1", "pp2", "rendered", "as-is"] = "pp1"
    boxes: BoxBackend = "s3fd"
    boxes_sha256: str = ""  # of the file with one's own boxes
    size: Annotated[int, Field(ge=32, le=1024)] = 512

    @property
    def id(self) -> str:
        """The name of the prepared store: rule, box back end (`mp` for mediapipe) and size."""
        if self.spec == "rendered":
            return f"rendered-{self.size}"
        return f"{self.spec}-{'mp' if self.boxes == 'mediapipe' else self.boxes}-{self.size}"


class Protocol(_Strict):
    """A versioned, hashed description of what is measured; immutable.

    Example:
        >>> import floatbench
        >>> clips = (floatbench.Clip(id="a.mkv", identity="ann"), floatbench.Clip(id="b.mkv", identity="bob"))
        >>> mine = floatbench.Protocol(id="mine-v1", dataset="folder:real", metrics=("psnr-grey128",), clips=clips)
        >>> mine.coverage_floor, len(mine.hash)
        (0.9, 64)
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str = ""
    dataset: Annotated[str, Field(min_length=1)]
    split: str = ""
    preprocessing: Preprocessing = Preprocessing()
    metrics: tuple[str, ...]
    backbone_weights: dict[str, str] = {}  # weight name -> sha256 that a score of this protocol must have used
    settings: dict[str, dict[str, float | int | str | bool]] = {}  # metric variant or backbone id -> settings
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    coverage_floor: Annotated[float, Field(gt=0, le=1)] = 0.9
    source_video: SourceVideo = "none"  # which video a system is given that cannot do without one
    licence: str = ""
    clips: Annotated[tuple[Clip, ...], Field(min_length=1)]
    origin: str = ""  # how a command names this protocol; like the next two not part of the identity
    root: str = ""  # where a folder data set lies on this machine
    notes: tuple[str, ...] = ()  # what was left out while loading, for people

    @field_validator("metrics")
    @classmethod
    def _unique_metrics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a metric variant is listed twice")
        return value

    @model_validator(mode="after")
    def _unique_clips(self) -> Protocol:
        seen: set[str] = set()
        for clip in self.clips:
            if clip.id in seen:
                raise ValueError(f"two clips with the id {clip.id!r}")
            seen.add(clip.id)
        return self

    @cached_property
    def hash(self) -> str:
        """SHA-256 over everything that changes a score; titles, licence texts and places do not enter."""
        record = self.model_dump(mode="json", exclude={"title", "licence", "origin", "root", "notes"})
        if self.source_video == "none":  # a protocol keeps the hash that it had before there was a choice
            del record["source_video"]
        record["clips"] = sorted(record["clips"], key=lambda clip: clip["id"])
        record["metrics"] = sorted(record["metrics"])
        return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    @property
    def label(self) -> str:
        """The name printed beside every number: split or id, and the first digits of the hash."""
        return f"{self.split or self.id}@{self.hash[:8]}"
