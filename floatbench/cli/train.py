"""`floatbench train`: trains what floatbench ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output, megabytes

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
) -> None:
    """Train the small offline backbones behind the -tiny variants on synthetic heads (about 15 minutes of one core)."""
    from floatbench.errors import UsageError
    from floatbench.training.backbone_data import BackboneConfig
    from floatbench.training.backbones import train_backbones

    if scale <= 0:
        raise UsageError(f"--scale must be above 0, got {scale}")
    base = BackboneConfig()
    steps = {name: max(20, round(getattr(base, name) * scale)) for name in base.__dict__ if name.endswith("_steps")}
    held_out = max(2, min(base.held_out, people))
    config = BackboneConfig(people=people, speakers=speakers, held_out=held_out, seed=seed, **steps)
    manifest = train_backbones(config, out, output.progress(), max(1, workers))
    lines = [f"{name:28s} {value:.4f}" for name, value in manifest["held_out"].items()]
    for name, entry in manifest["files"].items():
        lines.append(f"{name:28s} {megabytes(entry['bytes'], 2)}  {entry['sha256'][:12]}")
    output.result(manifest, "\n".join(lines))


ConfigurationOption = Annotated[str, typer.Option("--config", help="float-512, float-tiny or a TOML file.")]
OutOption = Annotated[Path, typer.Option(help="Folder of checkpoints, logs, pictures and the exported model.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on from the folder's last checkpoint.")]
StepsOption = Annotated[int | None, typer.Option(min=1, help="Steps in all, instead of the configuration's.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda; whatever is there by default.")]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Processes that draw synthetic clips, or prepare real ones and look for faces.")
]


@command(group)
def autoencoder(
    out: OutOption,
    output: Output,
    config: ConfigurationOption = "float-tiny",
    resume: ResumeOption = False,
    steps: StepsOption = None,
    device: DeviceOption = "",
    workers: WorkersOption = 1,
) -> None:
    """Train phase 1, the motion auto-encoder."""
    _phase("autoencoder", out, config, resume, steps, device, workers, output)


@command(group)
def flow(
    out: OutOption,
    output: Output,
    config: ConfigurationOption = "float-tiny",
    resume: ResumeOption = False,
    steps: StepsOption = None,
    device: DeviceOption = "",
    workers: WorkersOption = 1,
) -> None:
    """Train phase 2, the flow-matching transformer, on the auto-encoder in the same folder."""
    _phase("flow", out, config, resume, steps, device, workers, output)


def _phase(
    phase: str, out: Path, config: str, resume: bool, steps: int | None, device: str, workers: int, output: Output
) -> None:
    from dataclasses import replace

    from floatbench.training.configs import load_config
    from floatbench.training.train import train_autoencoder, train_flow

    chosen = load_config(config)
    if steps is not None:
        part = chosen.autoencoder if phase == "autoencoder" else chosen.flow
        chosen = replace(chosen, **{phase: replace(part, steps=steps)})
    train = train_autoencoder if phase == "autoencoder" else train_flow
    done = train(chosen, out, output.progress(), resume, device, workers)
    text = f"{done['phase']}: {done['steps_now']} steps in {done['seconds']:.0f} s, wrote {done['exported']}"
    output.result(done, text)
