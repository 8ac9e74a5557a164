"""`floatbench speed`: how fast methods are, beside the run that says how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import allow_fabricated, command
from floatbench.cli.output import Output, table

if TYPE_CHECKING:
    from floatbench.speed.measure import SpeedInput
    from floatbench.speed.record import Scenario, SpeedFile, SpeedRow


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    command(app)(speed)


@dataclass(frozen=True)
class SpeedChoices:
    """The options of `floatbench speed`."""

    methods: Annotated[str, typer.Option("--methods", "-m", help="Methods, comma separated.")]
    scenario: Annotated[str, typer.Option(help="offline, single-stream, forward or streaming.")] = "single-stream"
    source: Annotated[Path | None, typer.Option("--source", help="A picture, used as it is.")] = None
    audio: Annotated[Path | None, typer.Option("--audio", help="A sound file.")] = None
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="Take the clips of a protocol instead.")] = ""
    limit: Annotated[int, typer.Option(min=1, help="With --protocol: the first N clips on this machine.")] = 4
    boxes: Annotated[
        str,
        typer.Option(help="With --protocol: face boxes by mediapipe, s3fd, given or none, as the clips were prepared."),
    ] = ""
    size: Annotated[int | None, typer.Option(help="With --protocol: side of the prepared crop in pixels.")] = None
    run: Annotated[Path | None, typer.Option("--run", help="The run that scored the same methods.")] = None
    warmup: Annotated[int, typer.Option(min=0, help="Untimed calls before the clock starts.")] = 1
    repeats: Annotated[int, typer.Option(min=1, help="Timed passes over all clips.")] = 5
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto"
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Run seed.")] = 0
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the speed file here.")] = None
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Allow seeded random weights; such rows stay unpaired.")
    ] = False


def speed(choices: SpeedChoices, output: Output) -> int:
    """Time methods: frames a second, latency, first frame, stages, memory, with the clocks of the GPU.

    A row without a run of the same configuration is printed as `unpaired` and no FPS figure takes it.
    Exit codes: 0 done, 1 a method failed, 2 usage, 3 environment, 4 data or weights missing.
    """
    from floatbench.device import pick_device
    from floatbench.records import write_record
    from floatbench.speed.measure import SpeedPlan
    from floatbench.speed.pairing import finished_run, pair
    from floatbench.speed.process import measure_all

    scenario = _scenario(choices.scenario)
    allow_fabricated(choices.fabricated)
    device = pick_device(choices.device)
    names = _names(choices.methods, device)
    quality = finished_run(choices.run) if choices.run else None  # a wrong folder is found before anything is timed
    inputs, label = _inputs(choices)
    plan = SpeedPlan(scenario, choices.warmup, choices.repeats, choices.seed, device)
    with output.progress().task("speed", len(names) * plan.calls(len(inputs)), unit="call") as bar:
        record = measure_all(names, inputs, label, plan, choices.threads, lambda note: bar.advance(note=note))
    pair(record.rows, quality)
    if choices.out is not None:
        write_record(choices.out, record)
    output.result(record.model_dump(mode="json"), "\n".join(_lines(record)))
    return 1 if any(row.status == "failed" for row in record.rows) else 0


def _scenario(text: str) -> Scenario:
    from floatbench.errors import UsageError
    from floatbench.speed.record import SCENARIOS

    if text not in SCENARIOS:
        raise UsageError(f"unknown scenario {text!r}", fix=f"--scenario {'|'.join(SCENARIOS)}")
    return text


def _names(text: str, device: str) -> list[str]:
    """The methods that were named, as a run names them, each checked before any process is started."""
    from floatbench.errors import UsageError
    from floatbench.methods.catalogue import parse_methods
    from floatbench.speed.process import created

    names = list(dict.fromkeys(created(name, device).name for name in parse_methods(text)))
    if not names:
        raise UsageError("no method was named", fix="--methods float")
    return names


def _inputs(choices: SpeedChoices) -> tuple[list[SpeedInput], str]:
    from floatbench.errors import UsageError
    from floatbench.speed.process import input_from_files, inputs_from_protocol

    source, audio = choices.source, choices.audio
    if choices.protocol and not (source or audio):
        return inputs_from_protocol(choices.protocol, choices.limit, choices.boxes or None, choices.size)
    if choices.boxes or choices.size:
        raise UsageError("--boxes and --size choose clips of a protocol", fix="add --protocol, or leave them out")
    if source and audio and not choices.protocol:
        return [input_from_files(source, audio)], f"{source.name} + {audio.name}"
    raise UsageError("give --source IMG and --audio WAV, or --protocol P", fix="floatbench speed --help")


def _lines(record: SpeedFile) -> list[str]:
    headings = ("method", "FPS", "range", "s/clip", "real time", "first frame", "NFE a window", "memory")
    lines = [table([headings, *map(_cells, record.rows)])]
    for row in record.rows:
        lines.append(f"{row.method}: {_standing(row)}")
        lines += [f"{row.method}: {note}" for note in row.details.get("notes", ())]
        if row.stages:
            total = sum(row.stages.values())
            stages = (f"{name} {value:.3f} s ({value / total:.0%})" for name, value in row.stages.items() if total)
            lines.append(f"{row.method}: {', '.join(stages)}")
        if row.gpu is not None:
            held = ", ".join(f"{name} {share:.0%}" for name, share in row.gpu.throttled.items()) or "nothing"
            lines.append(f"{row.method}: {row.gpu.name}, {row.gpu.sm_clock_mhz.median:.0f} MHz, held down by {held}")
        if row.joules_per_video_s is not None:
            lines.append(f"{row.method}: {row.joules_per_video_s:.1f} J per second of video, the whole board")
    threads = record.machine.get("torch_threads") or record.machine.get("omp_num_threads") or "all"
    lines.append(
        f"{record.scenario}, {record.clips} clip(s) of {record.inputs}, warm-up {record.warmup}, "
        f"median of {record.repeats}; {record.environment.get('device')}, {threads} thread(s)"
    )
    return lines


def _cells(row: SpeedRow) -> tuple[str, ...]:
    if row.status != "ok" or row.fps is None:
        return (row.method, row.status, *[""] * 6)
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
        "n/a" if row.nfe_per_window is None else f"{row.nfe_per_window:g}",
        memory,
    )


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _standing(row: SpeedRow) -> str:
    """The quality a row belongs to, or why it has none."""
    if row.status != "ok":
        return f"{row.status}: {row.reason}"
    return f"quality of {row.quality.run}, {row.quality.label}" if row.quality else f"unpaired: {row.unpaired_because}"
