"""`floatbench score` and `floatbench merge`: scores without generating."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, make_progress


def register(app: typer.Typer) -> None:
    app.command("score")(score)
    app.command("merge")(merge)


def score(
    generated: Annotated[Path, typer.Option(help="Folder of generated videos, named as the reference videos.")],
    reference: Annotated[Path, typer.Option(help="Folder of real videos; a .wav of the same stem is the sound.")],
    metrics: Annotated[
        str, typer.Option(help="Metric variants, comma separated.")
    ] = "psnr-grey128,ssim-grey128,efid-mp52,pfid-mp6,avcorr-excess",
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    skip_unavailable: Annotated[bool, typer.Option("--skip-unavailable", help="Leave out what is missing.")] = False,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score two folders of videos with no protocol: frames as they are, matched by name."""
    from floatbench.cli.run import finish
    from floatbench.data.as_is import AsIsDataset
    from floatbench.engine import runner
    from floatbench.methods.catalogue import parse_names
    from floatbench.protocol.two_folders import as_is_protocol

    protocol = as_is_protocol(reference, tuple(parse_names(metrics)))
    options = runner.RunOptions(
        methods=[f"videos:{generated}"],
        controls=controls,
        out=out,
        workers=workers,
        device=device,
        skip_unavailable=skip_unavailable,
    )
    result = runner.run(protocol, AsIsDataset(protocol), options, make_progress(quiet, json_output))
    raise typer.Exit(finish(result, json_output, quiet))


def merge(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of one protocol.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="New run folder.")],
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Join partial runs of one protocol, made anywhere, and score the whole."""
    from floatbench.cli.run import finish
    from floatbench.engine.merge import merge as merge_runs

    result = merge_runs(runs, out, make_progress(quiet, json_output))
    raise typer.Exit(finish(result, json_output, quiet))
