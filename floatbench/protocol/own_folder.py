"""`folder:DIR`: anyone's own talking videos as a protocol.

A clip's id is the video's path below the folder, with `/` between the parts. A `.wav` of the same stem beside it is its
sound; floatbench.folders says what is passed over, floatbench.names when two names are one. Without `clips.csv` each
file is a person of its own; with it, the columns `identity`, `start_s`, `end_s`, `audio` and `source` say more about
the clip named in `id`, and any further column is a label.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from floatbench.errors import UsageError
from floatbench.files import file_sha256
from floatbench.folders import files_below
from floatbench.names import matched, nearest, refuse_one_name_twice, stem_of
from floatbench.paths import expanded
from floatbench.protocol.clip_table import checked_clip
from floatbench.protocol.protocol import Clip, ClipFile, Preprocessing, Protocol
from floatbench.protocol.tables import TableRow, read_spreadsheet
from floatbench.text import printable
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.file_hashes import FileHashes

BOXES, TABLE = "boxes.csv", "clips.csv"
SOUND_SUFFIX = ".wav"
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
    videos, sounds, passed_over = videos_and_sounds(folder)
    notes = list(passed_over)
    rows, said = _rows(folder, videos)
    notes += said
    if rows and (unlisted := [name for name in videos if name not in rows]):
        notes.append(f"{len(unlisted)} of {len(videos)} videos are not in clips.csv, e.g. {printable(unlisted[0])}")
    hashes = FileHashes()
    try:
        clips = tuple(_clip(folder, name, sounds.get(name, ""), rows.get(name), hashes) for name in videos)
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


def videos_and_sounds(folder: Path) -> tuple[tuple[str, ...], dict[str, str], tuple[str, ...]]:
    """The videos below a folder, the `.wav` beside each that has one, and notes about what was passed over.

    Raises:
        UsageError: there is no video, or one name is there twice. DataError: see `files_below`.
    """
    found = files_below(folder, {*VIDEO_SUFFIXES, SOUND_SUFFIX})
    sounds = [name for name in found.files if name.lower().endswith(SOUND_SUFFIX)]
    videos = tuple(name for name in found.files if not name.lower().endswith(SOUND_SUFFIX))
    if not videos:
        said = "; ".join(["", *found.notes])
        kinds = ", ".join(sorted(VIDEO_SUFFIXES))
        raise UsageError(f"{printable(folder)} holds no video file{said}", fix=f"known suffixes: {kinds}")
    refuse_one_name_twice(videos, printable(folder))
    refuse_one_name_twice(sounds, printable(folder), [SOUND_SUFFIX])
    by_stem = {stem_of(name, [SOUND_SUFFIX]): name for name in sounds}
    beside = {name: by_stem[stem_of(name)] for name in videos if stem_of(name) in by_stem}
    return videos, beside, found.notes


def _rows(folder: Path, videos: Sequence[str]) -> tuple[dict[str, TableRow], list[str]]:
    """The rows of clips.csv by clip id, and notes about how it was read; empty without the file."""
    path = folder / TABLE
    if not path.exists():
        return {}, []
    table = read_spreadsheet(path, required=["id"], unlike=("id", *OPTIONAL))
    labels = [name for name in table.header if name not in ("id", *OPTIONAL)]
    notes = [*table.notes, *([f"{TABLE}: read as labels: {', '.join(map(printable, labels))}"] if labels else [])]
    notes += _like_people(table.rows)
    by_name: dict[str, TableRow] = {}
    for row in table.rows:
        name = row.values["id"]
        if name in by_name:
            raise row.error("id", f"the id {name!r} is also on line {by_name[name].line}")
        by_name[name] = row
    rows: dict[str, TableRow] = {}
    found = matched(dict.fromkeys(by_name, ()), videos, printable(path))
    for name, row in by_name.items():
        if name not in found:
            like = nearest(name, videos)
            hint = f"did you mean {' or '.join(like)}?" if like else f"it holds {', '.join(videos[:20])}"
            raise row.error("id", f"no video {name!r} in the folder", fix=hint)
        rows[found[name]] = row
    return rows, notes


def _like_people(table: Sequence[TableRow]) -> list[str]:
    """A note for each person who is written in more than one way, and so counts as more than one."""
    spellings = defaultdict[str, dict[str, None]](dict)
    for name in (row.values.get("identity") for row in table):
        if name:
            spellings[" ".join(unicodedata.normalize("NFKC", name).casefold().split())][name] = None
    return [
        f"{TABLE}: {' and '.join(map(repr, names))} count as {len(names)} people"
        for names in spellings.values()
        if len(names) > 1
    ]


def _clip(folder: Path, name: str, beside: str, row: TableRow | None, hashes: FileHashes) -> Clip:
    values: Mapping[str, str] = row.values if row else {}
    stem = PurePosixPath(name).with_suffix("")
    files: dict[ClipFile, str] = {
        "video": name,
        "audio": values.get("audio") or beside,
        "source": values.get("source") or "",
    }
    for kind in ("audio", "source"):
        if row and values.get(kind) and not _lies_inside(folder, values[kind]):
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


def _lies_inside(folder: Path, name: str) -> bool:
    """True for a path to a regular file that does not lead out of the folder; links are followed."""
    path = PurePosixPath(name)
    return "\0" not in name and not path.is_absolute() and ".." not in path.parts and (folder / path).is_file()
