"""How far long work has come: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

SURE_STEPS, SURE_SECONDS, SURE_SHARE = 3, 5.0, 0.02
"""No time left is told before as many steps, seconds and as large a share of the work: what comes first (workers that
start, networks that load) says nothing of the rest."""


class Estimate:
    """How fast work goes, and how long the rest will take once that can be said.

    Args:
        total: of all there is to do; None where that is not known.
        clock: seconds, for tests.
    """

    def __init__(self, total: int | None, clock: Callable[[], float] | None = None) -> None:
        self.total, self.done = total, 0
        self._clock = clock or time.monotonic
        self._start, self._steps = self._clock(), 0

    def advance(self, amount: int) -> None:
        self.done += amount
        self._steps += 1

    @property
    def rate(self) -> float:
        """Done in a second, on average since the start."""
        return self.done / max(self._clock() - self._start, 1e-9)

    def left(self) -> str:
        """`about 3 min left`; empty while nobody can know, and when nothing is left."""
        if not self.total or self.done >= self.total or self._steps < SURE_STEPS:
            return ""
        if self._clock() - self._start < SURE_SECONDS or self.done < SURE_SHARE * self.total:
            return ""
        return f"about {in_time((self.total - self.done) / self.rate)} left"


def in_time(seconds: float) -> str:
    """A length of time as roughly as it is known: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class BarProgress:
    """Draws bars with rate and time left on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, line: str) -> None:
        self._console.print(line, markup=False)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[_Bar]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with RichProgress(*columns, console=self._console, transient=False) as bars:
            yield _Bar(bars, bars.add_task(label, total=total, rate="", left="", note=""), total, unit)


class _Bar:
    def __init__(self, bars: Any, task_id: Any, total: int | None, unit: str) -> None:
        self._bars, self._task_id, self._unit = bars, task_id, unit
        self._estimate = Estimate(total)

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._estimate.advance(amount)
        rate, left = f"{self._estimate.rate:.2f} {self._unit}/s", self._estimate.left()
        self._bars.update(self._task_id, advance=amount, rate=rate, left=left, note=note[:60])


class LineProgress:
    """Writes one line per finished item to standard error, with rate and time left; no colour, no control codes."""

    def note(self, line: str) -> None:
        warn(line)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[_Lines]:
        yield _Lines(label, total, unit)


class _Lines:
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label, self._unit = label, unit
        self._estimate, self._printed = Estimate(total), 0.0

    def advance(self, amount: int = 1, note: str = "") -> None:
        known = self._estimate
        known.advance(amount)
        now = time.monotonic()
        if known.done != known.total and now - self._printed < 1.0:  # at most a line a second
            return
        self._printed = now
        left = f", {known.left()}" if known.left() else ""
        total = f"/{known.total}" if known.total else ""
        warn(f"{self._label}: {known.done}{total} ({known.rate:.2f} {self._unit}/s{left}) {note}".rstrip())


def warn(line: str) -> None:
    """A line to standard error; a standard error that takes nothing is no reason to stop."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
