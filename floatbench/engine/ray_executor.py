"""Runs the same jobs on a Ray cluster (extra `distributed`). The run folder must be on a disk that all nodes share."""

from __future__ import annotations

import os
import pickle
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from floatbench import plugins
from floatbench.engine.executor import OnRow, failed_row, prepare_worker
from floatbench.engine.job import Job, JobSettings, Worker
from floatbench.engine.records import Row
from floatbench.errors import DependencyError, FloatbenchError

MAX_TRIES = 2


class RayExecutor:
    """Actors on a Ray cluster, one job at a time each; a job whose worker dies is tried once more elsewhere.

    Args:
        address: of a running cluster (`auto`, `host:port`), or `local` to start one on this machine.
        workers: number of actors, 0 for one per CPU (or GPU when the device is CUDA) of the cluster.
        timeout: seconds one method may take for one clip.
    """

    def __init__(self, address: str, workers: int = 0, threads: int = 1, timeout: float | None = None) -> None:
        self.address, self.workers, self.threads, self.timeout = address, workers, threads, timeout

    def run(self, settings: JobSettings, jobs: Sequence[Job], on_row: OnRow) -> None:
        ray = _ray()
        started_here = not ray.is_initialized()
        if started_here:
            try:
                ray.init(address=None if self.address == "local" else self.address, log_to_driver=False)
            except (ConnectionError, ValueError) as error:
                raise DependencyError(f"no Ray cluster at {self.address!r}: {error}", fix="ray start --head") from None
        try:
            self._drive(ray, settings, _single_items(jobs), on_row)
        finally:
            if started_here:
                ray.shutdown()

    def _drive(self, ray: Any, settings: JobSettings, queue: deque[tuple[Job, int]], on_row: OnRow) -> None:
        gpu = settings.device.startswith("cuda")
        count = self.workers or int(ray.cluster_resources().get("GPU" if gpu else "CPU", 1))
        remote = ray.remote(num_cpus=1, num_gpus=1 if gpu else 0, max_restarts=0)(_Actor)
        idle = [
            remote.remote(pickle.dumps(settings), self.threads, plugins.environment())
            for _ in range(max(1, min(count, len(queue))))
        ]
        busy: dict[Any, tuple[Any, Job, int]] = {}
        while queue or busy:
            while queue and idle:
                job, tries = queue.popleft()
                actor = idle.pop()
                busy[actor.run.remote(job)] = (actor, job, tries)
            finished, _ = ray.wait(list(busy), num_returns=1, timeout=self.timeout)
            if not finished:  # nothing ended within the time limit: the oldest job has overrun it
                finished = [next(iter(busy))]
                on_row(failed_row(settings, busy[finished[0]][1], busy[finished[0]][1].items[0], "timeout", ""))
                actor, _, _ = busy.pop(finished[0])
                ray.kill(actor)
                idle.append(remote.remote(pickle.dumps(settings), self.threads, plugins.environment()))
                continue
            actor, job, tries = busy.pop(finished[0])
            idle.append(self._collect(ray, finished[0], actor, job, tries, queue, on_row, settings, remote))

    def _collect(
        self,
        ray: Any,
        reply: Any,
        actor: Any,
        job: Job,
        tries: int,
        queue: deque[tuple[Job, int]],
        on_row: OnRow,
        settings: JobSettings,
        remote: Any,
    ) -> Any:
        """Hands on the rows of a finished job; returns the actor that is free now (a new one after a death)."""
        try:
            result = ray.get(reply)
        except ray.exceptions.RayError as error:
            if tries + 1 < MAX_TRIES:
                queue.appendleft((job, tries + 1))
            else:
                on_row(failed_row(settings, job, job.items[0], "crashed", type(error).__name__))
            return remote.remote(pickle.dumps(settings), self.threads, plugins.environment())
        if isinstance(result, FloatbenchError):
            raise result
        for row in result:
            on_row(row)
        return actor


def _single_items(jobs: Sequence[Job]) -> deque[tuple[Job, int]]:
    return deque((replace(job, items=(item,)), 0) for job in jobs for item in job.items)


class _Actor:
    """A worker on some node of the cluster."""

    def __init__(self, pickled: bytes, threads: int, variables: Mapping[str, str]) -> None:
        os.environ.update(variables, OMP_NUM_THREADS=str(threads))
        plugins.make_findable()  # the settings hold methods, which a plugin may have made
        settings: JobSettings = pickle.loads(pickled)
        prepare_worker(threads, settings.device)
        self._worker = Worker(settings)

    def run(self, job: Job) -> list[Row] | FloatbenchError:
        try:
            return list(self._worker.run(job))
        except FloatbenchError as error:  # as a value: Ray would wrap a raised one beyond recognition
            return error


def _ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise DependencyError(
            "the Ray executor needs the extra `distributed`", fix="pip install -e '.[distributed]'"
        ) from None
    return ray
