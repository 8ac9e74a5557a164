"""`folder:DIR`: anyone's own talking videos as a protocol.

A clip's id is the video's path below the folder, with `/` between the parts. A `.wav` of the same stem beside it is its
sound. Without `clips.csv` every file is a person of its own; with it, the columns `identity`, `start_s`, `end_s`,
`audio` and `source` say more about the clip named in `id`, and any further column is a label.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from floatbench.errors import DataError, UsageError
from floatbench.files import file_sha256
from floatbench.paths import expanded, is_output
from floatbench.protocol.clip_table import checked_clip
from floatbench.protocol.protocol import Clip, ClipFile, Preprocessing, Protocol
from floatbench.protocol.tables import TableRow, read_table
from floatbench.text import near, printable
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.file_hashes import FileHashes

BOXES = "boxes.csv"
METRICS = ("efid-mp52", "pfid-mp6", "avcorr-excess")
OPTIONAL = ("identity", "start_s", "end_s", "audio", "source")


def folder_protocol(folder: Path) -> Protocol:
    """The protocol of a folder of videos; its content hash covers the SHA-256 of every file.

    Raises:
        UsageError: no such folder, no video in it, or a clips.csv that breaks a rule.
    """
    folder = expanded(folder)
    if not folder.is_dir():
        raise UsageError(f"{printable(folder)} is not a folder", fix="give folder:DIR with a folder of talking videos")
    videos, notes = _videos(folder)
    if not videos:
        kinds = ", ".join(sorted(VIDEO_SUFFIXES))
        raise UsageError(f"{printable(folder)} holds no video file", fix=f"known suffixes: {kinds}")
    rows = _rows(folder, videos)
    if rows and (unlisted := [name for name in videos if name not in rows]):
        notes.append(f"{len(unlisted)} of {len(videos)} videos are not in clips.csv, e.g. {printable(unlisted[0])}")
    hashes = FileHashes()
    try:
        clips = tuple(_clip(folder, name, rows.get(name), hashes) for name in videos)
    finally:
        hashes.save()
    return Protocol(
        id=f"folder-{_safe_name(folder)}",
        title=f"{len(clips)} videos in {printable(folder.resolve().name)}",
        dataset="folder",
        preprocessing=Preprocessing(spec="pp2", boxes="mediapipe"),
        metrics=METRICS,
        clips=clips,
        root=os.fspath(folder.resolve()),
        notes=tuple(notes),
    )


def with_given_boxes(protocol: Protocol) -> Protocol:
    """The protocol with the hash of the folder's own face boxes; raises UsageError when there is no such file."""
    file = Path(protocol.root) / BOXES
    if not file.is_file():
        what = f"the box back end 'given' reads {printable(file)}, which does not exist"
        raise UsageError(what, fix="write it (docs/protocols.md), or choose --boxes mediapipe")
    rule = protocol.preprocessing.model_dump() | {"boxes_sha256": file_sha256(file)}
    return Protocol.model_validate(protocol.model_dump() | {"preprocessing": rule})


def _safe_name(folder: Path) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")[:40] or "videos"


def _videos(folder: Path) -> tuple[list[str], list[str]]:
    """Video files below a folder (posix paths, sorted) and notes about what was passed over."""
    found, notes = [], []
    hidden, outputs = 0, list[Path]()
    for path in walk(folder, outputs):
        relative = path.relative_to(folder)
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        if any(part.startswith(".") for part in relative.parts):
            hidden += 1
        elif problem := _unsafe(folder, path):
            notes.append(f"passed over {printable(relative)}: {problem}")
        else:
            found.append(relative.as_posix())
    if hidden:
        notes.append(f"passed over {hidden} hidden video{'s' if hidden > 1 else ''}")
    notes += [f"passed over {printable(output.relative_to(folder))}: floatbench wrote it" for output in outputs]
    return sorted(found), notes


def walk(folder: Path, outputs: list[Path]) -> Iterator[Path]:
    """The files below a folder by name, without those of runs and pages, whose folders are added to `outputs`.

    Raises DataError for a folder that cannot be read.
    """

    def stop(error: OSError) -> None:
        raise DataError(f"{printable(error.filename)} cannot be read: {error.strerror}") from error

    for root, folders, names in os.walk(folder, onerror=stop):
        own = [name for name in sorted(folders) if is_output(Path(root) / name)]
        outputs += [Path(root) / name for name in own]
        folders[:] = sorted(set(folders) - set(own))
        yield from (Path(root) / name for name in sorted(names))


def _unsafe(folder: Path, path: Path) -> str | None:
    """Why a file must not be read as a clip, None when it may."""
    try:
        str(path).removeprefix(str(folder)).encode("utf-8")
        target = path.resolve(strict=True)
        state = target.stat()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except (OSError, RuntimeError):
        return "a broken link"
    if not target.is_relative_to(folder.resolve()):
        return "a link that leaves the folder"
    if not stat.S_ISREG(state.st_mode):
        return "not a regular file"
    if not os.access(target, os.R_OK):
        return "it may not be read"
    return None


def _rows(folder: Path, videos: list[str]) -> dict[str, TableRow]:
    """The rows of clips.csv by clip id; empty without the file."""
    path = folder / "clips.csv"
    if not path.exists():
        return {}
    rows: dict[str, TableRow] = {}
    for row in read_table(path, required=["id"]):
        name = row.values["id"]
        if name in rows:
            raise row.error("id", f"the id {name!r} is also on line {rows[name].line}")
        if name not in videos:
            raise row.error("id", f"no video {name!r} in the folder", fix=near(name, videos[:200]))
        rows[name] = row
    return rows


def _clip(folder: Path, name: str, row: TableRow | None, hashes: FileHashes) -> Clip:
    values: Mapping[str, str] = row.values if row else {}
    stem = PurePosixPath(name).with_suffix("")
    beside = f"{stem}.wav"
    files: dict[ClipFile, str] = {
        "video": name,
        "audio": values.get("audio") or (beside if _usable(folder, beside) else ""),
        "source": values.get("source") or "",
    }
    for kind in ("audio", "source"):
        if row and values.get(kind) and not _usable(folder, values[kind]):
            raise row.error(kind, f"no file {values[kind]!r} in the folder")
    fields = {
        "id": name,
        "identity": values.get("identity") or str(stem),
        **files,
        "start_s": row.number("start_s") if row and "start_s" in values else None,
        "end_s": row.number("end_s") if row and "end_s" in values else None,
        "labels": {key: value for key, value in values.items() if key not in ("id", *OPTIONAL) and value},
        "sha256": {kind: hashes.sha256(folder / file) for kind, file in files.items() if file},
    }
    return checked_clip(row, fields, {}) if row else Clip.model_validate(fields)


def _usable(folder: Path, name: str) -> bool:
    """True for a regular file that lies inside the folder."""
    return "\0" not in name and (folder / name).is_file() and _unsafe(folder, folder / name) is None
