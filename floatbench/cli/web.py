"""`floatbench web`: a page to try FLOAT on."""

from __future__ import annotations

from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    """Adds the command to the program."""
    command(app)(web)


def web(
    output: Output,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 lets other machines in.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 7860,
    weights: Annotated[
        list[str] | None, typer.Option("--weights", help="A checkpoint file to choose as well; repeatable.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...")] = "auto",
) -> None:
    """Opens a page to try FLOAT on: generate, compare two settings, score a pair of videos. Ctrl-C ends it.

    It listens on this machine only and needs no network. What was uploaded and made goes when it ends. It needs the
    extra web. See docs/web.md.

    Examples: floatbench web; floatbench web --port 0 --weights mine.safetensors
    """
    from floatbench.web.server import serve

    def ready(address: str, exposed: bool) -> None:
        if exposed:
            output.note("everybody who can reach this machine can use the page: it asks for no password")
        output.result({"address": address}, f"{address}  (Ctrl-C ends it)")

    serve(host, port, device, weights or [], ready)
