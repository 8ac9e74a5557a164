"""Reads CSV tables strictly: UTF-8 without byte-order mark, named columns, no stray fields."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from floatbench.errors import DataError, UsageError
from floatbench.text import near, printable

SAVE = "save it as UTF-8 without byte-order mark"
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
            raise self.error(column, f"{text!r} is not a number") from None
        if value != value or value in (float("inf"), float("-inf")):
            raise self.error(column, f"{text!r} is not a finite number")
        return value


def read_text(path: Path, mark: bool = False) -> str:
    """The text of a UTF-8 file, its byte-order mark refused or, with `mark`, left out.

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
    if mark:
        data = data.removeprefix(b"\xef\xbb\xbf")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{shown}:1: the file starts with a byte-order mark", fix=SAVE)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{shown}:{line}: byte 0x{data[error.start]:02x} is not UTF-8", fix=SAVE) from None


def read_table(
    path: Path, required: Sequence[str] = (), known: Sequence[str] | None = None, spreadsheet: bool = False
) -> list[TableRow]:
    """All rows of a CSV file with a header line.

    Args:
        required: columns that must be there; known: when given, the only columns that may be there.
        spreadsheet: take off what people and their programs add: a byte-order mark and spaces around the fields.

    Raises:
        UsageError: with file, line and column.
    """
    text = read_text(path, mark=spreadsheet)
    shown = printable(path)
    lines = text.count("\n")
    if 0 < text.count("\r\n") < lines or "\r" in text.replace("\r\n", ""):
        where = f"{shown}:{_first_odd_line(text)}"
        raise UsageError(f"{where}: Windows and Unix line ends are mixed", fix="save it with one kind of line end")
    if (zero := text.find("\0")) >= 0:
        raise UsageError(f"{shown}:{text.count(chr(10), 0, zero) + 1}: a zero byte; this is no text file")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=spreadsheet)
    rows_of_fields = ([field.strip() for field in fields] for fields in reader) if spreadsheet else reader
    try:
        header = next(rows_of_fields, None)
        if not header:
            raise UsageError(f"{shown}: the table is empty", fix="the first line names the columns")
        _check_header(shown, header, required, known)
        rows = []
        for fields in rows_of_fields:
            if not fields:
                continue
            if len(fields) != len(header):
                where = f"{shown}:{reader.line_num}"
                raise UsageError(f"{where}: {len(fields)} fields, but the header names {len(header)} columns")
            rows.append(TableRow(path, reader.line_num, dict(zip(header, fields, strict=True))))
    except csv.Error as error:
        raise UsageError(f"{shown}:{reader.line_num}: {error}") from None
    return rows


def _first_odd_line(text: str) -> int:
    """The first line that ends otherwise than the first, or holds a carriage return of its own."""
    lines = text.split("\n")[:-1]
    for number, line in enumerate(lines, start=1):
        if line.endswith("\r") != lines[0].endswith("\r") or "\r" in line[:-1]:
            return number
    return len(lines) + 1


def _check_header(shown: str, header: Sequence[str], required: Sequence[str], known: Sequence[str] | None) -> None:
    if "" in header:
        raise UsageError(f"{shown}:1: column {header.index('') + 1} has no name")
    for index, name in enumerate(header):
        if name in header[:index]:
            raise UsageError(f"{shown}:1: the column {name!r} is there twice")
        if known is not None and name not in known:
            raise UsageError(f"{shown}:1: unknown column {name!r}", fix=near(name, known))
    for name in required:
        if name not in header:
            raise UsageError(f"{shown}:1: the column {name!r} is missing", fix=near(name, header))
