"""`floatbench votes`: what people chose on the page against what the metrics say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(votes)


def votes(
    files: Annotated[list[Path], typer.Argument(metavar="VOTES.json...", help="Files of votes saved on the page.")],
    run: Annotated[Path, typer.Argument(help="The run whose page was voted on.")],
    output: Output,
) -> None:
    """Correlate blind votes with the metrics: agreement per pair of videos, and ranks over methods.

    Exit codes: 0 done, 2 votes of another run or protocol, 4 damaged files.
    """
    from floatbench.reports.loading import load_run
    from floatbench.reports.votes import correlate, markdown

    found = correlate(files, load_run(run))
    output.result(found.record(), markdown(found))
