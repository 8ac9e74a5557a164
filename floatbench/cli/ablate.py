"""`floatbench ablate`: the paper's ablations and sweeps, beside its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, console, make_progress, print_json


def register(app: typer.Typer) -> None:
    app.command("ablate")(ablate)


def ablate(
    protocol: Annotated[str, typer.Option("--protocol", "-p", help="hdtf, ravdess, synthetic, folder:DIR or a file.")],
    table: Annotated[list[int] | None, typer.Option(help="2 or 3; may be given twice. Default: both.")] = None,
    sweep: Annotated[list[str] | None, typer.Option(help="nfe or guidance; may be given twice.")] = None,
    train: Annotated[bool, typer.Option("--train", help="Train the networks that are missing.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Budget of --train: optimiser steps a variant.")] = 2500,
    config: Annotated[str, typer.Option(help="Training configuration of the variants.")] = "float-tiny",
    weights: Annotated[str, typer.Option(help="Model of unchanged rows and sweeps, auto-encoder of all.")] = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the variants and of the run.")] = Path(
        "runs/ablation"
    ),
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips.")] = None,
    metrics: Annotated[str, typer.Option(help="Metric variants, comma separated; default: the protocol's.")] = "",
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score the rows of Tables 2 and 3 and the supplement's sweeps; the same command again carries on.

    Exit codes: 0 done, 1 clips failed or coverage missed, 2 usage, 4 networks missing (train them with --train).
    """
    from floatbench.engine.runner import RunOptions
    from floatbench.methods.catalogue import parse_names
    from floatbench.reports import ablation as report
    from floatbench.training import variants

    options = RunOptions(
        metrics=parse_names(metrics) or None, controls=controls, limit=limit, workers=workers, device=device
    )
    plan = variants.AblationPlan(
        protocol, tuple(table or ()), tuple(sweep or ()), train, steps, config, weights, out, options
    )
    done = variants.ablate(plan, make_progress(quiet, json_output))
    records, complete = {}, done.result is not None and done.result.complete
    for heading, found in done.rows.items():
        kind, _, which = heading.partition(" ")
        paper = report.published_table(int(which)) if kind == "table" else report.published_sweep(which)
        rows = [(r.variant.row, r.variant.name, variants.budget(out, r), r.method) for r in found]
        scores = done.result.scores if done.result is not None else None
        complete = complete and all(r.method for r in found)
        records[heading] = report.record(rows, scores, paper)
        if not json_output:
            console().print(report.markdown(heading.capitalize(), rows, scores, paper), markup=False)
    if json_output:
        print_json(records)
    raise typer.Exit(0 if complete else 1)
