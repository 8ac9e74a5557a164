"""Pairs of phase 1 straight from the files: every clip once an epoch, two of its frames decoded, by worker processes.

Row b of the batch of step s is place s B + b of the clips' order, and its frames follow from seed, step and b. So a
resumed run draws what an uninterrupted one would, the batch does not depend on the number of processes, each of them
decodes its own rows alone, and no two rows of an epoch show one clip twice. B is the whole batch.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from floatbench.errors import ClipError, DataError, DependencyError, FloatbenchError
from floatbench.training.batches import WHOLE, Pairs, draw_pair, gathered, step_random
from floatbench.training.clips import ClipOrder, ClipSet

AHEAD = 2
"""Batches that each worker holds ready."""
TRIES = 3
"""Clips that are tried for a row before the data are given up: a part of a clip may show no face."""


@dataclass(frozen=True)
class PlannedRow:
    """A row of a batch and the clips that may fill it, the first usable one does."""

    row: int
    clips: tuple[int, ...]


@dataclass(frozen=True)
class PairPlan(Sampler[tuple[int, list[PlannedRow]]]):
    """The rows of one process for every step from `first` on; known without opening a file."""

    order: ClipOrder
    batch: int
    rows: slice
    first: int
    steps: int

    def at(self, step: int) -> list[PlannedRow]:
        """The rows of a step."""
        entry, start = self.order.entry, step * self.batch
        return [
            PlannedRow(row, tuple(entry(start + row + again * self.batch) for again in range(TRIES)))
            for row in range(self.batch)[self.rows]
        ]

    def __iter__(self) -> Iterator[tuple[int, list[PlannedRow]]]:
        return ((step, self.at(step)) for step in range(self.first, self.steps))

    def __len__(self) -> int:
        return self.steps - self.first


@dataclass(frozen=True)
class PairReader(Dataset[Any]):
    """Reads the rows of a step; what goes wrong is handed back, since errors of ours do not survive torch's raising."""

    clips: ClipSet
    seed: int
    flip: bool

    def __getitem__(self, planned: tuple[int, list[PlannedRow]]) -> Pairs | FloatbenchError:
        step, rows = planned
        try:
            return self.read(step, rows)
        except FloatbenchError as error:
            return error

    def read(self, step: int, rows: list[PlannedRow]) -> Pairs:
        """The pairs of some rows as bytes; raises ClipError and DataError when a file cannot be read."""
        found = []
        for planned in rows:
            rng = step_random(self.seed, step, f"pairs/{planned.row}")
            index, frames = self._usable(planned)
            a, b = (int(value) for value in rng.integers(frames, size=2))
            two = self.clips.picked(index, (a, b))
            found.append(draw_pair(rng, two, self.flip, (0, 1)))
        return gathered(found)

    def _usable(self, planned: PlannedRow) -> tuple[int, int]:
        for index in planned.clips:
            try:
                return index, self.clips.count(index)
            except ClipError as error:
                if error.reason not in ("no_face", "face_lost"):
                    raise
        raise DataError(f"{len(planned.clips)} clips in a row show no face, e.g. number {planned.clips[0]}")


class PairStream:
    """The batches of one process, step after step.

    Args:
        batch: rows of the whole batch. rows: those of this process. steps: of the training in all.
        workers: processes that decode ahead, 0 to decode in the step. pinned: see `Pairs.pin_memory`.
    """

    def __init__(
        self,
        clips: ClipSet,
        order: ClipOrder,
        batch: int,
        seed: int,
        flip: bool,
        steps: int,
        rows: slice = WHOLE,
        workers: int = 1,
        pinned: bool = False,
    ) -> None:
        self.clips, self.order, self.batch, self.rows, self.steps = clips, order, batch, rows, steps
        self.reader, self.workers, self.pinned = PairReader(clips, seed, flip), workers, pinned
        self._coming: Iterator[Any] | None = None
        self._due = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._coming = None  # its workers leave with it

    def plan(self, first: int) -> PairPlan:
        """The rows of this process from a step on."""
        return PairPlan(self.order, self.batch, self.rows, first, self.steps)

    def at(self, step: int) -> Pairs:
        """The rows of this process at a step; workers begin anew where steps do not follow each other.

        Raises:
            ClipError, DataError: files cannot be read. DependencyError: a worker died.
        """
        if self._coming is None or step != self._due:
            self._coming = iter(self._loader(step))
        self._due = step + 1
        try:
            found = next(self._coming)
        except RuntimeError as error:
            raise DependencyError(
                f"a process that decodes training clips died: {str(error).splitlines()[0]}",
                fix="run again with --resume and fewer --workers, and see that /dev/shm is not full",
            ) from error
        if isinstance(found, FloatbenchError):
            raise found
        return found

    def shown(self, count: int) -> Pairs:
        """Some pairs for pictures: the first of the order, in this process."""
        plan = PairPlan(self.order, count, WHOLE, 0, 1)
        return PairReader(self.clips, self.reader.seed, False).read(0, plan.at(0))

    def _loader(self, first: int) -> DataLoader[Any]:
        many: dict[str, Any] = {}
        if self.workers:
            many = {"multiprocessing_context": "spawn", "prefetch_factor": AHEAD, "worker_init_fn": _begin}
        return DataLoader(
            self.reader,
            batch_size=None,
            sampler=self.plan(first),
            num_workers=self.workers,
            collate_fn=_as_read,
            pin_memory=self.pinned,
            **many,
        )


def _as_read(found: Any) -> Any:
    """Batches come whole."""
    return found


def _begin(_: int) -> None:
    """A worker: interrupts are the trainer's to handle, and one thread of each library is enough."""
    import cv2

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
