"""`floatbench metrics`: what can be measured, what each number means, and whether it reacts to what it should."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, make_progress, print_columns, print_json

if TYPE_CHECKING:
    from floatbench.engine.check import CheckResult

group = typer.Typer(no_args_is_help=True, help="Metrics: list, show, check.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="metrics")


@group.command("list")
def list_command(json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False) -> None:
    """List every metric variant: column, direction, weights and whether they are here."""
    from floatbench.metrics.cards import cards

    rows = cards()
    if json:
        print_json(rows)
        return
    lines = [("variant", "column", "better", "weights", "title")]
    for row in rows:
        state = ", ".join(f"{w['name']} ({w['state']})" for w in row["weights"]) or "none needed"
        lines.append((row["id"], row["column"], row["better"], state, row["title"]))
    print_columns(lines)


@group.command("show")
def show_command(
    variant: Annotated[str, typer.Argument(metavar="ID", help="A variant of `metrics list`.")],
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show one variant: definition, source, backbones, weights, licence, parity with the reference tool."""
    from floatbench.metrics.cards import card

    row = card(variant)
    if json:
        print_json(row)
        return
    print(f"{row['id']}: {row['title']}")
    lines = [
        ("column", f"{row['column']}, {row['better']} is better, one value per {row['level']}"),
        ("formula", row["formula"]),
        ("source", row["source"]),
        ("parity", row["parity"]),
        ("compares", " and ".join(row["sides"])),
        *(("backbone", f"{b['id']} {b['settings']}") for b in row["backbones"]),
        *(("weights", f"{w['name']}: {w['state']}; {w['licence']}") for w in row["weights"]),
    ]
    for name, text in lines:
        print(f"  {name:<9} {text}")


@group.command("check")
def check_command(
    protocol: Annotated[str, typer.Option(help="A protocol, folder:DIR, or the path of a .toml file.")] = "synthetic",
    metrics: Annotated[str, typer.Option(help="Variants, comma separated; default: those of the protocol.")] = "",
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
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Damage clips in known ways and show how every metric answers: a matrix as table, JSON and picture."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.engine.check import check, chosen, draw
    from floatbench.errors import RunIncomplete
    from floatbench.files import write_json
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes=boxes, size=size)
    names = [name.strip() for name in metrics.split(",") if name.strip()] or list(loaded.metrics)
    kinds = chosen([name.strip() for name in damages.split(",") if name.strip()], strengths)
    result = check(
        loaded, dataset_for(loaded), names, make_progress(quiet, json), out, clips, frames, device, kinds, workers
    )
    document = result.to_dict()
    write_json(out / "matrix.json", document)
    if result.responses:
        draw(result, out / "matrix.png")
    if json:
        print_json(document)
    else:
        _print_matrix(result)
    if not quiet:
        for name, reason in {**result.skipped, **result.failed_clips}.items():
            print(f"left out {name}: {reason}", file=sys.stderr)
        print(f"written: {out / 'matrix.json'}", file=sys.stderr)
    if not result.responses:
        raise RunIncomplete("no metric could be checked", fix="floatbench metrics list")


def _print_matrix(result: CheckResult) -> None:
    from floatbench.engine.check import label

    lines = [("damage", *dict.fromkeys(r.metric for r in result.responses))]
    for damage in dict.fromkeys(r.damage for r in result.responses):
        lines.append((damage, *(label(r) for r in result.responses if r.damage == damage)))
    print_columns(lines)
    print("+ worse, - better, as a share of the metric's widest move; ρ = Spearman with the strength; . = no reaction")
    for shift in result.shifts:
        error = "nothing found" if shift.largest_error is None else f"largest error {shift.largest_error:g} frames"
        print(f"{shift.metric}: planted sound shifts of -10..10 frames, {error}")
