"""What a command says, and how: text or one JSON document on standard output, notes and progress on standard error."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, TextIO

from floatbench.cli.bars import BarProgress, LineProgress, warn
from floatbench.errors import DependencyError
from floatbench.progress import NullProgress, Progress
from floatbench.text import printable

NARROW = 24
"""Letters up to which a column of a drawn table is never broken."""


class Output:
    """Prints what a command found as `--json` and `--quiet` ask.

    Attributes:
        json: print one JSON document instead of text; an error is that document as well.
        offline: no network may be used.
        quiet: no progress and no notes.
    """

    def __init__(self, json: bool = False, offline: bool = False, quiet: bool = False) -> None:
        self.json, self.offline, self.quiet = json, offline, quiet
        self._given = False

    def result(self, document: Any, text: str) -> None:
        """What was asked for: the document with `--json`, else the text."""
        if self.json:
            self.document(document)
        else:
            self.text(text)

    def document(self, document: Any) -> None:
        """One JSON document; NaN is refused: callers write null. What the encoding cannot hold is escaped."""
        text = _dump(document, ensure_ascii=False)
        try:
            text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
        except UnicodeEncodeError:
            text = _dump(document, ensure_ascii=True)
        self._given = True
        write(text + "\n")

    def text(self, text: str) -> None:
        """Lines on standard output; nothing for an empty text."""
        if text:
            write(text if text.endswith("\n") else text + "\n")

    def note(self, line: str) -> None:
        """A line on standard error that `--quiet` leaves out."""
        if not self.quiet:
            warn(line)

    def progress(self) -> Progress:
        """Bars on a terminal's standard error, one plain line per finished item elsewhere, nothing when quiet."""
        if self.quiet:
            return NullProgress()
        return BarProgress() if sys.stderr.isatty() and not self.json else LineProgress()

    def can_ask(self) -> bool:
        """Questions are asked only on a terminal; anywhere else the option has to be given."""
        return not self.json and sys.stdin.isatty() and sys.stderr.isatty()

    def error(
        self,
        what: str,
        fix: str | None,
        code: int,
        rows: Sequence[Sequence[str]] = (),
        record: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Says what went wrong on standard error; with `--json` as the document too, unless that was printed before.

        Args:
            rows: a table of it, headings first, for people. record: the same for the document.
        """
        warn(f"error: {what}")
        if rows and not self.json:
            warn(table(rows, sys.stderr))
        if fix:
            warn(f"fix: {fix}")
        if self.json and not self._given:
            self.document({"error": what, "fix": fix, "exit_code": code, **record})


def _dump(document: Any, ensure_ascii: bool) -> str:
    return json.dumps(document, indent=2, ensure_ascii=ensure_ascii, allow_nan=False, default=str)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns, never cut or wrapped, so that they can be read by `grep` and `awk`."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells)
    return "\n".join("  ".join(row).rstrip() for row in padded)


def table(rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> str:
    """Rows of text, headings first, as the stream takes them: drawn at the terminal's width, else Markdown.

    Without a stream it is standard output.
    """
    target = sys.stdout if stream is None else stream
    return _drawn(rows, target) if target.isatty() else _markdown(rows)


def _drawn(rows: Sequence[Sequence[str]], stream: TextIO) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*rows[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for column, cells in zip(drawn.columns, zip(*rows, strict=True), strict=True):
        column.overflow, column.no_wrap = "fold", max(map(len, cells)) <= NARROW
    for row in rows[1:]:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(file=stream, highlight=False)
    with console.capture() as captured:
        console.print(drawn)
    return captured.get().rstrip("\n")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    cells = [[printable(cell).replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*cells, strict=True)]
    cells.insert(1, ["-" * width for width in widths])
    lines = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def megabytes(size: int | None, digits: int = 1) -> str:
    """A file's size for people; `?` when it is not known."""
    return "?" if size is None else f"{size / 1e6:.{digits}f} MB"


def write(text: str) -> None:
    """Text to standard output at once.

    Raises:
        BrokenPipeError: the reader has gone. DependencyError: there is no room for it.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon_output()
        what = f"standard output cannot be written: {os.strerror(error.errno or errno.EIO)}"
        raise DependencyError(what, fix="send it to a place with room") from None


def abandon_output() -> None:
    """Sends what is still unwritten nowhere, so that the interpreter does not stumble over it when it ends."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()


def prepare_streams() -> None:
    """Makes standard output and error take any text: what their encoding lacks becomes `?`, and closed ones exist."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file opened would be "standard output"
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as the process
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
