"""`floatbench demo`: one portrait talking, with whatever model is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output

if TYPE_CHECKING:
    from floatbench.animate.demo import Shown


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    command(app)(demo)


def demo(
    output: Output,
    image: Annotated[
        Path | None, typer.Option("--image", "-i", help="The portrait; a synthetic one by default.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option("--audio", "-a", help="The speech; a synthetic voice by default.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help=".mp4, or .mkv for lossless pictures.")] = Path("demo.mp4"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Shows one portrait talking with the best model that is installed, and says which weights it used.

    That is float where its weights were fetched, else the bundled float-tiny. For a choice of everything else see
    `floatbench generate`.
    """
    from floatbench.animate.demo import show

    shown = show(image, audio, out, seed, device, output.progress())
    notes = [] if output.quiet else [f"note: {note}" for note in (*shown.notes, *shown.video.notes)]
    output.result(shown.record(), "\n".join([*_lines(shown), *notes]))


def _lines(shown: Shown) -> list[str]:
    video = shown.video
    return [
        f"{video.path}: {video.n_frames} frames at {video.fps:.1f} frames/s, crop {shown.crop}",
        f"model: {shown.model} ({shown.licence})",
        *(f"weights: {name} {digest[:12]}" for name, digest in shown.files.items()),
    ]
