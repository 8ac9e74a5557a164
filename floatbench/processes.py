"""Worker processes: how they start, what limits them, why they ended. A process that dies costs the task in hand.

The standard library's process pool breaks as a whole when one process dies, names no reason and knows no time limit.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from floatbench import plugins
from floatbench.errors import DependencyError, FloatbenchError
from floatbench.paths import quiet_third_parties

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""What numerical libraries read, when they are first loaded, to learn how many threads they may start."""
MAX_START_FAILURES = 3
MAX_BACK_OFF_S = 5.0
LEAVE_S = 30.0  # a baseline gets ten seconds of its own to say goodbye, and its private folder has to go
TURN_S = 0.5

T = TypeVar("T")
R = TypeVar("R")
Send = Callable[[Any], None]
Perform = Callable[[Any, Send], None]
"""Does one task, which may be any value that pickles, and sends what comes of it."""


@dataclass(frozen=True)
class Death:
    """A process that ended before its task did: a code of `floatbench.errors.REASONS` and one line of detail."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Stage:
    """Sent by a task that begins another stage of its work; it lasts until the next, or until something is sent.

    The time limit of the stage counts from its beginning.
    """

    name: str


@dataclass(frozen=True)
class _Raised:
    error: Exception


class WorkerPool(Generic[T]):
    """Processes that work through a queue; one that dies or overruns costs its task and is replaced.

    Args:
        work: a function that pickles (a partial of one at the top of a module). Called once in each process, it returns
            a context manager whose value does the tasks.
        workers: most processes at a time.
        threads: of each numerical library in each process; None leaves them as they are.
        limits: seconds that a stage may take, by the name that its `Stage` has.
        arguments: given the number of a process (from 0), the arguments of `work` there.
    """

    def __init__(
        self,
        work: Callable[..., AbstractContextManager[Perform]],
        workers: int,
        threads: int | None = None,
        limits: Mapping[str, float | None] | None = None,
        arguments: Callable[[int], Sequence[Any]] = lambda index: (),
    ) -> None:
        self._work, self._workers, self._threads = work, max(1, workers), threads
        self._limits, self._arguments = dict(limits or {}), arguments

    def run(self, tasks: deque[T]) -> Generator[tuple[T, Any]]:
        """Empties the queue; yields each task with each thing it sent, in the order of events.

        The last of a task that was not finished is a `Death`. The caller may put tasks into the queue meanwhile. An
        error of floatbench in a process is raised here; when the iteration ends early, busy processes are killed.

        Raises:
            DependencyError: processes die again and again before they take a task.
        """
        children: list[_Child[T]] = []
        self._losses_in_a_row = self._start_failures = 0
        try:
            for index in range(min(self._workers, len(tasks))):
                children.append(self._start(index))
            while children:
                yield from self._turn(tasks, children)
        finally:
            for child in children:
                child.end()

    def _start(self, index: int) -> _Child[T]:
        return _Child(index, self._work, self._arguments(index), self._threads)

    def _turn(self, tasks: deque[T], children: list[_Child[T]]) -> Iterator[tuple[T, Any]]:
        """Waits for news from any process and handles it, looks after time limits, replaces what died."""
        wait([child.pipe for child in children] + [child.process.sentinel for child in children], timeout=TURN_S)
        for child in list(children):
            yield from self._news(child, tasks)
            overdue = child.overdue(self._limits)
            if child.going_on() and overdue is None:
                continue
            children.remove(child)
            child.end()
            if child.busy:
                yield child.task, overdue or child.death()
                self._wait_after_loss(overdue)
            elif not child.ready:
                self._start_failures += 1
                if self._start_failures >= MAX_START_FAILURES:
                    raise DependencyError("worker processes die while starting", fix="floatbench doctor")
            if tasks:
                children.append(self._start(child.index))

    def _news(self, child: _Child[T], tasks: deque[T]) -> Iterator[tuple[T, Any]]:
        for kind, content in child.received():
            if kind == "error":
                raise content
            if kind == "ready":
                self._start_failures = 0
                child.give(tasks)
            elif isinstance(content, Stage):
                child.enter(content.name)
            else:
                self._losses_in_a_row = 0
                child.enter("")
                yield child.task, content

    def _wait_after_loss(self, overdue: Death | None) -> None:
        if overdue is None:
            self._losses_in_a_row += 1
            time.sleep(min(0.1 * 2**self._losses_in_a_row, MAX_BACK_OFF_S))


class _Child(Generic[T]):
    """One process and what it is doing."""

    task: T

    def __init__(self, index: int, work: Callable[..., Any], arguments: Sequence[Any], threads: int | None) -> None:
        self.index, self.ready, self.busy, self.left = index, False, False, False
        self._stage, self._since = "", time.monotonic()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_serve, args=(theirs, pickle.dumps((work, tuple(arguments))), os.getpid())
        )
        with thread_limits(threads):
            self.process.start()
        theirs.close()

    def received(self) -> Iterator[tuple[str, Any]]:
        """The messages that have come."""
        try:
            while not self.left and self.pipe.poll():
                yield self.pipe.recv()
        except (EOFError, OSError):
            self.left = True

    def give(self, tasks: deque[T]) -> None:
        """Hands over the next task, or lets the process leave."""
        self.ready, self.busy, self._stage = True, False, ""
        with suppress(BrokenPipeError):  # it has died since; its task is then lost like any other
            if tasks:
                self.task, self.busy = tasks.popleft(), True
                self.pipe.send(self.task)
            else:
                self.left = True
                self.pipe.send(None)

    def enter(self, stage: str) -> None:
        self._stage, self._since = stage, time.monotonic()

    def overdue(self, limits: Mapping[str, float | None]) -> Death | None:
        """What to say of a stage that has taken longer than its limit; None while it has not."""
        limit = limits.get(self._stage)
        if not self.busy or limit is None or time.monotonic() - self._since <= limit:
            return None
        return Death("timeout", f"no end of {self._stage} after {limit:g} s")

    def going_on(self) -> bool:
        return not self.left and (self.process.is_alive() or self.pipe.poll())

    def death(self) -> Death:
        return death(self.process.exitcode)

    def end(self) -> None:
        """Lets an idle process finish, stops a busy one."""
        if not self.busy:
            self.process.join(timeout=LEAVE_S if self.ready else 0)
        elif self.left:
            self.process.join(timeout=1)  # it closed its end: its own exit code tells why
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, pickled: bytes, parent: int) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    die_with(parent)
    quiet_third_parties()
    plugins.make_findable()
    try:
        work, arguments = pickle.loads(pickled)
        with work(*arguments) as perform:
            while True:
                pipe.send(("ready", None))
                task = pipe.recv()
                if task is None:
                    return
                perform(task, lambda content: pipe.send(("content", content)))
    except FloatbenchError as error:
        pipe.send(("error", error))
    except (EOFError, BrokenPipeError):
        return


def die_with(parent: int) -> None:
    """Asks Linux to end this process when its parent dies, so that a killed run leaves no worker behind."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def death(exit_code: int | None) -> Death:
    """Why a process ended that was not meant to."""
    if exit_code is None or exit_code >= 0:
        return Death("crashed", f"exit code {exit_code}")
    if -exit_code == signal.SIGKILL:
        return Death("out_of_memory", "ended by SIGKILL, usually the system's out-of-memory killer")
    return Death("crashed", f"ended by {signal_name(-exit_code)}")


def signal_name(number: int) -> str:
    """`SIGSEGV` and the like; numbers without a name in words."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def thread_limits(threads: int | None) -> Iterator[None]:
    """Sets `THREAD_VARIABLES` for a process that is about to start; None leaves them as they are."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    if threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def silenced_stderr() -> Iterator[None]:
    """Sends what native code writes to file descriptor 2 nowhere; errors still arrive as exceptions."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def as_finished(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    setting: Callable[[], AbstractContextManager[Any]] = nullcontext,
    threads: int | None = None,
) -> Generator[tuple[int, R | Death]]:
    """Number and result of each item, in the order in which they are done; in this process when `workers` is 1.

    An item whose process dies has its `Death` as result. What the function raises is raised here.

    Args:
        function, setting: must pickle; each process works inside `setting()`.
        threads: of each numerical library in each process; None leaves them as they are.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        with setting():
            for index, item in enumerate(items):
                yield index, function(item)
        return
    pool = WorkerPool[tuple[int, T]](partial(_applies, function, setting), workers, threads)
    with closing(pool.run(deque(enumerate(items)))) as events:
        for (index, _), result in events:
            if isinstance(result, _Raised):
                raise result.error
            yield index, result


def in_order(function: Callable[[T], R], items: Sequence[T], workers: int, does: str) -> Generator[R]:
    """The result of each item, in the order of the items; see `as_finished`.

    Args:
        does: what a process does, for the error message.

    Raises:
        DependencyError: a process died.
    """
    waiting: dict[int, R] = {}
    due = 0
    with closing(as_finished(function, items, workers)) as results:
        for index, result in results:
            if isinstance(result, Death):
                raise DependencyError(
                    f"a process that {does} died: {result.detail}",
                    fix="run again with fewer --workers; what was finished and kept is not done again",
                )
            waiting[index] = result
            while due in waiting:
                yield waiting.pop(due)
                due += 1


@contextmanager
def _applies(function: Callable[[Any], Any], setting: Callable[[], AbstractContextManager[Any]]) -> Iterator[Perform]:
    def perform(task: tuple[int, Any], send: Send) -> None:
        try:
            result = function(task[1])
        except Exception as error:
            error.add_note("".join(traceback.format_exception(error)))
            result = _Raised(error)
        send(result)

    with setting():
        yield perform


def free_memory() -> int:
    """Bytes that a process can still have."""
    import psutil

    return int(psutil.virtual_memory().available)


def peak_memory() -> int | None:
    """Largest resident memory so far of this process plus that of each of its children, bytes.

    Exact per process on Linux (VmHWM); the sum is an upper bound because the peaks need not coincide. Elsewhere the
    present resident size stands in where the system keeps no peak.
    """
    import psutil

    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += _peak(process.pid) or process.memory_info().rss
        except psutil.Error:  # a child that has just ended
            continue
    return total


def _peak(pid: int) -> int | None:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
