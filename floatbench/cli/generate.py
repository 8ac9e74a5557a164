"""`floatbench generate`: animate a picture, or a table of pictures, with sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from floatbench.cli.command import allow_fabricated, command
from floatbench.cli.output import Output
from floatbench.errors import UsageError

if TYPE_CHECKING:
    from floatbench.animate.jobs import GenerateSettings, VideoOutcome


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    command(app, other_names=RELEASE, bare={"--compile": "true"})(generate)


RELEASE = {
    "--ref_path": "--image", "--aud_path": "--audio", "--res_video_path": "--out", "--ckpt_path": "--weights",
    "--emo": "--emotion", "--a_cfg_scale": "--a-cfg", "--e_cfg_scale": "--e-cfg", "--r_cfg_scale": "--r-cfg",
    "--no_crop": "--no-crop", "--torchdiffeq_ode_method": "--solver", "--ode_rtol": "--rtol", "--ode_atol": "--atol",
}  # fmt: skip
"""The spellings of FLOAT's release (`--nfe` and `--seed` are the same), understood and not shown."""


@dataclass(frozen=True)
class GenerateChoices:
    """The options of `floatbench generate`."""

    image: Annotated[Path | None, typer.Option("--image", "-i", help="The portrait.")] = None
    audio: Annotated[Path | None, typer.Option("--audio", "-a", help="The speech; a video's sound will do.")] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help=".mp4, or .mkv for lossless pictures.", show_default="out.mp4")
    ] = None
    jobs: Annotated[
        Path | None, typer.Option("--jobs", help="CSV with image,audio,out and optionally seed,emotion.")
    ] = None
    weights: Annotated[
        str, typer.Option("--weights", help="float, float-tiny or a checkpoint file; also float@official?nfe=5.")
    ] = "float"
    preset: Annotated[
        str | None, typer.Option("--preset", help="default, paper or official; see docs/sampling.md.")
    ] = None
    crop: Annotated[
        str, typer.Option("--crop", help="Face detector: auto, s3fd, mediapipe, or given with --boxes.")
    ] = "auto"
    no_crop: Annotated[bool, typer.Option("--no-crop", help="The picture is already a face crop.")] = False
    boxes: Annotated[Path | None, typer.Option("--boxes", help="Face boxes for --crop given.")] = None
    emotion: Annotated[
        str | None, typer.Option("--emotion", help="speech, a label such as happy, or 7 comma-separated weights.")
    ] = None
    a_cfg: Annotated[float | None, typer.Option("--a-cfg", help="Guidance scale of the audio.")] = None
    e_cfg: Annotated[float | None, typer.Option("--e-cfg", help="Guidance scale of the emotion.")] = None
    r_cfg: Annotated[float | None, typer.Option("--r-cfg", help="Guidance scale of the reference.")] = None
    reference_branch: Annotated[
        bool | None,
        typer.Option("--reference-branch/--no-reference-branch", help="Evaluate the fourth branch that --r-cfg needs."),
    ] = None
    nfe: Annotated[int | None, typer.Option("--nfe", help="Evaluations a window (grid points with official).")] = None
    solver: Annotated[str | None, typer.Option("--solver", help="euler, midpoint, heun, rk4, dopri5 ...")] = None
    ode_grid: Annotated[str | None, typer.Option("--ode-grid", help="What --nfe counts: steps or official.")] = None
    rtol: Annotated[float | None, typer.Option("--rtol", help="Of adaptive solvers.")] = None
    atol: Annotated[float | None, typer.Option("--atol", help="Of adaptive solvers.")] = None
    diffusion_steps: Annotated[int | None, typer.Option("--diffusion-steps", help="Of diffusion networks.")] = None
    ddim_steps: Annotated[int | None, typer.Option("--ddim-steps", help="Of diffusion networks.")] = None
    diffusion_time: Annotated[
        str | None, typer.Option("--diffusion-time", help="Of diffusion networks: index or fraction.")
    ] = None
    unconditional_audio: Annotated[
        str | None, typer.Option("--unconditional-audio", help="Previous audio without audio: drop or keep.")
    ] = None
    window_noise: Annotated[str | None, typer.Option("--window-noise", help="independent or shared.")] = None
    crop_face: Annotated[str | None, typer.Option("--crop-face", help="Of several faces: central or first.")] = None
    crop_filter: Annotated[str | None, typer.Option("--crop-filter", help="auto or official.")] = None
    pixels: Annotated[str | None, typer.Option("--pixels", help="round or truncate to 8 bits.")] = None
    control: Annotated[
        list[str] | None,
        typer.Option("--control", help="DIR=VALUE, DIR=curve.csv, DIR=set:VALUE; a number or a name; repeatable."),
    ] = None
    list_controls: Annotated[
        bool, typer.Option("--list-controls", help="Print the directions of the model, with names where it has them.")
    ] = False
    project_motion: Annotated[
        bool | None,
        typer.Option("--project-motion/--no-project-motion", help="Keep the motion inside the motion space."),
    ] = None
    pose: Annotated[
        Path | None, typer.Option("--pose", help="Head poses (frames, 6), .npy or .csv, for networks that take them.")
    ] = None
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0
    audio_context: Annotated[
        str | None, typer.Option("--audio-context", help="full, or window: any length in constant memory.")
    ] = None
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")] = "auto"
    dtype: Annotated[str | None, typer.Option("--dtype", help="float32, bfloat16 or float16.")] = None
    impl: Annotated[str | None, typer.Option("--impl", help="fast or plain arithmetic.")] = None
    compile_: Annotated[
        str | None, typer.Option("--compile", help="Compile the networks first; max: also time the kernels.")
    ] = None
    graphs: Annotated[bool | None, typer.Option("--graphs/--no-graphs", help="Replay the networks as CUDA graphs.")] = (
        None
    )
    encoder: Annotated[str, typer.Option("--encoder", help="Of .mp4: x264, or nvenc on an NVIDIA GPU.")] = "x264"
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Let random weights stand in for missing ones; the video is noise.")
    ] = False


def generate(choices: GenerateChoices, output: Output) -> int:
    """Animates a portrait with speech; writes H.264 and AAC, whole or not at all, marked as synthetic media.

    A table of jobs carries on after a failed row, and called again it makes only what is missing or was made otherwise.
    """
    from floatbench.animate import jobs as batch

    allow_fabricated(choices.fabricated)
    if choices.list_controls:
        return _list_controls(choices.weights, output)
    _check_exclusive(choices)
    if single := choices.jobs is None:
        rows = [batch.single(choices.image, choices.audio, choices.out or Path("out.mp4"))]
    else:
        rows = batch.read_jobs(choices.jobs)
    outcomes = batch.run(_settings(choices), rows, output.progress(), stop_at_first=single)
    records = [outcome.record() for outcome in outcomes]
    output.result(records[0] if single else {"jobs": records}, "\n".join(map(_line, outcomes)))
    return 1 if any(outcome.error for outcome in outcomes) else 0


def _check_exclusive(choices: GenerateChoices) -> None:
    """Raises UsageError for an option that another one would leave unread."""
    for name in ("image", "audio", "out"):
        if choices.jobs is not None and getattr(choices, name) is not None:
            raise UsageError(
                f"--jobs and --{name} exclude each other", fix=f"put it into the column {name} of the table"
            )
    if choices.no_crop and choices.crop not in ("auto", "none"):
        raise UsageError(f"--no-crop and --crop {choices.crop} exclude each other", fix="leave out one of them")


def _settings(choices: GenerateChoices) -> GenerateSettings:
    """What the name of the model chooses, and the options beside it, which win."""
    from floatbench.animate import jobs as batch
    from floatbench.sampling import choices as known

    given = {name: getattr(choices, "compile_" if name == "compile" else name) for name in known.LIST}
    named = known.model_of(choices.weights, known.typed(given), choices.preset)
    return batch.GenerateSettings(
        weights=named.weights, choices=named.choices, device=choices.device,
        crop="none" if choices.no_crop else choices.crop, boxes=choices.boxes, seed=choices.seed,
        encoder=choices.encoder,
    )  # fmt: skip


def _list_controls(weights: str, output: Output) -> int:
    """Prints the motion directions of a model; its networks are not loaded."""
    from floatbench.model.checkpoint import read_metadata
    from floatbench.sampling import choices as known
    from floatbench.sampling.loading import card_of, checkpoint_file, config_of

    name = known.model_of(weights).weights
    config = config_of(name) or read_metadata(checkpoint_file(name)).config  # which says what is missing
    names = card_of(name).directions or [""] * config.dim_m
    lines = [f"{number:>3}  {text}".rstrip() for number, text in enumerate(names)]
    record = {"model": name, "directions": [{"direction": n, "name": text or None} for n, text in enumerate(names)]}
    output.result(
        record, "\n".join(lines) if names[0] else f"{name}: directions 0 to {config.dim_m - 1}, without names"
    )
    return 0


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
