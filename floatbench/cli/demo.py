"""`floatbench demo`: one portrait talking, with whatever model is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, console, make_progress, print_json


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    app.command()(demo)


def demo(
    image: Annotated[
        Path | None, typer.Option("--image", "-i", help="The portrait; a synthetic one by default.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option("--audio", "-a", help="The speech; a synthetic voice by default.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help=".mp4, or .mkv for lossless pictures.")] = Path("demo.mp4"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the noise.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1 ...")] = "cpu",
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Shows one portrait talking with the best model that is installed, and says which weights it used.

    That is float where its weights were fetched, else the bundled float-tiny. For a choice of everything else see
    `floatbench generate`.
    """
    from floatbench.animate.demo import show

    shown = show(image, audio, out, seed, device, make_progress(quiet, json))
    if json:
        print_json(shown.record())
        return
    lines = console()
    video = shown.video
    lines.print(f"{video.path}: {video.n_frames} frames at {video.fps:.1f} frames/s, crop {shown.crop}", markup=False)
    lines.print(f"model: {shown.model} ({shown.licence})", markup=False)
    for name, digest in shown.files.items():
        lines.print(f"weights: {name} {digest[:12]}", markup=False)
    for note in [] if quiet else [*shown.notes, *video.notes]:
        lines.print(f"note: {note}", markup=False)
