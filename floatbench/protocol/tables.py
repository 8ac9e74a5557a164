"""Reads CSV tables strictly: UTF-8, commas, named columns, no stray fields; every mistake is named with its mend."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from floatbench.errors import DataError, UsageError
from floatbench.protocol.known_columns import refuse_nearly_known
from floatbench.text import near, printable

SAVE = "save it as UTF-8"
LIMIT = 64 << 20  # bytes; a table of clips is never this long


@dataclass(frozen=True)
class TableRow:
    """One row of a table and where it stands."""

    file: Path
    line: int
    values: dict[str, str]

    def error(self, column: str, what: str, fix: str | None = None) -> UsageError:
        """A UsageError that names file, line and column."""
        return UsageError(f"{printable(self.file)}:{self.line}: {column}: {what}", fix=fix)

    def number(self, column: str) -> float | None:
        """The value as seconds or pixels; None when the field is empty."""
        text = self.values[column]
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = None
        if value is None or not text.isascii() or "_" in text:  # Python's own numbers: 1_5, and digits of any script
            raise self.error(column, f"{text!r} is not a number", fix=_as_number(text))
        if value != value or value in (float("inf"), float("-inf")):
            raise self.error(column, f"{text!r} is not a finite number")
        return value


def read_text(path: Path) -> str:
    """The text of a UTF-8 file without its byte-order mark, which Windows programs write.

    Raises:
        UsageError: with the line that is not UTF-8.
    """
    shown = printable(path)
    try:
        size = path.stat().st_size
        if size > LIMIT:
            raise UsageError(f"{shown} has {size} bytes; that is no protocol file or clip table")
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{shown} does not exist") from None
    except OSError as error:
        raise DataError(f"{shown} cannot be read: {error.strerror}") from error
    data = data.removeprefix(codecs.BOM_UTF8)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UsageError(f"{shown}:1: the file is UTF-16, as its first bytes say", fix=SAVE)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{shown}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", fix=SAVE) from None


def read_table(path: Path, required: Sequence[str] = (), known: Sequence[str] | None = None) -> list[TableRow]:
    """All rows of a CSV file with a header line; a UTF-8 byte-order mark and Windows line ends change nothing.

    Args:
        required: columns that must be there; known: when given, the only columns that may be there.

    Raises:
        UsageError: with file, line and column.
    """
    return _rows(path, list(_lines(path)), required, known)


@dataclass(frozen=True)
class Spreadsheet:
    """A table as people and their programs write it; `notes` say how it was understood."""

    header: list[str]
    rows: list[TableRow]
    notes: list[str]


def read_spreadsheet(
    path: Path, required: Sequence[str], known: Sequence[str] | None = None, unlike: Sequence[str] = ()
) -> Spreadsheet:
    """As `read_table`, with spaces around the fields taken off and rows that are empty throughout left out.

    Args:
        unlike: columns that no other column may nearly be.
    """
    lines = [(number, [field.strip() for field in fields]) for number, fields in _lines(path, spaces=True)]
    header = lines[0][1] if lines else []
    _check_separator(printable(path), header, {*required, *unlike})
    refuse_nearly_known(printable(path), header, unlike)
    rows = _rows(path, [line for index, line in enumerate(lines) if index == 0 or any(line[1])], required, known)
    written = next(fields for fields in csv.reader(io.StringIO(read_text(path), newline="")) if fields)
    notes = [
        f"{printable(path.name)}: the column {before!r} is read as {name!r}"
        for before, name in zip(written, header, strict=True)
        if before != name
    ]
    return Spreadsheet(header, rows, notes)


def _lines(path: Path, spaces: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(number of the line it ends on, fields) of every line that is not empty.

    Args:
        spaces: leave out those before a field, also where quotes follow.
    """
    text = read_text(path)
    shown = printable(path)
    if "\r" in text and "\n" not in text:
        raise UsageError(f"{shown}:1: the lines end in CR alone, as on old Macs", fix="save it with Unix line ends")
    lines = text.count("\n")
    if 0 < text.count("\r\n") < lines or "\r" in text.replace("\r\n", ""):
        where = f"{shown}:{_first_odd_line(text)}"
        raise UsageError(f"{where}: Windows and Unix line ends are mixed", fix="save it with one kind of line end")
    if (zero := text.find("\0")) >= 0:
        raise UsageError(f"{shown}:{text.count(chr(10), 0, zero) + 1}: a zero byte; this is no text file")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=spaces)
    try:
        for fields in reader:
            if fields:
                yield reader.line_num, fields
    except csv.Error as error:
        raise UsageError(f"{shown}:{reader.line_num}: {error}") from None


def _rows(
    path: Path, lines: Sequence[tuple[int, list[str]]], required: Sequence[str], known: Sequence[str] | None
) -> list[TableRow]:
    shown = printable(path)
    if not lines:
        raise UsageError(f"{shown}: the table is empty", fix="the first line names the columns")
    header = lines[0][1]
    _check_header(shown, header, required, known)
    rows = []
    for number, fields in lines[1:]:
        if len(fields) != len(header):
            what = f"{shown}:{number}: {len(fields)} fields, but the header names {len(header)} columns"
            more = 'put a value that holds commas in quotes: "a,b"; numbers have a point: 0.5'
            raise UsageError(what, fix=more if len(fields) > len(header) else "write the commas of empty fields too")
        rows.append(TableRow(path, number, dict(zip(header, fields, strict=True))))
    return rows


def _as_number(text: str) -> str | None:
    """How a number is written that people write otherwise: a decimal comma, minutes and seconds, a unit."""
    if re.fullmatch(r"-?\d+,\d+", text):
        return f"write it with a point: {text.replace(',', '.')}"
    if parts := re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text):
        hours, minutes, seconds = (float(part or 0) for part in parts.groups())
        return f"write it in seconds: {hours * 3600 + minutes * 60 + seconds:g}"
    if unit := re.fullmatch(r"(-?\d+(?:\.\d+)?)\s*(?:s|sec|seconds)", text):
        return f"write the number alone: {unit.group(1)}"
    return None


def _first_odd_line(text: str) -> int:
    """The first line that ends otherwise than the first, or holds a carriage return of its own."""
    lines = text.split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        if line.endswith("\r") != lines[0].endswith("\r") or "\r" in line[:-1]:
            return number
    return len(lines) + 1


def _check_header(shown: str, header: Sequence[str], required: Sequence[str], known: Sequence[str] | None) -> None:
    _check_separator(shown, header, {*required, *(known or ())})
    if "" in header:
        what = f"{shown}:1: column {header.index('') + 1} has no name"
        raise UsageError(what, fix="name it, or take the column away with its commas")
    for index, name in enumerate(header):
        if name in header[:index]:
            raise UsageError(f"{shown}:1: the column {name!r} is there twice")
        if known is not None and name not in known:
            raise UsageError(f"{shown}:1: unknown column {name!r}", fix=near(name, known))
    for name in required:
        if name not in header:
            raise UsageError(f"{shown}:1: the column {name!r} is missing", fix=near(name, header))


def _check_separator(shown: str, header: Sequence[str], names: set[str]) -> None:
    """Raises UsageError for a header that commas do not separate, as spreadsheets of many countries write it."""
    if header and header[0].lower().startswith("sep="):
        raise UsageError(f"{shown}:1: {header[0]!r} is no header, but a line for Excel", fix="take the first line away")
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        parts = {part.strip().strip('"').lower() for name in header if mark in name for part in name.split(mark)}
        if parts & names:
            what = f"{shown}:1: {word} separate the columns, not commas"
            raise UsageError(what, fix="save it as CSV with commas between the fields, and points in numbers (0.5)")
