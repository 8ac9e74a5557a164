"""`floatbench train`: trains what floatbench ships."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, make_progress, print_json

group = typer.Typer(help="Train the bundled networks and FLOAT.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the group."""
    app.add_typer(group, name="train")


@group.command()
def backbones(
    out: Annotated[Path | None, typer.Option(help="Folder of the files; the package's own by default.")] = None,
    people: Annotated[int, typer.Option(help="Identities with single pictures.")] = 200,
    speakers: Annotated[int, typer.Option(help="Identities with a talking clip.")] = 96,
    scale: Annotated[float, typer.Option(help="Multiplies the optimiser steps; below 1 for a quick trial.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of data, weights and batches.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes side by side; the result does not depend on it.")] = 1,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the small offline backbones behind the -tiny variants on synthetic heads (about 10 minutes of one core)."""
    from floatbench.errors import UsageError
    from floatbench.training.backbone_data import BackboneConfig
    from floatbench.training.backbones import train_backbones

    if scale <= 0:
        raise UsageError(f"--scale must be above 0, got {scale}")
    base = BackboneConfig()
    steps = {name: max(20, round(getattr(base, name) * scale)) for name in base.__dict__ if name.endswith("_steps")}
    held_out = max(2, min(base.held_out, people))
    config = BackboneConfig(people=people, speakers=speakers, held_out=held_out, seed=seed, **steps)
    manifest = train_backbones(config, out, make_progress(quiet, json_output), max(1, workers))
    if json_output:
        print_json(manifest)
        return
    for name, value in manifest["held_out"].items():
        typer.echo(f"{name:28s} {value:.4f}")
    for name, entry in manifest["files"].items():
        typer.echo(f"{name:28s} {entry['bytes'] / 1e6:.2f} MB  {entry['sha256'][:12]}")
