"""How many worker processes a machine carries: cores, and memory by what such a worker was seen to need.

A worker tells the most memory that it held, with its children (a baseline's own process), and the largest is kept
beside the cached features. Resident memory counts libraries that workers share once for each: it is never too small.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from floatbench import paths
from floatbench.engine.plan import Plan
from floatbench.errors import FloatbenchError
from floatbench.processes import free_memory
from floatbench.records import RecordFile, read_record, write_record

UNKNOWN = 2 << 30  # bytes of a worker of which nothing is known yet
UNKNOWN_WORKERS = 8  # and no more of these than that
_KEPT = 200  # the latest that are kept


@dataclass(frozen=True)
class PeakMemory:
    """The most memory that a worker and its children have held, bytes."""

    bytes: int


class WorkerMemory(RecordFile):
    """Kind of work -> the largest peak of one worker in bytes, the latest last."""

    noun: ClassVar[str] = "list of peaks"

    schema_version: int = 1
    peaks: dict[str, int] = Field(default_factory=dict)


def _file() -> Path:
    return paths.cache_dir() / "worker-memory.json"


def _known() -> WorkerMemory:
    try:
        return read_record(_file(), WorkerMemory)
    except FloatbenchError:
        return WorkerMemory()


def _kind(plan: Plan) -> tuple[str, str]:
    """Protocol and device, and the methods and backbones of the work."""
    work = "\n".join([*sorted(plan.methods), "", *sorted(plan.backbones)])
    return f"{plan.protocol.hash[:16]} {plan.device} ", hashlib.sha256(work.encode()).hexdigest()[:16]


def measured_peak(plan: Plan) -> int | None:
    """What a worker needed for the same work before, else the most that any work on the protocol's clips needed."""
    peaks, (clips, work) = _known().peaks, _kind(plan)
    alike = [peak for kind, peak in peaks.items() if kind.startswith(clips)]
    return peaks.get(clips + work) or max(alike, default=None)


def keep_peak(plan: Plan, peak: int) -> None:
    """Keeps what the workers of a call needed; nothing where they told nothing, or where nothing can be written."""
    if not peak:
        return
    known, kind = _known(), "".join(_kind(plan))
    peak = max(peak, known.peaks.pop(kind, 0))
    kept = dict(list(known.peaks.items())[1 - _KEPT :]) | {kind: peak}
    try:
        write_record(_file(), WorkerMemory(peaks=kept))
    except OSError:
        return


def default_workers(device: str, peak: int | None = None) -> int:
    """One process per CUDA device, else one per core as far as memory reaches.

    Args:
        peak: bytes that a worker was seen to need; None: 2 GiB, and at most eight workers.
    """
    if device.startswith("cuda"):
        import torch

        return max(1, torch.cuda.device_count()) if device == "cuda" else 1
    most = cores() if peak else min(cores(), UNKNOWN_WORKERS)
    return max(1, min(most, free_memory() // (peak or UNKNOWN)))


def chosen_workers(plan: Plan, told: int | None, note: Callable[[str], None]) -> int:
    """Worker processes of a call, 0 for none: as it was told to, else what the machine carries, which is noted."""
    if told is not None:
        return told
    peak = measured_peak(plan)
    workers = default_workers(plan.device, peak)
    if plan.device == "cpu":
        note(said(workers, peak))
    return workers


def said(workers: int, peak: int | None) -> str:
    """The line of the log that says why there are so many workers."""
    each = f"{(peak or UNKNOWN) / 2**30:.1f} GiB each, {'measured before' if peak else 'not measured yet'}"
    return f"workers: {workers} ({cores()} cores, {free_memory() / 2**30:.1f} GiB free, {each}; --workers N overrides)"


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_of_clips(n_clips: int, workers: int) -> int:
    """Clips of one method that each worker process sees, rounded up."""
    return -(-n_clips // max(1, workers))
