"""`floatbench ledger` and `floatbench explain`: beside the paper, and why two runs differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, print_json


def register(app: typer.Typer) -> None:
    app.command("ledger")(ledger)
    app.command("explain")(explain)


def ledger(
    run: Annotated[Path, typer.Argument(help="Finished run folder.")],
    row: Annotated[
        list[str] | None, typer.Option("--row", help="TABLE:ROW=METHOD, e.g. table1:hallo=my-hallo; repeatable.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also score the other readings from the run's features.")
    ] = False,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
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
    if json_output:
        print_json([entry.record() for entry in entries])
    else:
        typer.echo(markdown(loaded, entries).encode("utf-8", "replace").decode("utf-8"), nl=False)


def explain(
    a: Annotated[Path, typer.Argument(help="Finished run folder.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Why two runs differ: protocol, media, weights, packages, seed, subset, device, and what each is worth."""
    from dataclasses import asdict

    from floatbench.reports.explain import differences, gaps, markdown
    from floatbench.reports.loading import load_run

    first, second = load_run(a), load_run(b)
    found, scores = differences(first, second), gaps(first, second)
    if json_output:
        named = [{**asdict(gap), "nearest": gap.named} for gap in scores]
        print_json({"differences": [asdict(item) for item in found], "scores": named})
    else:
        text = markdown(first, second, found, scores)
        typer.echo(text.encode("utf-8", "replace").decode("utf-8"), nl=False)
