"""`floatbench speed`: how fast methods are, beside the run that says how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.common import (
    JsonOption,
    OfflineOption,
    QuietOption,
    allow_fabricated,
    console,
    make_progress,
    print_json,
)

if TYPE_CHECKING:
    from floatbench.speed.measure import SpeedInput
    from floatbench.speed.record import Scenario, SpeedFile, SpeedRow


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command("speed")(speed)


def speed(
    methods: Annotated[str, typer.Option("--methods", "-m", help="Methods, comma separated.")],
    scenario: Annotated[str, typer.Option(help="offline, single-stream or streaming.")] = "single-stream",
    source: Annotated[Path | None, typer.Option("--source", help="A picture, used as it is.")] = None,
    audio: Annotated[Path | None, typer.Option("--audio", help="A sound file.")] = None,
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="Take the clips of a protocol instead.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="With --protocol: the first N clips on this machine.")] = 4,
    boxes: Annotated[
        str,
        typer.Option(help="With --protocol: face boxes by mediapipe, s3fd, given or none, as the clips were prepared."),
    ] = "",
    size: Annotated[int | None, typer.Option(help="With --protocol: side of the prepared crop in pixels.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="The run that scored the same methods.")] = None,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed calls before the clock starts.")] = 1,
    repeats: Annotated[int, typer.Option(min=1, help="Timed passes over all clips.")] = 5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Run seed.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the speed file here.")] = None,
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Allow seeded random weights; such rows stay unpaired.")
    ] = False,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Time methods: frames a second, latency, first frame, stages, memory, with the clocks of the GPU.

    A row without a run of the same configuration is printed as `unpaired` and no FPS figure takes it.
    Exit codes: 0 done, 1 a method failed, 2 usage, 3 environment, 4 data or weights missing.
    """
    from floatbench.device import pick_device
    from floatbench.records import write_record
    from floatbench.speed.measure import SpeedPlan
    from floatbench.speed.pairing import finished_run, pair
    from floatbench.speed.process import measure_all

    chosen = _scenario(scenario)
    if fabricated:
        allow_fabricated()
    names = _names(methods)
    quality = finished_run(run) if run else None  # a wrong folder is found before anything is timed
    inputs, label = _inputs(source, audio, protocol, limit, boxes or None, size)
    plan = SpeedPlan(chosen, warmup, repeats, seed, pick_device(device))
    with make_progress(quiet, json_output).task("speed", len(names) * plan.calls(len(inputs)), unit="call") as bar:
        record = measure_all(names, inputs, label, plan, threads, lambda note: bar.advance(note=note))
    pair(record.rows, quality)
    if out is not None:
        write_record(out, record)
    if json_output:
        print_json(record.model_dump(mode="json"))
    else:
        _print(record)
    if any(row.status == "failed" for row in record.rows):
        raise typer.Exit(1)


def _scenario(text: str) -> Scenario:
    from floatbench.errors import UsageError
    from floatbench.speed.record import SCENARIOS

    if text not in SCENARIOS:
        raise UsageError(f"unknown scenario {text!r}", fix=f"--scenario {'|'.join(SCENARIOS)}")
    return text


def _names(text: str) -> list[str]:
    """The methods that were named, each checked before any process is started."""
    from floatbench.errors import UsageError
    from floatbench.methods.catalogue import parse_names
    from floatbench.speed.process import created

    names = parse_names(text)
    for name in names:
        created(name)
    if not names:
        raise UsageError("no method was named", fix="--methods float")
    return names


def _inputs(
    source: Path | None, audio: Path | None, protocol: str, limit: int, boxes: str | None, size: int | None
) -> tuple[list[SpeedInput], str]:
    from floatbench.errors import UsageError
    from floatbench.speed.process import input_from_files, inputs_from_protocol

    if protocol and not (source or audio):
        return inputs_from_protocol(protocol, limit, boxes, size)
    if boxes or size:
        raise UsageError("--boxes and --size choose clips of a protocol", fix="add --protocol, or leave them out")
    if source and audio and not protocol:
        given = input_from_files(source, audio)
        return [given], f"{source.name} + {audio.name}"
    raise UsageError("give --source IMG and --audio WAV, or --protocol P", fix="floatbench speed --help")


def _print(record: SpeedFile) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("method", "FPS", "range", "s/clip", "real time", "first frame", "NFE", "memory"):
        table.add_column(heading, no_wrap=True)
    for row in record.rows:
        table.add_row(*_cells(row))
    output = console()
    if not output.is_terminal:
        output.width = 140  # a file has no edge at which numbers must be cut
    output.print(table)
    for row in record.rows:
        print(f"{row.method}: {_standing(row)}")
        if row.stages:
            total = sum(row.stages.values())
            stages = (f"{name} {value:.3f} s ({value / total:.0%})" for name, value in row.stages.items() if total)
            print(f"{row.method}: {', '.join(stages)}")
        if row.gpu is not None:
            held = ", ".join(f"{name} {share:.0%}" for name, share in row.gpu.throttled.items()) or "nothing"
            print(f"{row.method}: {row.gpu.name}, {row.gpu.sm_clock_mhz.median:.0f} MHz, held down by {held}")
    threads = record.machine.get("torch_threads") or record.machine.get("omp_num_threads") or "all"
    print(
        f"{record.scenario}, {record.clips} clip(s) of {record.inputs}, warm-up {record.warmup}, "
        f"median of {record.repeats}; {record.environment.get('device')}, {threads} thread(s)"
    )


def _cells(row: SpeedRow) -> tuple[str, ...]:
    if row.status != "ok" or row.fps is None:
        return (row.method, row.status)
    memory = f"{(row.peak_memory_bytes or 0) / 1e9:.2f} GB"
    if row.peak_cuda_bytes is not None:
        memory += f" + {row.peak_cuda_bytes / 1e9:.2f} GB GPU"
    return (
        row.method,
        _rate(row.fps.median),
        f"{_rate(row.fps.low)}-{_rate(row.fps.high)}",
        "" if row.clip_s is None else f"{row.clip_s.median:.3f}",
        "" if row.realtime_factor is None else f"{row.realtime_factor:.3f}",
        "n/a" if row.first_frame_s is None else f"{row.first_frame_s.median:.3f} s",
        "n/a" if row.nfe is None else f"{row.nfe:g}",
        memory,
    )


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _standing(row: SpeedRow) -> str:
    """The quality a row belongs to, or why it has none."""
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    return f"quality of {row.quality.run}, {row.quality.label}" if row.quality else f"unpaired: {row.unpaired_because}"
