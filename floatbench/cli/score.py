"""`floatbench score` and `floatbench merge`: scores without generating."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import StripSuffixes, command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(score)
    command(app)(merge)


def score(
    output: Output,
    generated: Annotated[Path, typer.Option(help="Folder of generated videos, named as the reference videos.")],
    reference: Annotated[Path, typer.Option(help="Folder of real videos; a .wav of the same stem is the sound.")],
    metrics: Annotated[
        str,
        typer.Option(help="Metric variants or sets, comma separated.", show_default="PSNR, SSIM, E-FID, P-FID, AVCORR"),
    ] = "psnr-grey128,ssim-grey128,efid-mp52,pfid-mp6,avcorr-excess",
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True,
    name: Annotated[str, typer.Option(help="Name of the system; default: its folder.")] = "",
    trained_with: Annotated[str, typer.Option(help="Networks that taught the system: syncnet,arcface.")] = "",
    any_framing: Annotated[
        bool, typer.Option("--any-framing", help="Score videos that are framed differently; tables say so.")
    ] = False,
    strip_suffix: StripSuffixes = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    skip_unavailable: Annotated[bool, typer.Option("--skip-unavailable", help="Leave out what is missing.")] = False,
) -> int:
    """Score two folders of videos with no protocol: frames as they are, matched by name.

    Exit codes as for `run`: 2 also where the two sides are framed differently.
    """
    import floatbench
    from floatbench.cli.run import show
    from floatbench.methods.catalogue import parse_names

    result = floatbench.score(
        generated, reference, metrics=parse_names(metrics), controls=controls, name=name, out=out, workers=workers,
        device=device, strip_suffix=strip_suffix or (), skip_unavailable=skip_unavailable, any_framing=any_framing,
        trained_with=parse_names(trained_with), progress=output.progress(),
    )  # fmt: skip
    return show(result.run, output)


def merge(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one protocol.")],
    output: Output,
    out: Annotated[Path, typer.Option("--out", "-o", help="New run folder.")],
) -> int:
    """Join partial runs of one protocol, made anywhere, and score the whole."""
    from floatbench.cli.run import show
    from floatbench.engine.merge import merge as merge_runs
    from floatbench.reports.table import write_tables

    result = merge_runs(runs, out, output.progress())
    write_tables(result.folder, result.scores)
    return show(result, output)
