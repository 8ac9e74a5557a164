"""The work that people who have the page open asked for: at most one thing each, which they can stop."""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from floatbench.errors import FloatbenchError
from floatbench.web.making import Models, check


class Desk:
    """What the page keeps between two events.

    Args:
        folder: an empty one, for everything that is made; it goes with the server.
        device: where models run.

    Attributes:
        models: those that are loaded.
    """

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device, self.models = folder, device, Models()
        self._stops: dict[str, threading.Event] = {}
        self._numbers = itertools.count(1)
        self._running = 0
        self._idle = threading.Condition()

    def begin(self, session: str) -> None:
        """A session asks for something: from now on it can be stopped, also while it waits for its turn."""
        self._stops[session] = threading.Event()

    def stop(self, session: str) -> None:
        """Ends what a session asked for; does nothing when that is over."""
        if stop := self._stops.get(session):
            stop.set()

    @contextmanager
    def work(self, session: str) -> Iterator[tuple[Path, threading.Event]]:
        """A new folder for one result, and what is set to end it; the folder goes again unless the work is finished.

        Raises:
            Interrupted: it was stopped before its turn came.
        """
        stop = self._stops.setdefault(session, threading.Event())
        check(stop)
        with self._idle:
            place = self.folder / f"{next(self._numbers):04d}"
            self._running += 1
        place.mkdir(parents=True)
        try:
            yield place, stop
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def close(self, seconds: float = 10.0) -> None:
        """Ends everything and waits until it has ended, or for as long as given."""
        for stop in list(self._stops.values()):
            stop.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._running, seconds)


def foreseen(error: Exception) -> FloatbenchError:
    """The error as one that can be told in a line; of one that was not foreseen the terminal has the rest."""
    if isinstance(error, FloatbenchError):
        return error
    traceback.print_exception(error, file=sys.stderr)
    detail = str(error) or "no detail"
    return FloatbenchError(f"{type(error).__name__}: {detail}", fix="see the terminal that floatbench web runs in")
