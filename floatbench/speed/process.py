"""Each method is timed in a fresh process: its memory is its own, and a crash costs one row."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.engine.environment import environment
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods.method import Method
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
    rows, machine = [], {}
    for name in names:
        row, found = measure_apart(name, inputs, plan, threads, tick)
        rows.append(row)
        machine = found or machine
    return SpeedFile(
        created=now(),
        scenario=plan.scenario,
        inputs=label,
        clips=len(inputs),
        warmup=plan.warmup,
        repeats=plan.repeats,
        seed=plan.seed,
        threads=threads,
        machine=machine,
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
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    kept = os.environ.get("OMP_NUM_THREADS")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch and BLAS read it when the child imports them
    try:
        child = context.Process(target=_work, args=(theirs, name, list(inputs), plan))
        child.start()
    finally:
        if threads is not None:
            _restore("OMP_NUM_THREADS", kept)
    theirs.close()
    try:
        while True:
            kind, value = ours.recv()
            if kind == "tick":
                tick(value)
            else:
                row, machine = value
                return SpeedRow.model_validate(row), machine
    except EOFError:
        child.join()
        reason = f"crashed: the process ended with code {child.exitcode}"
        return SpeedRow(method=name, status="failed", reason=reason), {}
    finally:
        ours.close()
        if child.is_alive():
            child.join(5)
        if child.is_alive():
            child.terminate()
        child.join()


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


def _work(pipe: Connection, name: str, inputs: list[SpeedInput], plan: SpeedPlan) -> None:
    from floatbench.methods import catalogue
    from floatbench.paths import quiet_third_parties
    from floatbench.speed import machine

    quiet_third_parties()
    method = catalogue.create(name)
    row = measure(method, inputs, plan, probes_for(plan.device, lambda note: pipe.send(("tick", note))))
    row.fabricated = fabricated_weights(row.configuration)
    pipe.send(("row", (row.model_dump(mode="json"), machine.machine())))
    pipe.close()


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


def created(name: str) -> Method:
    """Checks a method before any process is started.

    Raises UsageError with near names, or DataError with the command that fetches its weights.
    """
    from floatbench.methods import catalogue

    method = catalogue.create(name)
    method.describe()
    return method
