"""Each method is timed in a fresh process: its memory is its own, and a crash costs one row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.engine.environment import environment
from floatbench.errors import ClipError, DataError, FloatbenchError, UsageError
from floatbench.methods.method import Method
from floatbench.processes import Death, Perform, Send, WorkerPool
from floatbench.speed import machine
from floatbench.speed.measure import SpeedInput, SpeedPlan, measure, probes_for
from floatbench.speed.record import SpeedFile, SpeedRow
from floatbench.text import now
from floatbench.types import SAMPLES_PER_FRAME


def measure_all(
    names: Sequence[str],
    inputs: Sequence[SpeedInput],
    label: str,
    plan: SpeedPlan,
    threads: int | None,
    tick: Callable[[str], None],
) -> SpeedFile:
    """Measures methods one after another, each apart; the rows are not paired with a run yet.

    Args:
        label: of the inputs, for the record.
        threads, tick: see `measure_apart`.
    """
    rows, found_machine = [], {}
    for name in names:
        row, found = measure_apart(name, inputs, plan, threads, tick)
        rows.append(row)
        found_machine = found or found_machine
    return SpeedFile(
        created=now(),
        scenario=plan.scenario,
        inputs=label,
        clips=len(inputs),
        warmup=plan.warmup,
        repeats=plan.repeats,
        seed=plan.seed,
        threads=threads,
        machine=found_machine,
        environment=environment(plan.device),
        rows=rows,
    )


def measure_apart(
    name: str, inputs: Sequence[SpeedInput], plan: SpeedPlan, threads: int | None, tick: Callable[[str], None]
) -> tuple[SpeedRow, dict[str, Any]]:
    """Measures one method in a process of its own; returns its row and what `machine.machine` said there.

    Args:
        threads: CPU threads of torch and of the libraries below it; None leaves them as they are.
        tick: called with a short note after every call of the method.
    """
    pool = WorkerPool[str](_measures, 1, threads, arguments=lambda _: (list(inputs), plan))
    row, found = SpeedRow(method=name, status="failed"), {}
    try:
        for _, news in pool.run(deque([name])):
            if isinstance(news, Death):
                row.reason = f"{news.reason}: {news.detail}"
            elif isinstance(news, str):
                tick(news)
            else:
                row, found = SpeedRow.model_validate(news[0]), news[1]
    except FloatbenchError as error:
        row.reason = str(error)
    return row, found


@contextmanager
def _measures(inputs: list[SpeedInput], plan: SpeedPlan) -> Iterator[Perform]:
    from floatbench.methods import catalogue

    def perform(name: str, send: Send) -> None:
        row = measure(catalogue.create(name), inputs, plan, probes_for(plan.device, send))
        row.fabricated = fabricated_weights(row.configuration)
        send((row.model_dump(mode="json"), machine.machine()))

    yield perform


def fabricated_weights(configuration: dict[str, Any]) -> list[str]:
    """Which weights of a method's description (`weights`: name -> sha256) are seeded random numbers here.

    A description may also name them itself (`fabricated`).
    """
    from floatbench import weights

    told = configuration.get("fabricated")
    found = [str(name) for name in told] if isinstance(told, list) else ["weights"] if told else []
    named = configuration.get("weights") or {}
    found += [name for name in named if name in weights.names() and weights.is_fabricated(name)]
    return list(dict.fromkeys(found))


def input_from_files(picture: Path, sound: Path) -> SpeedInput:
    """One picture and one sound file as they are; the sound is padded with silence to whole frames."""
    from floatbench.media import read_audio, read_image

    try:
        source, audio = read_image(picture), read_audio(sound)
    except ClipError as error:
        raise DataError(str(error)) from error
    if not len(audio):
        raise DataError(f"{sound} holds no sound")
    padding = -len(audio) % SAMPLES_PER_FRAME
    whole = np.concatenate([audio, np.zeros(padding, np.int16)])
    return SpeedInput(f"{picture.stem}+{sound.stem}", "given", source, whole)


def inputs_from_protocol(
    name: str, limit: int, boxes: str | None = None, size: int | None = None
) -> tuple[list[SpeedInput], str]:
    """The first clips of a protocol that are on this machine, and the protocol's label.

    Args:
        name, boxes, size: see `floatbench.protocol.load.load_protocol`.
    """
    from floatbench.data.catalogue import dataset_for
    from floatbench.protocol.load import load_protocol

    protocol = load_protocol(name, boxes, size)
    dataset = dataset_for(protocol)
    ready = [state.clip_id for state in dataset.availability() if state.state == "ready"]
    if not ready:
        raise DataError(f"no clip of {name} is prepared", fix=f"floatbench protocol prepare {protocol.origin}")
    chosen = set(ready[:limit])
    return list(_inputs(dataset, [clip for clip in protocol.clips if clip.id in chosen])), protocol.label


def _inputs(dataset: Any, clips: Iterable[Any]) -> Iterable[SpeedInput]:
    for clip in clips:
        try:
            reference = dataset.load(clip)
        except ClipError as error:
            raise DataError(f"{clip.id}: {error}") from error
        if reference.media.audio is None:
            raise UsageError(f"{clip.id} has no sound", fix="choose other clips")
        yield SpeedInput(clip.id, clip.slug, reference.source, reference.media.audio)


def created(name: str, device: str = "cpu") -> Method:
    """Checks a method before any process is started; it bears the canonical form of the name.

    Raises UsageError with near names, or DataError with the command that fetches its weights.
    """
    from floatbench.methods import catalogue

    method = catalogue.create(name)
    method.check_device(device)
    method.describe()
    return method
