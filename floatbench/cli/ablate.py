"""`floatbench ablate`: the paper's ablations and sweeps, beside its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output


def register(app: typer.Typer) -> None:
    command(app)(ablate)


@dataclass(frozen=True)
class AblateChoices:
    """The options of `floatbench ablate`."""

    protocol: Annotated[
        str, typer.Option("--protocol", "-p", help="synthetic, hdtf, ravdess, folder:DIR or a file.")
    ] = "synthetic"
    table: Annotated[list[int] | None, typer.Option(help="2 or 3; may be given twice. Default: both.")] = None
    sweep: Annotated[list[str] | None, typer.Option(help="nfe or guidance; may be given twice.")] = None
    train: Annotated[bool, typer.Option("--train", help="Train the networks that are missing.")] = False
    steps: Annotated[int, typer.Option(min=1, help="Budget of --train: optimiser steps a variant.")] = 2500
    config: Annotated[str, typer.Option(help="Training configuration of the variants.")] = "float-tiny"
    weights: Annotated[
        str, typer.Option(help="Model of unchanged rows and sweeps, auto-encoder of all; choices hold for all rows.")
    ] = ""
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the variants and of the run.")] = Path(
        "runs/ablation"
    )
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips.")] = None
    metrics: Annotated[str, typer.Option(help="Metric variants or sets, comma separated; default: the protocol's.")] = (
        ""
    )
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto"


def ablate(choices: AblateChoices, output: Output) -> int:
    """Score the rows of Tables 2 and 3 and the supplement's sweeps; the same command again carries on.

    Exit codes: 0 done, 1 clips failed or coverage missed, 2 usage, 4 networks missing (train them with --train).
    """
    from floatbench.engine.runner import RunOptions
    from floatbench.methods.catalogue import parse_names
    from floatbench.reports import ablation as report
    from floatbench.training import variants

    options = RunOptions(
        metrics=parse_names(choices.metrics) or None, controls=choices.controls, limit=choices.limit,
        workers=choices.workers, device=choices.device, skip_rejected=True,
    )  # fmt: skip
    plan = variants.AblationPlan(
        choices.protocol, tuple(choices.table or ()), tuple(choices.sweep or ()), choices.train, choices.steps,
        choices.config, choices.weights, choices.out, options,
    )  # fmt: skip
    done = variants.ablate(plan, output.progress())
    if variants.helps_training():
        return 0
    scores = done.result.scores if done.result is not None else None
    records, texts = {}, []
    for heading, found in done.rows.items():
        kind, _, which = heading.partition(" ")
        paper = report.published_table(int(which)) if kind == "table" else report.published_sweep(which)
        rows = [(r.variant.row, r.variant.name, variants.budget(choices.out, r), r.method) for r in found]
        records[heading] = report.record(rows, scores, paper)
        texts.append(report.markdown(heading.capitalize(), rows, scores, paper))
    output.result(records, "\n".join(texts))
    complete = done.result is not None and done.result.complete
    return 0 if complete and all(row.method for found in done.rows.values() for row in found) else 1
