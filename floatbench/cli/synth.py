"""`floatbench synth`: writes synthetic talking heads with their ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app)(synth)


def synth(
    output: Output,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for videos, sound and tables.")],
    identities: Annotated[int, typer.Option(help="Number of people.")] = 10,
    clips: Annotated[int, typer.Option(help="Clips of each.")] = 1,
    size: Annotated[int, typer.Option(help="Side of the square pictures, 64 to 512 px.")] = 256,
    seconds: Annotated[float, typer.Option(help="Length of each clip.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of the data set.")] = 0,
    first: Annotated[int, typer.Option(help="Number of the first person; protocols use 90000 and above.")] = 0,
    threads: Annotated[int, typer.Option(help="Threads that render; they change nothing but the time.")] = 1,
) -> None:
    """Render talking heads: MP4 and WAV files, and tables of pose, expression, phones and identity."""
    from floatbench.synthetic.clip import synthetic_clips
    from floatbench.synthetic.export import export

    made = list(synthetic_clips(identities, clips, seconds, seed, first))
    export(made, size, out, output.progress(), max(1, threads))
    text = f"{len(made)} clips in {out}: video/, audio/, clips.csv, identities.csv, frames.parquet"
    document = {"out": str(out), "clips": [clip.id for clip in made], "size": size, "seed": seed}
    output.result(document, "" if output.quiet else text)
