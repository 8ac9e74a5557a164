"""Where jobs run: in this process, in local worker processes, or on a Ray cluster. The rows are the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Protocol

from floatbench.device import keep_float32
from floatbench.engine.job import Item, Job, JobSettings, Worker
from floatbench.engine.records import Row
from floatbench.engine.worker_memory import PeakMemory
from floatbench.paths import quiet_third_parties
from floatbench.processes import Perform, Send, Stage, WorkerPool, peak_memory

OnRow = Callable[[Row], None]
LOAD_TIMEOUT_S = 1800.0


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
    return settings.begun_row(job.clip, item).model_copy(update={"reason": reason, "detail": detail})


class LocalExecutor:
    """Worker processes on this machine; a crash or a time-out costs the clip in flight and nothing else.

    Args:
        workers: number of processes; with several CUDA devices worker k owns device k.
        threads: torch and OpenCV threads of each worker; fixed, so that results do not depend on `workers`.
        timeout: seconds one method may take for one clip, None for no limit.
        load_timeout: seconds it may take to load.

    Attributes:
        peak: bytes, the most that one of the processes has held with its children.
    """

    def __init__(
        self, workers: int = 1, threads: int = 1, timeout: float | None = None, load_timeout: float = LOAD_TIMEOUT_S
    ) -> None:
        self.workers, self.threads, self.peak = max(1, workers), threads, 0
        self._limits: dict[str, float | None] = {"load": load_timeout, "generate": timeout}

    def run(self, settings: JobSettings, jobs: Sequence[Job], on_row: OnRow) -> None:
        pool = WorkerPool[Job](
            _serves,
            self.workers,
            self.threads,
            self._limits,
            lambda index: (replace(settings, device=_device(settings.device, index)), self.threads),
        )
        queue = deque(jobs)
        done: set[tuple[str, str, int]] = set()
        with closing(pool.run(queue)) as events:
            for job, news in events:
                if isinstance(news, Row):
                    done.add(news.key)
                    on_row(news)
                    continue
                if isinstance(news, PeakMemory):
                    self.peak = max(self.peak, news.bytes)
                    continue
                left = [item for item in job.items if (item.method, job.clip.id, item.replicate) not in done]
                if left:
                    on_row(failed_row(settings, job, left[0], news.reason, news.detail))
                if left[1:]:
                    queue.appendleft(replace(job, items=tuple(left[1:])))


@contextmanager
def _serves(settings: JobSettings, threads: int) -> Iterator[Perform]:
    prepare_worker(threads, settings.device)
    worker = Worker(settings)

    def perform(job: Job, send: Send) -> None:
        for row in worker.run(job, phase=lambda name: send(Stage(name))):
            send(row)
        send(PeakMemory(peak_memory() or 0))

    yield perform
    worker.close()


def _device(device: str, index: int) -> str:
    """`cuda` with several devices becomes `cuda:<worker>`; a named device stays."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{index % max(1, torch.cuda.device_count())}"


def prepare_worker(threads: int, device: str) -> None:
    """Thread limits, full float32 precision and quiet libraries; torch itself follows OMP_NUM_THREADS on the CPU."""
    quiet_third_parties()
    import cv2

    cv2.setNumThreads(threads)
    if device.startswith("cuda"):
        keep_float32()
