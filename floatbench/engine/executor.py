"""Where jobs run: in this process, in local worker processes, or on a Ray cluster. The rows are the same."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from floatbench.engine.job import Item, Job, JobSettings, Phase, Worker
from floatbench.engine.records import Row
from floatbench.errors import DependencyError, FloatbenchError
from floatbench.seeds import derive_seed

OnRow = Callable[[Row], None]
MAX_START_FAILURES = 3
MAX_BACK_OFF_S = 5.0
LOAD_TIMEOUT_S = 1800.0
LEAVE_S = 30.0  # a baseline gets ten seconds of its own to say goodbye, and its private folder has to go


class Executor(Protocol):
    """Runs jobs in any order and reports every row exactly once, from the calling thread."""

    def run(self, settings: JobSettings, jobs: Sequence[Job], on_row: OnRow) -> None: ...


class InlineExecutor:
    """Runs the jobs one after another in this process: no isolation, easy to debug."""

    def run(self, settings: JobSettings, jobs: Sequence[Job], on_row: OnRow) -> None:
        worker = Worker(settings)
        try:
            for job in jobs:
                for row in worker.run(job):
                    on_row(row)
        finally:
            worker.close()


def failed_row(settings: JobSettings, job: Job, item: Item, reason: str, detail: str) -> Row:
    """The row of an item whose worker died or was stopped."""
    return Row(
        method=item.method,
        clip=job.clip.id,
        identity=job.clip.identity,
        replicate=item.replicate,
        status="failed",
        reason=reason,
        detail=detail,
        seed=derive_seed(settings.seed, job.clip.id, item.replicate),
        method_key=item.key,
    )


@dataclass
class _Slot:
    """One worker process and what it is doing."""

    index: int
    process: Any
    pipe: Connection
    job: Job | None = None
    done: int = 0
    phase: Phase = "measure"
    since: float = 0.0
    ready: bool = False


class LocalExecutor:
    """Worker processes on this machine; a crash or a time-out costs the clip in flight and nothing else.

    Args:
        workers: number of processes; with several CUDA devices worker k owns device k.
        threads: torch and OpenCV threads of each worker; fixed, so that results do not depend on `workers`.
        timeout: seconds one method may take for one clip, None for no limit.
        load_timeout: seconds it may take to load.
    """

    def __init__(
        self, workers: int = 1, threads: int = 1, timeout: float | None = None, load_timeout: float = LOAD_TIMEOUT_S
    ) -> None:
        self.workers, self.threads = max(1, workers), threads
        self._limits: dict[Phase, float | None] = {"load": load_timeout, "generate": timeout, "measure": None}
        self._context = multiprocessing.get_context("spawn")

    def run(self, settings: JobSettings, jobs: Sequence[Job], on_row: OnRow) -> None:
        queue = deque(jobs)
        slots: list[_Slot] = []
        self._crashes_in_a_row = self._start_failures = 0
        try:
            for index in range(min(self.workers, len(queue))):
                slots.append(self._start(settings, index))
            while slots:
                self._turn(settings, queue, slots, on_row)
        finally:
            for slot in slots:
                _end(slot)

    def _turn(self, settings: JobSettings, queue: deque[Job], slots: list[_Slot], on_row: OnRow) -> None:
        """Waits for news from any worker, handles it, and looks after time-outs."""
        wait([slot.pipe for slot in slots] + [slot.process.sentinel for slot in slots], timeout=0.5)
        for slot in list(slots):
            alive = self._read(settings, slot, queue, on_row)
            limit = self._limits[slot.phase]
            overdue = limit is not None and time.monotonic() - slot.since > limit
            if alive and not overdue:
                continue
            slots.remove(slot)
            _end(slot)
            if slot.job is not None or not slot.ready:
                self._lost(settings, slot, queue, on_row, overdue)
            if queue:
                slots.append(self._start(settings, slot.index))

    def _read(self, settings: JobSettings, slot: _Slot, queue: deque[Job], on_row: OnRow) -> bool:
        """Handles the waiting messages of one worker; False when it has ended."""
        try:
            while slot.pipe.poll():
                kind, content = slot.pipe.recv()
                if kind == "error":
                    raise content
                if kind == "phase":
                    slot.phase, slot.since = content, time.monotonic()
                elif kind == "row":
                    slot.done, slot.phase, self._crashes_in_a_row = slot.done + 1, "measure", 0
                    on_row(content)
                elif kind == "ready":
                    slot.ready, slot.job, slot.done = True, None, 0
                    self._start_failures = 0
                    if not queue:
                        slot.pipe.send(None)
                        return False
                    slot.job = queue.popleft()
                    slot.pipe.send(slot.job)
        except (EOFError, OSError):
            return False
        return slot.process.is_alive() or slot.pipe.poll()

    def _lost(self, settings: JobSettings, slot: _Slot, queue: deque[Job], on_row: OnRow, overdue: bool) -> None:
        """Writes the failed row of the item in flight and puts the rest of its job back into the queue."""
        if slot.job is None:
            self._start_failures += 1
            if self._start_failures >= MAX_START_FAILURES:
                raise DependencyError("worker processes die while starting", fix="floatbench doctor")
            return
        item = slot.job.items[slot.done]
        if overdue:
            on_row(
                failed_row(
                    settings, slot.job, item, "timeout", f"no end of {slot.phase} after {self._limits[slot.phase]:g} s"
                )
            )
        else:
            on_row(failed_row(settings, slot.job, item, *_death(slot.process.exitcode)))
            self._crashes_in_a_row += 1
            time.sleep(min(0.1 * 2**self._crashes_in_a_row, MAX_BACK_OFF_S))
        rest = slot.job.items[slot.done + 1 :]
        if rest:
            queue.appendleft(replace(slot.job, items=rest))

    def _start(self, settings: JobSettings, index: int) -> _Slot:
        ours, theirs = self._context.Pipe()
        settings = replace(settings, device=_device(settings.device, index))
        process = self._context.Process(
            target=_serve, args=(theirs, pickle.dumps(settings), self.threads, os.getpid()), daemon=False
        )
        with _thread_environment(self.threads):
            process.start()
        theirs.close()
        return _Slot(index, process, ours)


def _death(exit_code: int | None) -> tuple[str, str]:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        reason = "out_of_memory" if name == "SIGKILL" else "crashed"
        detail = (
            "ended by SIGKILL, usually the system's out-of-memory killer" if name == "SIGKILL" else f"ended by {name}"
        )
        return reason, detail
    return "crashed", f"exit code {exit_code}"


def _device(device: str, index: int) -> str:
    """`cuda` with several devices becomes `cuda:<worker>`; a named device stays."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{index % max(1, torch.cuda.device_count())}"


@contextmanager
def _thread_environment(threads: int) -> Iterator[None]:
    """Sets the thread limits that libraries read when they are first loaded, for a child about to start."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end(slot: _Slot) -> None:
    """Lets an idle worker finish, stops a busy one."""
    if slot.job is None:
        slot.process.join(timeout=LEAVE_S)
    if slot.process.is_alive():
        slot.process.kill()
    slot.process.join()
    slot.pipe.close()


def _serve(pipe: Connection, settings: bytes, threads: int, parent: int) -> None:
    """The main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    _die_with(parent)
    try:
        loaded: JobSettings = pickle.loads(settings)
        prepare_worker(threads, loaded.device)
        worker = Worker(loaded)
        while True:
            pipe.send(("ready", None))
            job = pipe.recv()
            if job is None:
                worker.close()
                return
            for row in worker.run(job, phase=lambda name: pipe.send(("phase", name))):
                pipe.send(("row", row))
    except FloatbenchError as error:
        pipe.send(("error", error))
    except (EOFError, BrokenPipeError):
        return


def prepare_worker(threads: int, device: str) -> None:
    """Thread limits, full float32 precision and quiet libraries; torch itself follows OMP_NUM_THREADS on the CPU."""
    from floatbench.paths import quiet_third_parties

    quiet_third_parties()
    import cv2

    cv2.setNumThreads(threads)
    if device.startswith("cuda"):
        import torch

        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False


def _die_with(parent: int) -> None:
    """Asks Linux to end this process when its parent dies, so that a killed run leaves no worker behind."""
    if sys.platform != "linux":
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def default_workers(device: str) -> int:
    """One process per CUDA device, else one per core as far as memory (2 GiB each) reaches, at most eight."""
    if device.startswith("cuda"):
        import torch

        return max(1, torch.cuda.device_count()) if device == "cuda" else 1
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, 8, int(psutil.virtual_memory().available // 2**31)))
