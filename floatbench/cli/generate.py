"""`floatbench generate`: animate a picture, or a table of pictures, with sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from floatbench.cli.command import allow_fabricated, command
from floatbench.cli.output import Output

if TYPE_CHECKING:
    from floatbench.animate.jobs import GenerateSettings, VideoOutcome


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    command(app)(generate)


@dataclass(frozen=True)
class GenerateChoices:
    """The options of `floatbench generate`."""

    image: Annotated[Path | None, typer.Option("--image", "-i", help="The portrait.")] = None
    audio: Annotated[Path | None, typer.Option("--audio", "-a", help="The speech; a video's sound will do.")] = None
    out: Annotated[Path, typer.Option("--out", "-o", help=".mp4, or .mkv for lossless pictures.")] = Path("out.mp4")
    jobs: Annotated[
        Path | None, typer.Option("--jobs", help="CSV with image,audio,out and optionally seed,emotion.")
    ] = None
    weights: Annotated[str, typer.Option("--weights", help="float, float-tiny or a checkpoint file.")] = "float"
    preset: Annotated[str, typer.Option("--preset", help="default, paper or official; see docs/sampling.md.")] = (
        "default"
    )
    crop: Annotated[str, typer.Option("--crop", help="Face detector: s3fd, mediapipe, or given with --boxes.")] = "s3fd"
    no_crop: Annotated[bool, typer.Option("--no-crop", help="The picture is already a face crop.")] = False
    boxes: Annotated[Path | None, typer.Option("--boxes", help="Face boxes for --crop given.")] = None
    emotion: Annotated[
        str, typer.Option("--emotion", help="speech, a label such as happy, or 7 comma-separated weights.")
    ] = "speech"
    a_cfg: Annotated[float | None, typer.Option("--a-cfg", help="Guidance scale of the audio.")] = None
    e_cfg: Annotated[float | None, typer.Option("--e-cfg", help="Guidance scale of the emotion.")] = None
    r_cfg: Annotated[float | None, typer.Option("--r-cfg", help="Guidance scale of the reference.")] = None
    reference_branch: Annotated[
        bool, typer.Option("--reference-branch", help="Evaluate the fourth branch that --r-cfg needs.")
    ] = False
    nfe: Annotated[int | None, typer.Option("--nfe", help="Evaluations a window (grid points with official).")] = None
    solver: Annotated[str | None, typer.Option("--solver", help="euler, midpoint, heun, rk4, dopri5 ...")] = None
    control: Annotated[
        list[str] | None, typer.Option("--control", help="DIR=VALUE, DIR=curve.csv, DIR=set:VALUE; repeatable.")
    ] = None
    project_motion: Annotated[
        bool, typer.Option("--project-motion", help="Keep the motion inside the motion space.")
    ] = False
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0
    audio_context: Annotated[
        str | None, typer.Option("--audio-context", help="full, or window: any length in constant memory.")
    ] = None
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 ...")] = "cpu"
    dtype: Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")] = "float32"
    impl: Annotated[str, typer.Option("--impl", help="fast or plain arithmetic.")] = "fast"
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the networks first.")] = False
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Let random weights stand in for missing ones; the video is noise.")
    ] = False


def generate(choices: GenerateChoices, output: Output) -> int:
    """Animates a portrait with speech; writes H.264 and AAC, whole or not at all, marked as synthetic media.

    A table of jobs carries on after a failed row, and called again it makes only what is missing or was made otherwise.
    """
    from floatbench.animate import jobs as batch

    allow_fabricated(choices.fabricated)
    if single := choices.jobs is None:
        rows = [batch.single(choices.image, choices.audio, choices.out)]
    else:
        rows = batch.read_jobs(choices.jobs)
    outcomes = batch.run(_settings(choices), rows, output.progress(), stop_at_first=single)
    records = [outcome.record() for outcome in outcomes]
    output.result(records[0] if single else {"jobs": records}, "\n".join(map(_line, outcomes)))
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _settings(choices: GenerateChoices) -> GenerateSettings:
    from floatbench.animate import jobs as batch
    from floatbench.sampling.control import parse_control
    from floatbench.sampling.options import preset

    options = preset(
        choices.preset, a_cfg=choices.a_cfg, e_cfg=choices.e_cfg, r_cfg=choices.r_cfg,
        reference_branch=choices.reference_branch or None, nfe=choices.nfe, solver=choices.solver,
        audio_context=choices.audio_context,
    )  # fmt: skip
    return batch.GenerateSettings(
        weights=choices.weights, device=choices.device,
        dtype=cast("Any", choices.dtype), impl=cast("Any", choices.impl),
        compile=choices.compile_, preset=choices.preset, options=options,
        crop="none" if choices.no_crop else choices.crop, boxes=choices.boxes, emotion=choices.emotion,
        seed=choices.seed, project=choices.project_motion,
        controls=tuple(parse_control(text) for text in choices.control or ()),
    )  # fmt: skip


def _line(outcome: VideoOutcome) -> str:
    if outcome.error:
        return f"{outcome.out}: failed: {outcome.error}"
    if outcome.video is None:
        return f"{outcome.out}: already made with these settings"
    record: dict[str, Any] = outcome.video.record()
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in record["seconds"].items())
    total = sum(record["seconds"].values())
    return (
        f"{record['path']}: {record['n_frames']} frames in {total:.1f} s ({record['fps']:.2f} frames/s), "
        f"NFE {record['nfe']} ({record['network_rows']} network rows); seconds: {stages}"
    )
