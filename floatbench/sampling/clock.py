"""Seconds by stage, for the record of every generated video."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

STAGES = ("crop", "speech", "emotion", "encode", "solve", "decode", "convert", "mux", "overlapped")
"""Stages of FLOAT in the order they first run; `overlapped` stands for all those that ran at once."""


class StageClock:
    """Adds up seconds by stage; a stage inside another one interrupts it, so that no second counts twice.

    On CUDA it waits for the device at both ends of a stage.

    Args:
        device: where the networks run.
        timer: what gives the seconds; None is the wall clock. `time.process_time` tells more on a busy CPU.
    """

    def __init__(self, device: torch.device | str = "cpu", timer: Callable[[], float] | None = None) -> None:
        self._timer = timer
        self._cuda = torch.device(device).type == "cuda"
        self._device = device
        self._open: list[str] = []
        self._muted = False
        self._since = 0.0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if self._muted:
            yield
            return
        self._book()
        self._open.append(stage)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    @contextmanager
    def overlapped(self, wait: bool = True) -> Iterator[None]:
        """Books everything inside on the stage `overlapped`: stages that run at once, in threads or on the device, have
        no time of their own, and waiting for the device at their ends would part them again.

        Args:
            wait: for the device at both ends; without, what it has still to do counts where it is waited for.
        """
        if self._muted:
            yield
            return
        before, self._cuda = self._cuda, self._cuda and wait
        with self("overlapped"):
            self._muted = True
            try:
                yield
            finally:
                self._muted = False
        self._cuda = before

    def _book(self) -> None:
        """Gives the time since the last change to the innermost open stage."""
        now = self._now()
        if self._open:
            stage = self._open[-1]
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize(self._device)
        return time.perf_counter() if self._timer is None else self._timer()

    @property
    def total(self) -> float:
        """Seconds of all stages together."""
        return sum(self.seconds.values())
