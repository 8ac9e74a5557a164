"""`floatbench votes`: what people chose on the page against what the metrics say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, print_json


def register(app: typer.Typer) -> None:
    app.command("votes")(votes)


def votes(
    files: Annotated[list[Path], typer.Argument(metavar="VOTES.json...", help="Files of votes saved on the page.")],
    run: Annotated[Path, typer.Argument(help="The run whose page was voted on.")],
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Correlate blind votes with the metrics: agreement per pair of videos, and ranks over methods.

    Exit codes: 0 done, 2 votes of another run or protocol, 4 damaged files.
    """
    from floatbench.reports.loading import load_run
    from floatbench.reports.votes import correlate, markdown

    found = correlate(files, load_run(run))
    if json_output:
        print_json(found.record())
    else:
        typer.echo(markdown(found).encode("utf-8", "replace").decode("utf-8"), nl=False)
