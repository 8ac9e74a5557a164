"""`floatbench weights`: list, show, fetch, import, verify, path, fabricate and convert weight files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, console, make_progress, print_json

group = typer.Typer(
    help="Weight files: where they come from, whether they are here, and whether they are right.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="A name of `floatbench weights list`.")]
Names = Annotated[list[str] | None, typer.Argument(help="Names of `floatbench weights list`.", metavar="NAME...")]
FabricatedOption = Annotated[
    bool,
    typer.Option("--fabricated", help="Let fabricated weights stand in for missing ones (FLOATBENCH_FABRICATED=1)."),
]


def register(app: typer.Typer) -> None:
    """Adds the group to the program."""
    app.add_typer(group, name="weights")


def _summary(name: str) -> dict[str, Any]:
    from floatbench import weights

    row = weights.entry(name)
    return {
        "name": name,
        "state": weights.state(name),
        "size": row.size,
        "licence": row.licence,
        "commercial": row.commercial,
        "used_by": list(row.used_by),
        "fabricable": bool(row.fabricate),
    }


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f} MB"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)


@group.command("list")
def list_(
    used_by: Annotated[str, typer.Option("--used-by", help="Only what this metric or method needs.")] = "",
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """All weight files: state on this machine, size, licence, and what needs them."""
    from rich.table import Table

    from floatbench import weights

    rows = [_summary(name) for name in weights.names()]
    rows = [row for row in rows if not used_by or used_by in row["used_by"]]
    if json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "state", "size", "commercial", "used by"):
        table.add_column(heading, no_wrap=heading != "used by")
    for row in rows:
        commercial = "yes" if row["commercial"] else "no"
        table.add_row(row["name"], row["state"], _megabytes(row["size"]), commercial, ", ".join(row["used_by"]))
    console().print(table)


@group.command()
def show(name: Name, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False) -> None:
    """Everything known about one entry: addresses, hashes, licence, where it lies and where it came from."""
    from floatbench import weights
    from floatbench.weights import lockfile
    from floatbench.weights.download import mirrors, resolve

    row = weights.entry(name)
    known = lockfile.read().entries.get(name)
    document: dict[str, Any] = {
        **_summary(name),
        "title": row.title,
        "note": row.note,
        "folder": str(weights.folder(name)),
        "source": known.source if known else None,
        "recorded": known.recorded if known else None,
        "files": [
            {
                "path": file.path,
                "size": file.size,
                "sha256": weights.expected_hash(row, file, known.files if known else {}),
                "hash_is": "published" if file.sha256 else "recorded on first use",
                "addresses": [*mirrors(f"{name}/{file.path}"), *map(resolve, file.urls)],
            }
            for file in row.files
        ],
    }
    if json:
        print_json(document)
        return
    files = document.pop("files")
    for key, value in document.items():
        print(f"{key.replace('_', ' ')}: {_plain(value)}")
    for file in files:
        sha256 = file["sha256"] or "not known yet"
        print(f"file {file['path']}: {_megabytes(file['size'])}, sha256 {sha256} ({file['hash_is']})")
        for address in file["addresses"]:
            print(f"  {address}")


@group.command()
def fetch(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every entry of the table.")] = False,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept licences that restrict use.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a wrong file; forget a recorded hash.")] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Download and verify; goes on where it stopped; mirrors of FLOATBENCH_MIRROR are tried first."""
    from floatbench import weights
    from floatbench.weights import fetch

    progress = make_progress(quiet, json)
    results = []
    for name in _chosen(names, everything, weights.names()):
        row = weights.entry(name)
        accepted = accept_license
        if fetch.licence_open(row) and (accepted or _can_ask(json)):
            progress.note(f"{name}: {row.licence}")
            accepted = accepted or typer.confirm("Accept this licence?", err=True)
        got = fetch.fetch(name, accepted, force, progress)
        results.append({"name": name, "path": str(got.path), "sources": got.sources})
        if not json:
            print(f"{name}: {got.path}{'' if got.sources else ' (was here)'}")
    if json:
        print_json(results)


def _can_ask(json: bool) -> bool:
    """Questions are asked only on a terminal; anywhere else the option has to be given."""
    return not json and sys.stdin.isatty() and sys.stderr.isatty()


def _chosen(names: list[str] | None, everything: bool, known: list[str]) -> list[str]:
    from floatbench.errors import UsageError

    if bool(names) == everything:
        raise UsageError("give names, or --all for every entry", fix="floatbench weights list")
    return known if everything else list(names or [])


@group.command("import")
def import_(
    name: Name,
    source: Annotated[Path, typer.Argument(help="The file, its archive, or the folder of a folder entry.")],
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Copy a file you already have into the registry, after its hash has matched."""
    from floatbench import weights

    target = weights.import_file(name, source)
    if json:
        print_json({"name": name, "path": str(target), "sha256": weights.sha256(name)})
    else:
        print(f"{name}: {target}")


@group.command()
def verify(
    names: Names = None, json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False
) -> None:
    """Read files again and compare hashes; without names, everything that is here. Exit code 4 when one is wrong."""
    from floatbench import weights
    from floatbench.errors import DataError

    progress = make_progress(quiet, json)
    chosen = list(names) if names else [name for name in weights.names() if weights.state(name) != "missing"]
    results = []
    with progress.task("verify", len(chosen), unit="entry") as bar:
        for name in chosen:
            try:
                results.append({"name": name, "ok": True, "files": weights.verify(name)})
            except DataError as error:
                results.append({"name": name, "ok": False, "error": error.what, "fix": error.fix})
            bar.advance(note=name)
    if json:
        print_json(results)
    else:
        for row in results:
            print(f"{row['name']}: ok" if row["ok"] else f"{row['name']}: {row['error']}\nfix: {row['fix']}")
    if not all(row["ok"] for row in results):
        raise typer.Exit(DataError.exit_code)


@group.command()
def path(
    name: Name,
    fabricated: FabricatedOption = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print where the verified file (or folder) lies."""
    from floatbench import weights
    from floatbench.cli.common import allow_fabricated

    if fabricated:
        allow_fabricated()
    found = weights.path(name)
    if json:
        document = {"name": name, "path": str(found), "sha256": weights.sha256(name)}
        print_json({**document, "fabricated": weights.is_fabricated(name)})
    else:
        print(found)


@group.command()
def fabricate(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every entry that has a fabricator.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random weights.")] = 0,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write seeded random weights, to run a network end to end without its files; what they produce is unscorable."""
    from floatbench import weights

    progress = make_progress(quiet, json)
    chosen = _chosen(names, everything, [name for name in weights.names() if weights.entry(name).fabricate])
    results = []
    with progress.task("fabricate", len(chosen), unit="entry") as bar:
        for name in chosen:
            results.append({"name": name, "path": str(weights.fabricate(name, seed)), "seed": seed})
            bar.advance(note=name)
    if json:
        print_json(results)
        return
    for row in results:
        print(f"{row['name']}: {row['path']}")
    progress.note("used only with FLOATBENCH_FABRICATED=1 or --fabricated; what they produce is not a result")


@group.command()
def convert(
    source: Annotated[str, typer.Argument(help="`float`, or a checkpoint file: .pth or .safetensors.")],
    target: Annotated[Path, typer.Argument(help="The file to write: .safetensors with metadata, or .pth.")],
    speech: Annotated[Path | None, typer.Option(help="Folder of wav2vec2-base-960h; default: the registry's.")] = None,
    emotion: Annotated[
        Path | None, typer.Option(help="Folder of the emotion network; default: the registry's.")
    ] = None,
    with_speech: Annotated[bool, typer.Option("--with-speech", help=".pth: include both speech networks.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check a FLOAT checkpoint entry by entry and write it in the other form, with hash, licence and configuration."""
    from floatbench.weights import convert

    metadata = convert.convert(source, target, speech, emotion, with_speech, force)
    if json:
        print_json({"path": str(target), **metadata})
    else:
        origin = metadata["source_sha256"] or "unknown"
        print(f"{target}: source sha256 {origin}; licence: {metadata['licence'] or 'none'}")
