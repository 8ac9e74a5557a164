"""`floatbench metrics`: what can be measured, what each number means, and whether it reacts to what it should."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output, table

if TYPE_CHECKING:
    from floatbench.engine.check import CheckResult

group = typer.Typer(no_args_is_help=True, help="Metrics: list, show, check.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="metrics")


@command(group, "list")
def list_command(output: Output) -> None:
    """List every metric variant: column, direction, weights and whether they are here; then the sets."""
    from floatbench.metrics import sets
    from floatbench.metrics.cards import cards

    rows = cards()
    lines = [("variant", "column", "better", "weights", "title")]
    for row in rows:
        state = ", ".join(f"{w['name']} ({w['state']})" for w in row["weights"]) or "none needed"
        lines.append((row["id"], row["column"], row["better"], state, row["title"]))
    named = [("set, for --metrics", "variants"), *((name, ", ".join(sets.members(name))) for name in sets.SETS)]
    named.append((sets.ALL, "those of all sets"))
    output.result(rows, f"{table(lines)}\n\n{table(named)}")


@command(group, "show")
def show_command(
    variant: Annotated[str, typer.Argument(metavar="ID", help="A variant of `metrics list`.")], output: Output
) -> None:
    """Show one variant: definition, source, backbones, weights, licence, parity with the reference tool."""
    from floatbench.metrics.cards import card

    row = card(variant)
    lines = [
        ("column", f"{row['column']}, {row['better']} is better, one value per {row['level']}"),
        ("formula", row["formula"]),
        ("source", row["source"]),
        ("parity", row["parity"]),
        ("compares", " and ".join(row["sides"])),
        *(("backbone", f"{b['id']} {b['settings']}") for b in row["backbones"]),
        *(("weights", f"{w['name']}: {w['state']}; {w['licence']}") for w in row["weights"]),
    ]
    shown = [f"{row['id']}: {row['title']}", *(f"  {name:<9} {text}" for name, text in lines)]
    output.result(row, "\n".join(shown))


@command(group, "check")
def check_command(
    output: Output,
    protocol: Annotated[str, typer.Option(help="A protocol, folder:DIR, or the path of a .toml file.")] = "synthetic",
    metrics: Annotated[
        str, typer.Option(help="Variants or sets, comma separated; default: those of the protocol.")
    ] = "",
    clips: Annotated[int, typer.Option(min=1, help="How many ready clips to damage.")] = 8,
    frames: Annotated[int, typer.Option(min=25, help="How many frames of each clip.")] = 75,
    damages: Annotated[str, typer.Option(help="Kinds of damage, comma separated; default: all.")] = "",
    strengths: Annotated[int, typer.Option(min=1, max=3, help="How many strengths of each, the greatest ones.")] = 3,
    boxes: Annotated[str | None, typer.Option(help="Box back end of the prepared clips.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the prepared clips in pixels.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of matrix.json and matrix.png.")] = Path(
        "metrics-check"
    ),
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
) -> None:
    """Damage clips in known ways and show how every metric answers: a matrix as table, JSON and picture."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.engine.check import check, chosen, draw
    from floatbench.errors import RunIncomplete
    from floatbench.files import write_json
    from floatbench.methods.catalogue import parse_names
    from floatbench.metrics.sets import expanded
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes=boxes, size=size)
    names = expanded(parse_names(metrics) or loaded.metrics)
    kinds = chosen(parse_names(damages), strengths)
    result = check(loaded, dataset_for(loaded), names, output.progress(), out, clips, frames, device, kinds, workers)
    document = result.to_dict()
    write_json(out / "matrix.json", document)
    if result.responses:
        draw(result, out / "matrix.png")
    output.result(document, _matrix(result))
    for name, reason in {**result.skipped, **result.failed_clips}.items():
        output.note(f"left out {name}: {reason}")
    output.note(f"written: {out / 'matrix.json'}")
    if not result.responses:
        raise RunIncomplete("no metric could be checked", fix="floatbench metrics list")


@command(group, "tell")
def tell_command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs whose controls did the damage.")],
    output: Output,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to the screen.")] = None,
) -> None:
    """Say which metric sees which damage from which strength on, by the paired test, as a page in Markdown."""
    from dataclasses import asdict

    from floatbench.files import write_bytes
    from floatbench.reports.loading import load_run
    from floatbench.reports.sight import sights
    from floatbench.reports.sight_page import write_page

    loaded = [load_run(folder) for folder in runs]
    text = write_page(loaded)
    if out is not None:
        write_bytes(out, text.encode())
        output.note(f"written: {out}")
    document = {run.name: [asdict(sight) for sight in sights(run)] for run in loaded} if output.json else {}
    output.result(document, "" if out is not None else text)


def _matrix(result: CheckResult) -> str:
    from floatbench.engine.check import label

    rows = [("damage", *dict.fromkeys(r.metric for r in result.responses))]
    for damage in dict.fromkeys(r.damage for r in result.responses):
        rows.append((damage, *(label(r) for r in result.responses if r.damage == damage)))
    lines = [
        table(rows),
        "+ worse, - better, as a share of the metric's widest move; ρ = Spearman with the strength; . = no reaction",
    ]
    for shift in result.shifts:
        error = "nothing found" if shift.largest_error is None else f"largest error {shift.largest_error:g} frames"
        lines.append(f"{shift.metric}: planted sound shifts of -10..10 frames, {error}")
    return "\n".join(lines)
