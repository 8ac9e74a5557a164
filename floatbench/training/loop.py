"""The loop around a phase: steps, log, checkpoints, signals, and the stop at the first number that is not finite."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from floatbench.errors import Interrupted, RunIncomplete
from floatbench.progress import Progress
from floatbench.training.across import said_by_any
from floatbench.training.checkpoints import check_clips, read_checkpoint, write_checkpoint
from floatbench.training.log import TrainingLog
from floatbench.training.validation import Validator

CHECKPOINT = "checkpoint.safetensors"


class NotFinite(Exception):
    """A loss or a gradient is NaN or infinite; the weights have not been touched by it."""


class Phase(Protocol):
    """One phase of training; everything random in a step follows from the seed and the step's number."""

    def step(self, step: int) -> dict[str, float]:
        """Takes one optimiser step and returns its losses; raises NotFinite instead of taking a broken one."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """All that must be saved to go on."""
        ...

    def load(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """The inverse of `tensors` and `state`."""
        ...

    def state(self) -> dict[str, Any]:
        """What must be saved beside the tensors, JSON types."""
        ...

    def sample(self, folder: Path, step: int) -> None:
        """Writes pictures that show how far it is."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How long a phase runs and where it writes.

    Attributes:
        steps: in all. save_every, sample_every: steps between checkpoints and pictures, 0 = only at the end.
        config_hash, config: of the configuration, kept in the checkpoint.
        clips: the list of those that are trained on, see `floatbench.training.clip_order.listed`; kept there, too.
        main: False in all but the first of several processes: they neither write nor report.
        trackers: see `TrainingLog`. validator: scores held-out clips while the phase trains.
    """

    name: str
    folder: Path
    steps: int
    save_every: int
    sample_every: int
    config_hash: str
    config: str
    main: bool = True
    trackers: tuple[str, ...] | None = None
    validator: Validator | None = None
    clips: Mapping[str, Any] = field(default_factory=dict)


def run_phase(phase: Phase, schedule: Schedule, progress: Progress, resume: bool = False) -> int:
    """Trains until `schedule.steps` are done and returns the number of steps taken now.

    Raises:
        Interrupted: SIGTERM or SIGINT; the step in hand was finished and saved.
        RunIncomplete: a number became NaN or infinite; the last checkpoint is untouched.
        DataError: there is no checkpoint to go on from, or it was trained on another list of clips.
    """
    path = schedule.folder / CHECKPOINT
    first = 0
    if resume:
        tensors, state = read_checkpoint(path, schedule.config_hash)
        check_clips(path, state, schedule.clips)
        phase.load(tensors, state)
        first = int(state["step"])
    log = TrainingLog(schedule.folder, first, schedule.trackers) if schedule.main else None
    try:
        with stop_signals() as stopped:
            if log is not None and schedule.validator is not None and schedule.validator.begin(first):
                log.validated(first, schedule.validator.measure(first))
            _steps(phase, schedule, progress, first, log, stopped)
    finally:
        if log is not None:
            log.close()
    return schedule.steps - first


def _steps(
    phase: Phase, schedule: Schedule, progress: Progress, first: int, log: TrainingLog | None, stopped: threading.Event
) -> None:
    saved = first
    with progress.task(schedule.name, schedule.steps - first, "step") as task:
        for step in range(first, schedule.steps):
            start = time.perf_counter()
            try:
                losses = phase.step(step)
            except NotFinite as error:
                raise RunIncomplete(
                    f"{schedule.name}: {error} at step {step}; the checkpoint of step {saved} is the last good one",
                    fix="lower the rate in the configuration, and begin anew with another --out",
                ) from error
            if log is not None:
                log.write(step, losses, step_seconds=round(time.perf_counter() - start, 4))
            task.advance(note=" ".join(f"{name} {value:.3f}" for name, value in list(losses.items())[:4]))
            done, last = step + 1, step + 1 == schedule.steps
            stop = said_by_any(stopped.is_set())  # processes hear a signal at different moments and must end together
            if last or stop or (schedule.save_every and done % schedule.save_every == 0):
                _save(phase, schedule, done)
                saved = done
            if schedule.main and (last or (schedule.sample_every and done % schedule.sample_every == 0)):
                phase.sample(schedule.folder / "samples", done)
            if log is not None and not (stop and not last):  # who was stopped validates when it goes on
                _validate(schedule, done, last, log)
            if stop and not last:
                raise Interrupted(
                    f"{schedule.name} stopped after step {done}, which is saved", fix="run again with --resume"
                )


def _validate(schedule: Schedule, done: int, last: bool, log: TrainingLog) -> None:
    if schedule.validator is not None and schedule.validator.due(done, last):
        log.validated(done, schedule.validator.measure(done))


def _save(phase: Phase, schedule: Schedule, step: int) -> None:
    if schedule.main:
        state = phase.state() | {"step": step, "config_hash": schedule.config_hash, "config": schedule.config}
        state |= {"clips": dict(schedule.clips)} if schedule.clips else {}
        write_checkpoint(schedule.folder / CHECKPOINT, phase.tensors(), state)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set instead of ending the process (in the main thread only)."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


Part = tuple[Tensor, Mapping[str, Tensor]]
"""The loss of a part of the batch, as its share of the whole batch's, and the terms that it is made of."""


def update(
    optimiser: torch.optim.Optimizer,
    loss: Tensor,
    rate: float,
    clip: float,
    backward: Any,
    terms: Mapping[str, Tensor],
    more: Iterable[Part] = (),
) -> float:
    """One optimiser step at a rate, after clipping; returns the gradient norm.

    Args:
        more: further parts of the batch, each reckoned when the gradients of the one before are in, so that memory
            holds one part at a time.

    Raises:
        NotFinite: the loss or the gradient is NaN or infinite; nothing was changed.
    """
    optimiser.zero_grad(set_to_none=True)
    for part, parts in chain([(loss, terms)], more):
        if not bool(torch.isfinite(part.detach())):
            broken = [name for name, term in parts.items() if not bool(torch.isfinite(term.detach()).all())]
            raise NotFinite(f"the loss became {float(part.detach())} ({', '.join(broken) or 'total'})")
        backward(part)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip if clip > 0 else math.inf))
    if not math.isfinite(norm):
        raise NotFinite(f"the gradient norm became {norm}")
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("ratio", 1.0)
    optimiser.step()
    return norm


def rate_at(step: int, steps: int, rate: float, warmup: int, decay_from: float) -> float:
    """Linear rise over `warmup` steps, constant, then from `decay_from` of the run a half cosine down to a tenth."""
    factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
    start = decay_from * steps
    if decay_from < 1 and step > start:
        factor *= 0.1 + 0.45 * (1 + math.cos(math.pi * (step - start) / (steps - start)))
    return rate * factor
