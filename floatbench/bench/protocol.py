"""The Protocol: clips, preprocessing, metric variants, seeds and coverage floor, identified by a content hash."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Clip(_Strict):
    """One item of a protocol.

    `id` is unique in the protocol and may hold any characters (it is a relative path in `folder:` protocols); files
    named after a clip use `slug`. `video`, `audio` and `source` are paths or member names as the data set gives them.
    """

    id: Annotated[str, Field(min_length=1)]
    identity: Annotated[str, Field(min_length=1)]
    video: str = ""
    audio: str = ""
    source: str = ""
    start_s: float | None = None
    end_s: float | None = None
    labels: dict[str, str] = {}

    @property
    def slug(self) -> str:
        """A safe, unique file stem: readable characters of the id and 8 hex digits of its SHA-256."""
        safe = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in self.id).lstrip("-")[:60]
        return f"{safe or 'clip'}-{hashlib.sha256(self.id.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


class Preprocessing(_Strict):
    """How reference clips are made from raw files: `pp1` of the data specification and its box back end."""

    spec: Literal["pp1", "rendered"] = "pp1"
    boxes: Literal["s3fd", "mediapipe", "given", "none"] = "s3fd"
    size: Annotated[int, Field(ge=32, le=1024)] = 512


class Protocol(_Strict):
    """A versioned, hashed description of what is measured; see DESIGN.md, section 3."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: str = ""
    dataset: Annotated[str, Field(min_length=1)]
    split: str = ""
    preprocessing: Preprocessing = Preprocessing()
    metrics: tuple[str, ...]
    backbone_weights: dict[str, str] = {}  # weight name -> sha256 that a score of this protocol must have used
    settings: dict[str, dict[str, float | int | str | bool]] = {}  # metric variant -> named settings
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    coverage_floor: Annotated[float, Field(gt=0, le=1)] = 0.9
    licence: str = ""
    clips: tuple[Clip, ...]

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
        """SHA-256 over everything that changes a score; titles and licence texts do not enter."""
        record = self.model_dump(mode="json", exclude={"title", "licence"})
        record["clips"] = sorted(record["clips"], key=lambda clip: clip["id"])
        record["metrics"] = sorted(record["metrics"])
        return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    @property
    def label(self) -> str:
        """The name printed beside every number: split or id, and the first digits of the hash."""
        return f"{self.split or self.id}@{self.hash[:8]}"
