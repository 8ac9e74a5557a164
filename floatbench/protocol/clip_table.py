"""Clips from the rows of a CSV table: which column gives which field."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from floatbench.errors import UsageError
from floatbench.protocol.known_columns import meant
from floatbench.protocol.protocol import Clip
from floatbench.protocol.tables import TableRow, read_table
from floatbench.records import Frozen, in_words
from floatbench.text import printable


class Columns(Frozen):
    """Which column of a clip table gives which field of a clip."""

    id: str = "id"
    identity: str = "identity"
    video: str = ""
    audio: str = ""
    source: str = ""
    start_s: str = ""
    end_s: str = ""
    labels: tuple[str, ...] = ()
    face: tuple[str, str, str, str] | None = None  # x, y, width, height in pixels
    face_height: str = ""  # the picture height those pixels refer to

    def names(self) -> list[str]:
        """Every column that is used."""
        single = (self.id, self.identity, self.video, self.audio, self.source, self.start_s, self.end_s)
        return [name for name in (*single, *self.labels, *(self.face or ()), self.face_height) if name]


_FIELDS = ("audio", "source", "start_s", "end_s")
"""Fields that a table need not give, and that change what is measured."""


class ClipTable(Frozen):
    """Clips from a CSV file beside the protocol file: the rows whose columns hold the values of `where`."""

    table: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    where: dict[str, str | tuple[str, ...]] = {}
    columns: Columns = Columns()


def clips_of_table(spec: ClipTable, protocol: Path) -> tuple[tuple[Clip, ...], tuple[str, ...]]:
    """The clips of a table beside the protocol file `protocol`, and notes about columns that are not used.

    Raises UsageError with the line that is wrong.
    """
    path = protocol.parent / spec.table
    if not path.is_file():
        raise UsageError(f"{printable(protocol)}: clips.table: {printable(path)} does not exist")
    rows = read_table(path, required=[*spec.columns.names(), *spec.where])
    if spec.sha256:
        _check_hash(path, spec.sha256)
    seen: dict[str, int] = {}
    clips = []
    for row in rows:
        if not all(_holds(row.values[column], wanted) for column, wanted in spec.where.items()):
            continue
        clip = _clip(row, spec.columns)
        if clip.id in seen:
            raise row.error(spec.columns.id, f"the id {clip.id!r} is also on line {seen[clip.id]}")
        seen[clip.id] = row.line
        clips.append(clip)
    if not seen:
        raise UsageError(f"{printable(path)}: no row has the values that {printable(protocol)} asks for in clips.where")
    return tuple(clips), tuple(_unused(path, list(rows[0].values), spec))


def _unused(path: Path, header: Sequence[str], spec: ClipTable) -> Iterator[str]:
    """A note for each column that seems to give a field of which the protocol file does not say where it stands."""
    open_fields = [name for name in _FIELDS if not getattr(spec.columns, name)]
    for column in header:
        used = column in spec.columns.names() or column in spec.where
        if not used and (field := meant(column, open_fields)):
            what = f"{printable(path.name)}: the column {column!r} is not used"
            yield f"{what}; [clips.columns] {field} = {column!r} would use it"


def _holds(value: str, wanted: str | Sequence[str]) -> bool:
    return value == wanted if isinstance(wanted, str) else value in wanted


def _check_hash(path: Path, wanted: str) -> None:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != wanted:
        cause = "; its line ends were changed to CRLF" if b"\r\n" in data else ""
        what = f"{printable(path)}: sha256 {digest[:16]}..., the protocol pins {wanted[:16]}...{cause}"
        raise UsageError(what, fix="restore the file, or give the changed protocol an id of its own")


def _clip(row: TableRow, columns: Columns) -> Clip:
    values = row.values
    fields: dict[str, Any] = {
        name: values[getattr(columns, name)]
        for name in ("id", "identity", "video", "audio", "source")
        if getattr(columns, name)
    }
    for name in ("start_s", "end_s"):
        if getattr(columns, name):
            fields[name] = row.number(getattr(columns, name))
    fields["labels"] = {name: values[name] for name in columns.labels if values[name]}
    fields["face"] = _face(row, columns)
    return checked_clip(row, fields, columns.model_dump())


def checked_clip(row: TableRow, fields: Mapping[str, Any], columns: Mapping[str, Any]) -> Clip:
    """A Clip from the fields of one row; raises UsageError naming the column that `columns` gives for a wrong field."""
    try:
        return Clip.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0]) if problem["loc"] else "end_s"
        raise row.error(str(columns.get(field) or field), in_words(problem)) from None


def _face(row: TableRow, columns: Columns) -> tuple[float, ...] | None:
    if columns.face is None:
        return None
    numbers = [row.number(name) for name in columns.face]
    height = row.number(columns.face_height) if columns.face_height else 1.0
    known = [number for number in numbers if number is not None]
    if len(known) < 4 or not height:
        return None
    return tuple(round(number / height, 6) for number in known)
