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
    figure: Annotated[int | None, typer.Option(help="3: phase 1 without its component losses, on held-out clips.")] = (
        None
    )
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
    metrics: Annotated[
        str,
        typer.Option(help="Variants or sets, comma separated; default: the protocol's, of --figure PSNR, SSIM, AED."),
    ] = ""
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto"


def ablate(choices: AblateChoices, output: Output) -> int:
    """Score the rows of Tables 2 and 3, of Fig. 3 or the supplement's sweeps; the same command again carries on.

    Exit codes: 0 done, 1 clips failed or coverage missed, 2 usage, 4 networks missing (train them with --train).
    """
    if choices.figure is not None:
        return _components(choices, output)
    from floatbench.engine.runner import RunOptions
    from floatbench.methods.catalogue import parse_names
    from floatbench.reports import ablation as report
    from floatbench.training import variants
    from floatbench.training.across import helps_training
    from floatbench.training.beginning import same_command_resumes

    options = RunOptions(
        metrics=parse_names(choices.metrics) or None, controls=choices.controls, limit=choices.limit,
        workers=choices.workers, device=choices.device, skip_rejected=True,
    )  # fmt: skip
    plan = variants.AblationPlan(
        choices.protocol, tuple(choices.table or ()), tuple(choices.sweep or ()), choices.train, choices.steps,
        choices.config, choices.weights, choices.out, options,
    )  # fmt: skip
    with same_command_resumes():
        done = variants.ablate(plan, output.progress())
    if helps_training():
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


def _components(choices: AblateChoices, output: Output) -> int:
    """The rows of Fig. 3, which train and score phase 1 alone."""
    from floatbench.errors import UsageError
    from floatbench.methods.catalogue import parse_names
    from floatbench.reports import ablation as report
    from floatbench.training.across import helps_training
    from floatbench.training.beginning import same_command_resumes
    from floatbench.training.component_losses import ComponentPlan, ablate_components
    from floatbench.training.validation import PAPER_CLIPS, ValidationPlan

    if choices.figure != 3:
        raise UsageError(f"the paper's ablation among its figures is Fig. 3, not {choices.figure}", fix="--figure 3")
    if choices.table or choices.sweep or choices.weights:
        raise UsageError(
            "--figure 3 is of phase 1: tables, sweeps and weights are those of phase 2", fix="--figure 3 alone"
        )
    held = ValidationPlan(
        choices.protocol, metrics=tuple(parse_names(choices.metrics)), limit=choices.limit or PAPER_CLIPS
    )
    plan = ComponentPlan(
        held, choices.config, choices.train, choices.steps, choices.out, choices.controls, choices.device,
        choices.workers or 1,
    )  # fmt: skip
    with same_command_resumes():
        found = ablate_components(plan, output.progress())
    if helps_training():
        return 0
    output.result({"figure 3": report.components_record(found)}, report.components_markdown("Figure 3", found))
    complete = all(row.scores and None not in row.scores.values() for row in found.rows)
    return 0 if complete else 1
