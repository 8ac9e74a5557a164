"""`floatbench generate`: animate a picture, or a table of pictures, with sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

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
    from floatbench.animate.jobs import VideoOutcome


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command()(generate)


def generate(
    image: Annotated[Path | None, typer.Option("--image", "-i", help="The portrait.")] = None,
    audio: Annotated[Path | None, typer.Option("--audio", "-a", help="The speech; a video's sound will do.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help=".mp4, or .mkv for lossless pictures.")] = Path("out.mp4"),
    jobs: Annotated[
        Path | None, typer.Option("--jobs", help="CSV with image,audio,out and optionally seed,emotion.")
    ] = None,
    weights: Annotated[str, typer.Option("--weights", help="float, float-tiny or a checkpoint file.")] = "float",
    preset: Annotated[
        str, typer.Option("--preset", help="default, paper or official; see docs/sampling.md.")
    ] = "default",
    crop: Annotated[
        str, typer.Option("--crop", help="Face detector: s3fd, mediapipe, or given with --boxes.")
    ] = "s3fd",
    no_crop: Annotated[bool, typer.Option("--no-crop", help="The picture is already a face crop.")] = False,
    boxes: Annotated[Path | None, typer.Option("--boxes", help="Face boxes for --crop given.")] = None,
    emotion: Annotated[
        str, typer.Option("--emotion", help="speech, a label such as happy, or 7 comma-separated weights.")
    ] = "speech",
    a_cfg: Annotated[float | None, typer.Option("--a-cfg", help="Guidance scale of the audio.")] = None,
    e_cfg: Annotated[float | None, typer.Option("--e-cfg", help="Guidance scale of the emotion.")] = None,
    r_cfg: Annotated[float | None, typer.Option("--r-cfg", help="Guidance scale of the reference.")] = None,
    reference_branch: Annotated[
        bool, typer.Option("--reference-branch", help="Evaluate the fourth branch that --r-cfg needs.")
    ] = False,
    nfe: Annotated[int | None, typer.Option("--nfe", help="Evaluations a window (grid points with official).")] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="euler, midpoint, heun, rk4, dopri5 ...")] = None,
    control: Annotated[
        list[str] | None, typer.Option("--control", help="DIR=VALUE, DIR=curve.csv, DIR=set:VALUE; repeatable.")
    ] = None,
    project_motion: Annotated[
        bool, typer.Option("--project-motion", help="Keep the motion inside the motion space.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0,
    audio_context: Annotated[
        str | None, typer.Option("--audio-context", help="full, or window: any length in constant memory.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 ...")] = "cpu",
    dtype: Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")] = "float32",
    impl: Annotated[str, typer.Option("--impl", help="fast or plain arithmetic.")] = "fast",
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the networks first.")] = False,
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Let random weights stand in for missing ones; the video is noise.")
    ] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Animates a portrait with speech; writes H.264 and AAC, whole or not at all, marked as synthetic media.

    A table of jobs carries on after a failed row, and called again it makes only what is missing or was made otherwise.
    """
    from floatbench.animate import jobs as batch
    from floatbench.sampling.control import parse_control
    from floatbench.sampling.options import preset as preset_options

    if fabricated:
        allow_fabricated()
    rows = batch.read_jobs(jobs) if jobs else [batch.single(image, audio, out)]
    options = preset_options(
        preset, a_cfg=a_cfg, e_cfg=e_cfg, r_cfg=r_cfg, reference_branch=reference_branch or None,
        nfe=nfe, solver=solver, audio_context=audio_context,
    )  # fmt: skip
    common = batch.GenerateSettings(
        weights=weights, device=device, dtype=cast("Any", dtype), impl=cast("Any", impl), compile=compile_,
        preset=preset, options=options,
        crop="none" if no_crop else crop, boxes=boxes, emotion=emotion, seed=seed, project=project_motion,
        controls=tuple(parse_control(text) for text in control or ()),
    )  # fmt: skip
    outcomes = batch.run(common, rows, make_progress(quiet, json), stop_at_first=jobs is None)
    raise typer.Exit(_finish(outcomes, table=jobs is not None, json=json))


def _finish(outcomes: list[VideoOutcome], table: bool, json: bool) -> int:
    """Prints what became of the jobs, one document for a table of them, and gives the exit code."""
    if json:
        records = [outcome.record() for outcome in outcomes]
        print_json({"jobs": records} if table else records[0])
    else:
        _print(outcomes)
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _print(outcomes: list[VideoOutcome]) -> None:
    out = console()
    for outcome in outcomes:
        if outcome.error:
            out.print(f"{outcome.out}: failed: {outcome.error}", markup=False)
        elif outcome.video is None:
            out.print(f"{outcome.out}: already made with these settings", markup=False)
        else:
            out.print(_line(outcome.video.record()), markup=False)


def _line(record: dict[str, Any]) -> str:
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in record["seconds"].items())
    total = sum(record["seconds"].values())
    return (
        f"{record['path']}: {record['n_frames']} frames in {total:.1f} s ({record['fps']:.2f} frames/s), "
        f"NFE {record['nfe']} ({record['network_rows']} network rows); seconds: {stages}"
    )
