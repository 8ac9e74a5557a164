"""How far long work has come: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console


class BarProgress:
    """Draws bars with rate and time left on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, line: str) -> None:
        self._console.print(line, markup=False)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[_Bar]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with RichProgress(*columns, console=self._console, transient=False) as bars:
            yield _Bar(bars, bars.add_task(label, total=total, rate="", note=""), unit)


class _Bar:
    def __init__(self, bars: Any, task_id: Any, unit: str) -> None:
        self._bars, self._task_id, self._unit = bars, task_id, unit
        self._start, self._done = time.monotonic(), 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        self._bars.update(self._task_id, advance=amount, rate=f"{rate:.2f} {self._unit}/s", note=note[:60])


class LineProgress:
    """Writes one line per finished item to standard error, with rate and time left; no colour, no control codes."""

    def note(self, line: str) -> None:
        warn(line)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[_Lines]:
        yield _Lines(label, total, unit)


class _Lines:
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._start, self._done, self._printed = time.monotonic(), 0, 0.0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if self._done != self._total and now - self._printed < 1.0:  # at most a line a second
            return
        self._printed = now
        rate = self._done / max(now - self._start, 1e-9)
        left = f", {(self._total - self._done) / rate:.0f} s left" if self._total else ""
        total = f"/{self._total}" if self._total else ""
        warn(f"{self._label}: {self._done}{total} ({rate:.2f} {self._unit}/s{left}) {note}".rstrip())


def warn(line: str) -> None:
    """A line to standard error; a standard error that takes nothing is no reason to stop."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
