"""The manifest of prepared clips: one JSON line each, enough to make the clip again without a detector."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

import av
from pydantic import Field, model_validator

from floatbench.errors import DataError
from floatbench.files import write_bytes
from floatbench.media.boxes import Box
from floatbench.media.crop import Crop
from floatbench.media.rules import Spec
from floatbench.records import Frozen, validated
from floatbench.text import printable

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_ENDINGS = {"s3fd": "", "mediapipe": "-mp", "given": "-given", "none": "-none"}


class SourceFile(Frozen):
    """The file a clip was made from: content hash, size as shown, declared rate, colour tags (ITU-T H.273)."""

    sha256: Sha256
    bytes: int
    width: int
    height: int
    fps: float
    pix_fmt: str
    color_range: int
    colorspace: int
    color_primaries: int
    color_trc: int
    audio_sha256: Sha256 | None = None
    """Hash of the second file when the sound is not the video's own."""


class Backend(Frozen):
    """The box back end: name, version, file name -> SHA-256 of its model, whether its weights were random."""

    name: Literal["s3fd", "mediapipe", "given", "none"]
    version: str
    models: dict[str, str] = {}
    fabricated: bool = False


class ManifestRow(Frozen):
    """One prepared clip (pp1, item 11).

    `source_index[n]` is the decoded picture that frame n shows; `boxes[n]` its face box, null where none was found;
    `pixels_sha256` and `pcm_sha256` are those of `floatbench.types.ClipMedia` (`pcm_sha256` is empty without sound).
    """

    spec: Spec = "pp1"
    label: str
    dataset: str
    clip_id: str
    identity: str
    split: str
    source: SourceFile
    start_s: float | None
    end_s: float | None
    t0_s: float
    n_frames: Annotated[int, Field(ge=1)]
    size: Annotated[int, Field(ge=1)]
    source_index: tuple[int, ...]
    backend: Backend
    boxes: tuple[Box | None, ...]
    crop: Crop
    padded_share: Annotated[float, Field(ge=0, le=1)]
    flags: tuple[str, ...]
    pixels_sha256: Sha256
    pcm_sha256: Sha256 | Literal[""]
    versions: dict[str, str]
    platform: str

    @model_validator(mode="after")
    def _label_fits(self) -> Self:
        if self.label != label_of(self.backend.name, self.spec):
            raise ValueError(f"the label {self.label!r} is not that of {self.spec} with {self.backend.name} boxes")
        return self


def label_of(backend: str, spec: Spec) -> str:
    """The name a run carries: `pp2` with S3FD boxes, else `pp2-mp`, `pp2-given`, `pp2-none`."""
    return spec + _ENDINGS[backend]


def tool_versions() -> dict[str, str]:
    """Versions of everything that can change a pixel or a sample."""
    names = {"av": "av", "opencv": "opencv-python", "soxr": "soxr", "numpy": "numpy"}
    found = {name: importlib.metadata.version(package) for name, package in names.items()}
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return found | {name: libraries[name] for name in ("libavcodec", "libavformat", "libavutil", "libswscale")}


def machine() -> str:
    """Operating system and processor architecture."""
    return f"{platform.system()} {platform.machine()}"


def write_manifest(path: Path, rows: Iterable[ManifestRow]) -> None:
    """Writes rows as JSON lines, ordered by clip id, whole or not at all."""
    lines = [row.model_dump_json() + "\n" for row in sorted(rows, key=lambda row: row.clip_id)]
    write_bytes(Path(path), "".join(lines).encode("utf-8"))


def read_manifest(path: Path) -> list[ManifestRow]:
    """Reads JSON lines; raises DataError with the line that cannot be understood."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"manifest {printable(path)}: {error}") from error
    return [parse_row(line, f"{printable(path)} line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def parse_row(text: str, where: str) -> ManifestRow:
    """One row from JSON; raises DataError naming `where` and the first field that is wrong."""
    fix = "prepare the clip again"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"manifest {where}: not JSON: {error}", fix) from None
    return validated(ManifestRow, document, f"manifest {where}", fix)
