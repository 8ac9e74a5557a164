"""Progress reporting that the engine may call and the command line draws."""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol


class Task(Protocol):
    """One bar: `advance` after each finished item, with an optional one-line note."""

    def advance(self, amount: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Where long work reports to; `NullProgress` is silent, the command line's draws bars on a terminal."""

    def task(self, label: str, total: int | None, unit: str = "clip") -> AbstractContextManager[Task]: ...

    def note(self, line: str) -> None:
        """Prints one line of information beside the bars."""


class NullProgress:
    """Reports nothing."""

    def task(self, label: str, total: int | None, unit: str = "clip") -> _NullTask:
        return _NullTask()

    def note(self, line: str) -> None:
        return None


class _NullTask:
    def __enter__(self) -> _NullTask:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def advance(self, amount: int = 1, note: str = "") -> None:
        return None
