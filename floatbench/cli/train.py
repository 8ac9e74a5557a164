"""`floatbench train`: trains what floatbench ships."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output, megabytes

if TYPE_CHECKING:
    from floatbench.training.validation import ValidationPlan

group = typer.Typer(help="Train the bundled networks and FLOAT.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the group."""
    app.add_typer(group, name="train")


@command(group)
def backbones(
    output: Output,
    out: Annotated[Path | None, typer.Option(help="Folder of the files; the package's own by default.")] = None,
    people: Annotated[int, typer.Option(help="Identities with single pictures.")] = 800,
    speakers: Annotated[int, typer.Option(help="Identities with a talking clip.")] = 128,
    scale: Annotated[float, typer.Option(help="Multiplies the optimiser steps; below 1 for a quick trial.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and batches.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes side by side; the result does not depend on it.")] = 1,
    only: Annotated[str, typer.Option(help="frames, expression, sync or identity; the others stay as they are.")] = "",
) -> None:
    """Train the small offline backbones behind the -tiny variants on synthetic heads (half an hour of one core)."""
    from floatbench.errors import UsageError
    from floatbench.training.backbone_data import BackboneConfig
    from floatbench.training.backbones import train_backbones

    if scale <= 0:
        raise UsageError(f"--scale must be above 0, got {scale}")
    base = BackboneConfig()
    steps = {name: max(20, round(getattr(base, name) * scale)) for name in base.__dict__ if name.endswith("_steps")}
    held_out = max(2, min(base.held_out, people))
    config = BackboneConfig(people=people, speakers=speakers, held_out=held_out, seed=seed, **steps)
    manifest = train_backbones(config, out, output.progress(), max(1, workers), only)
    lines = [f"{name:28s} {value:.4f}" for name, value in manifest["held_out"].items()]
    for name, entry in manifest["files"].items():
        lines.append(f"{name:28s} {megabytes(entry['bytes'], 2)}  {entry['sha256'][:12]}")
    output.result(manifest, "\n".join(lines))


@dataclass(frozen=True)
class PhaseChoices:
    """The options of `floatbench train autoencoder` and `flow`."""

    out: Annotated[Path, typer.Option(help="Folder of checkpoints, logs, pictures and the exported model.")]
    config: Annotated[str, typer.Option("--config", help="float-512, float-tiny or a TOML file.")] = "float-tiny"
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's last checkpoint.")] = False
    steps: Annotated[int | None, typer.Option(min=1, help="Steps in all, instead of the configuration's.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto"
    workers: Annotated[
        int,
        typer.Option(min=1, help="Processes that draw or prepare clips, look for faces, decode ahead of steps."),
    ] = 1
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Train without data sets that are not on this machine.")
    ] = False
    logger: Annotated[
        str, typer.Option(help="tensorboard, wandb, trackio (comma separated) or none; tensorboard where installed.")
    ] = ""
    validate: Annotated[str, typer.Option(help="Score held-out clips of this protocol while it trains.")] = ""
    every: Annotated[int, typer.Option(min=1, help="With --validate: steps between two validations.")] = 500
    metrics: Annotated[
        str,
        typer.Option(help="With --validate: variants or sets; default: the protocol's, of phase 1 PSNR, SSIM, AED."),
    ] = ""
    best: Annotated[
        str, typer.Option(help="With --validate: keep the best model by this metric; default: the first.")
    ] = ""
    limit: Annotated[int, typer.Option(min=1, help="With --validate: held-out clips, one of each person first.")] = 49
    plan: Annotated[bool, typer.Option("--plan", help="Project memory and time of the phase, and do nothing.")] = False


@command(group)
def autoencoder(choices: PhaseChoices, output: Output) -> None:
    """Train phase 1, the motion auto-encoder."""
    _phase("autoencoder", choices, output)


@command(group)
def flow(choices: PhaseChoices, output: Output) -> None:
    """Train phase 2, the flow-matching transformer, on the auto-encoder in the same folder."""
    _phase("flow", choices, output)


def _phase(phase: Literal["autoencoder", "flow"], choices: PhaseChoices, output: Output) -> None:
    from floatbench.training.across import helps_training
    from floatbench.training.beginning import stopped_phase
    from floatbench.training.configs import load_config
    from floatbench.training.log import parse_trackers
    from floatbench.training.projection import project
    from floatbench.training.train import train_autoencoder, train_flow

    chosen = load_config(choices.config)
    if choices.steps is not None:
        part = chosen.autoencoder if phase == "autoencoder" else chosen.flow
        chosen = replace(chosen, **{phase: replace(part, steps=choices.steps)})
    if choices.plan:
        projected = project(chosen, phase, choices.device)
        if not helps_training():
            output.result(projected.record(), projected.text())
        return
    train = train_autoencoder if phase == "autoencoder" else train_flow
    trackers, validation = parse_trackers(choices.logger), _validation(choices)
    with stopped_phase(choices.out / phase):
        done = train(
            chosen, choices.out, output.progress(), choices.resume, choices.device, choices.workers,
            allow_missing=choices.allow_missing, trackers=trackers, validation=validation,
        )  # fmt: skip
    if helps_training():
        return
    text = f"{done['phase']}: {done['steps_now']} steps in {done['seconds']:.0f} s, wrote {done['exported']}"
    if best := done.get("best"):
        text += (
            f"\nbest {best['metric']}: {best['scores'][best['metric']]:.4g} after {best['step']} steps, {best['file']}"
        )
    output.result(done, text)


def _validation(choices: PhaseChoices) -> ValidationPlan | None:
    from floatbench.errors import UsageError
    from floatbench.methods.catalogue import parse_names
    from floatbench.training.validation import ValidationPlan

    named = parse_names(choices.metrics)
    if not choices.validate:
        if named or choices.best:
            raise UsageError("--metrics and --best are those of a validation", fix="--validate synthetic")
        return None
    return ValidationPlan(choices.validate, choices.every, tuple(named), choices.best, choices.limit)
