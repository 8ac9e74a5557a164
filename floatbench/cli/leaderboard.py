"""`floatbench leaderboard`: submit, validate, build, diff and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output

if TYPE_CHECKING:
    from floatbench.reports.leaderboard import BoardEntry

BoardOption = Annotated[
    Path | None,
    typer.Option("--board", help="Folder of the board; default: results/leaderboard below the current folder."),
]
group = typer.Typer(no_args_is_help=True, help="An append-only board of verified scores.")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="leaderboard")


@command(group)
def submit(
    output: Output,
    run: Annotated[Path, typer.Argument(help="Finished run folder.")],
    method: Annotated[str, typer.Option("--method", "-m", help="The method of the run that is submitted.")],
    system: Annotated[str, typer.Option(help="Name on the board; default: the method's.")] = "",
    notes: Annotated[str, typer.Option(help="A line about the system.")] = "",
    board: BoardOption = None,
) -> None:
    """Add a method's scores; a system that is there gets the next version, its old one is kept."""
    from floatbench.reports import leaderboard
    from floatbench.reports.loading import load_run

    where = board or leaderboard.BOARD
    entry = leaderboard.submit(load_run(run), method, system, notes, where)
    output.note(f"written: {entry.path(where)}")
    output.result(entry.model_dump(mode="json"), f"{entry.system} version {entry.version}: {entry.id}")


@command(group)
def validate(
    output: Output,
    entry: Annotated[str, typer.Argument(help="Id of an entry; default: the whole board.")] = "",
    run: Annotated[
        Path | None, typer.Option(help="The run folder of the entry: recompute features and scores.")
    ] = None,
    board: BoardOption = None,
) -> int:
    """Verify entries against their own record and, with --run, against the features they were made from.

    Exit codes: 0 all is well, 1 an entry has a problem, 2 usage, 4 damaged.
    """
    from floatbench.errors import UsageError
    from floatbench.protocol.load import load_protocol
    from floatbench.reports import leaderboard
    from floatbench.reports.loading import load_run

    where = _existing(board)
    known = {loaded.id: loaded.hash for loaded in map(load_protocol, ("hdtf", "ravdess", "synthetic"))}
    found = leaderboard.validate(where, known)
    if run is not None and not entry:
        raise UsageError("--run needs the id of the entry", fix="floatbench leaderboard validate ID --run DIR")
    if entry:
        chosen = _entry(where, entry)
        found = {entry: found[entry]}
        if run is not None:
            found[entry] = found[entry] + leaderboard.run_problems(chosen, load_run(run))
    output.note(f"board: {where}")
    output.result(found, "\n".join(f"{name}: {'; '.join(wrong) or 'ok'}" for name, wrong in found.items()))
    return 1 if any(found.values()) else 0


@command(group)
def build(output: Output, board: BoardOption = None) -> None:
    """Write leaderboard.csv and leaderboard.md beside the board; refuses a board with a wrong entry."""
    from floatbench.errors import DataError
    from floatbench.reports import leaderboard
    from floatbench.reports.leaderboard_files import build as write

    where = _existing(board)
    wrong = {name: found for name, found in leaderboard.validate(where).items() if found}
    if wrong:
        listed = "; ".join(f"{name}: {', '.join(found)}" for name, found in wrong.items())
        raise DataError(f"the board has wrong entries: {listed}", fix="floatbench leaderboard validate")
    paths = [str(path) for path in write(where)]
    output.result({"written": paths}, "\n".join(paths))


@command(group)
def diff(
    output: Output,
    old: Annotated[Path, typer.Argument(help="Folder of a board.")],
    new: Annotated[Path, typer.Argument(help="A later state of it.")],
) -> int:
    """What was added and superseded; exit code 1 when an entry was removed or changed."""
    from floatbench.reports.leaderboard import difference, entries

    output.note(f"boards: {old}, {new}")

    found = difference(entries(old), entries(new))
    output.result(found, "\n".join(f"{kind}: {title}" for kind, titles in found.items() for title in titles))
    return 1 if found["removed"] or found["changed"] else 0


@command(group)
def export(
    output: Output,
    entry: Annotated[str, typer.Argument(help="Id of an entry.")],
    model: Annotated[str, typer.Option(help="Name of the model on its card; default: the system's.")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to the screen.")] = None,
    board: BoardOption = None,
) -> None:
    """An entry as the evaluation metadata (`model-index`) of a model card on the Hugging Face Hub, in YAML."""
    from floatbench.files import write_bytes
    from floatbench.reports.model_index import model_index

    where = _existing(board)
    card = model_index(_entry(where, entry), model)
    output.note(f"board: {where}")
    if out is not None:
        write_bytes(out, f"{card.to_yaml()}\n".encode())
        output.note(f"written: {out}")
    else:
        output.result(card.to_dict(), card.to_yaml())


def _existing(board: Path | None) -> Path:
    """The chosen board; DataError where there is none."""
    from floatbench.errors import DataError
    from floatbench.reports.leaderboard import BOARD, shipped_board

    where = board or BOARD
    if not (where / "entries").is_dir():
        fix = (
            f"floatbench leaderboard submit RUN --method NAME, or --board {shipped_board()} for the one that came along"
        )
        raise DataError(f"there is no board in {where}", fix=fix)
    return where


def _entry(board: Path, name: str) -> BoardEntry:
    """The entry of that id; UsageError where there is none."""
    from floatbench.errors import UsageError
    from floatbench.reports.leaderboard import entries

    found = {entry.id: entry for entry in entries(board)}
    if name not in found:
        raise UsageError(f"there is no entry {name} in {board}", fix=f"one of {', '.join(found) or 'none'}")
    return found[name]
