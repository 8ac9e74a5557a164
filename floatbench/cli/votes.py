"""`floatbench votes`: what people chose and rated on the page against what the metrics say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(votes)


def votes(
    files: Annotated[
        list[Path], typer.Argument(metavar="VOTES.json...", help="Files of votes or of ratings saved on the page.")
    ],
    run: Annotated[Path, typer.Argument(help="The run whose page was voted on.")],
    output: Output,
) -> None:
    """Correlate blind votes with the metrics, and give mean opinion scores from ratings.

    Exit codes: 0 done, 2 votes of another run or protocol, 4 damaged files.
    """
    from floatbench.reports.loading import load_run
    from floatbench.reports.ratings import holds_ratings, opinions, ratings_markdown
    from floatbench.reports.votes import correlate, markdown

    loaded, texts, record = load_run(run), [], {}
    rated = [path for path in files if holds_ratings(path)]
    if len(rated) < len(files):
        found = correlate([path for path in files if path not in rated], loaded)
        record |= found.record()
        texts.append(markdown(found))
    if rated:
        given = opinions(rated, loaded)
        record["ratings"] = given.record()
        texts.append(ratings_markdown(given))
    output.result(record, "\n".join(texts))
