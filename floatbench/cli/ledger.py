"""`floatbench ledger` and `floatbench explain`: beside the paper, and why two runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(ledger)
    command(app)(explain)


def ledger(
    run: Annotated[Path, typer.Argument(help="Finished run folder.")],
    output: Output,
    row: Annotated[
        list[str] | None, typer.Option("--row", help="TABLE:ROW=METHOD, e.g. table1:hallo=my-hallo; repeatable.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also score the other readings from the run's features.")
    ] = False,
) -> None:
    """Each cell of the paper's tables beside ours: within, near, apart, undefined by the paper, not run."""
    from floatbench.errors import UsageError
    from floatbench.reports.ledger import ledger as make
    from floatbench.reports.ledger import markdown
    from floatbench.reports.loading import load_run

    names = {}
    for text in row or ():
        place, equals, method = text.partition("=")
        if not (equals and place and method):
            raise UsageError(f"--row {text!r} is not TABLE:ROW=METHOD", fix="--row table1:hallo=my-hallo")
        names[place] = method
    loaded = load_run(run)
    entries = make(loaded, names, sweep)
    output.result([entry.record() for entry in entries], markdown(loaded, entries))


def explain(
    a: Annotated[Path, typer.Argument(help="Finished run folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    output: Output,
) -> None:
    """Why two runs differ: protocol, media, weights, packages, seed, subset, device, and what each is worth."""
    from dataclasses import asdict

    from floatbench.reports.explain import differences, gaps, markdown
    from floatbench.reports.loading import load_run

    first, second = load_run(a), load_run(b)
    found, scores = differences(first, second), gaps(first, second)
    named = [{**asdict(gap), "nearest": gap.named} for gap in scores]
    document = {"differences": [asdict(item) for item in found], "scores": named}
    output.result(document, markdown(first, second, found, scores))
