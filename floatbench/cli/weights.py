"""`floatbench weights`: list, show, fetch, import, verify, path, fabricate and convert weight files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from floatbench.cli.command import allow_fabricated, command
from floatbench.cli.output import Output, columns, megabytes, table

if TYPE_CHECKING:
    from floatbench.weights.fetch import Preview

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


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value in (None, "") else str(value)


@command(group, "list")
def list_(
    output: Output,
    used_by: Annotated[str, typer.Option("--used-by", help="Only what this metric, method or command needs.")] = "",
) -> None:
    """All weight files: state on this machine, size, licence, and what needs them."""
    from floatbench import weights

    rows = [_summary(name) for name in weights.names()]
    asked = f"{used_by} "  # `train` stands for both of its phases
    rows = [row for row in rows if not used_by or any(f"{one} ".startswith(asked) for one in row["used_by"])]
    lines = [("name", "state", "size", "commercial", "used by")]
    for row in rows:
        size, used = megabytes(row["size"]), ", ".join(row["used_by"])
        lines.append((row["name"], row["state"], size, _plain(row["commercial"]), used))
    output.result(rows, table(lines))


@command(group)
def show(name: Name, output: Output) -> None:
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
    lines = [f"{key.replace('_', ' ')}: {_plain(value)}" for key, value in document.items() if key != "files"]
    for file in document["files"]:
        sha256 = file["sha256"] or "not known yet"
        lines.append(f"file {file['path']}: {megabytes(file['size'])}, sha256 {sha256} ({file['hash_is']})")
        lines += [f"  {address}" for address in file["addresses"]]
    output.result(document, "\n".join(lines))


@command(group)
def fetch(
    output: Output,
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every entry of the table.")] = False,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Accept licences that restrict use.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a wrong file; forget a recorded hash.")] = False,
    for_: Annotated[
        list[str] | None,
        typer.Option("--for", help="All that a protocol, metric, method or command needs: hdtf, float, train."),
    ] = None,
) -> None:
    """Download and verify; goes on where it stopped; mirrors of FLOATBENCH_MIRROR are tried first."""
    from floatbench.engine.answers import first_use
    from floatbench.weights import fetch

    progress = output.progress()
    chosen = _wanted(names, everything, for_ or [])
    rows = fetch.preview(chosen)
    if len(rows) > 1:
        for line in _preview_lines(rows):
            progress.note(line)
    again = " ".join([f"--for {purpose}" for purpose in for_ or []] + (["--all"] if everything else names or []))
    _settle_licences([row for row in rows if row.licence_open], accept_license, output, again)
    results = []
    for name in chosen:
        got = fetch.fetch(name, False, force, progress)
        results.append({"name": name, "path": str(got.path), "sources": got.sources})
        if not output.json:
            output.text(f"{name}: {got.path}{'' if got.sources else ' (was here)'}")
    first_use([row["name"] for row in results], progress.note)
    if output.json:
        output.document(results)


def _wanted(names: list[str] | None, everything: bool, purposes: list[str]) -> list[str]:
    """Names as given, those of all purposes, or all; in the table's order when they come from a purpose."""
    from floatbench import weights
    from floatbench.engine.needs import needed
    from floatbench.errors import UsageError

    if not purposes:
        return _chosen(names, everything, weights.names())
    if everything:
        raise UsageError("--for and --all are two choices", fix="floatbench weights list")
    found = {name for purpose in purposes for name in needed(purpose)} | set(names or [])
    for name in names or []:
        weights.entry(name)
    return [name for name in weights.names() if name in found]


def _preview_lines(rows: list[Preview]) -> list[str]:
    """What is about to be downloaded, how much it is, and under which licences."""
    total = sum(row.size or 0 for row in rows if not row.here)
    unknown = sum(row.size is None for row in rows if not row.here)
    more = f" + {unknown} of unknown size" if unknown else ""
    table = [("name", "state", "to download", "licence")]
    table += [(row.name, row.state, "-" if row.here else megabytes(row.size), row.licence) for row in rows]
    table.append(("together", "", f"{total / 1e6:.1f} MB{more}", ""))
    return columns(table).splitlines()


def _settle_licences(rows: list[Preview], accept: bool, output: Output, again: str) -> None:
    """One acceptance for all licences that restrict use, asked on a terminal, else by the option."""
    from floatbench.errors import UsageError
    from floatbench.weights import lockfile

    if not rows:
        return
    if not accept and output.can_ask():
        for row in rows:
            output.progress().note(f"{row.name}: {row.licence}")
        several = f"these {len(rows)} licences" if len(rows) > 1 else "this licence"
        accept = typer.confirm(f"Accept {several}?", err=True)
    if not accept:
        licences = "; ".join(f"{row.name}: {row.licence}" for row in rows)
        raise UsageError(
            f"licences that restrict use have to be accepted first: {licences}",
            fix=f"floatbench weights fetch {again} --accept-license",
        )
    for row in rows:
        lockfile.accept_licence(row.name)


def _chosen(names: list[str] | None, everything: bool, known: list[str]) -> list[str]:
    from floatbench.errors import UsageError

    if bool(names) == everything:
        raise UsageError("give names, or --all for every entry", fix="floatbench weights list")
    return known if everything else list(names or [])


@command(group, "import")
def import_(
    name: Name,
    source: Annotated[Path, typer.Argument(help="The file, its archive, or the folder of a folder entry.")],
    output: Output,
) -> None:
    """Copy a file you already have into the registry, after its hash has matched."""
    from floatbench import weights

    target = weights.import_file(name, source)
    document = {"name": name, "path": str(target), "sha256": weights.sha256(name)}
    output.result(document, f"{name}: {target}")


@command(group)
def verify(
    output: Output,
    names: Names = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Also run what is publicly known of the real files and compare.")
    ] = False,
) -> int:
    """Read files again and compare hashes; without names, everything that is here. Exit code 4 when one is wrong."""
    from floatbench import weights
    from floatbench.errors import DataError

    progress = output.progress()
    chosen = list(names) if names else [name for name in weights.names() if weights.state(name) != "missing"]
    results: list[dict[str, Any]] = []
    with progress.task("verify", len(chosen), unit="entry") as bar:
        for name in chosen:
            try:
                results.append({"name": name, "ok": True, "files": weights.verify(name)})
            except DataError as error:
                results.append({"name": name, "ok": False, "error": error.what, "fix": error.fix})
            bar.advance(note=name)
    if answers:
        results += _answers([row["name"] for row in results if row["ok"]])
    lines = []
    for row in results:
        lines.append(f"{row['name']}: {row.get('answer', 'ok') if row['ok'] else row['error']}")
        lines += [f"fix: {row['fix']}"] if row.get("fix") else []
    output.result(results, "\n".join(lines))
    return 0 if all(row["ok"] for row in results) else DataError.exit_code


def _answers(names: list[str]) -> list[dict[str, Any]]:
    """Rows of the known answers of these weights; one that cannot be tried here is no failure."""
    from floatbench.engine.answers import ask, of

    rows: list[dict[str, Any]] = []
    for answer in of(names):
        found = ask(answer)
        line = f"{found.state}: {found.title}; {found.said}"
        row = {"name": found.weights, "ok": found.state != "wrong", "answer": line, "fix": found.fix or None}
        rows.append(row | ({"error": line} if found.state == "wrong" else {}))
    return rows


@command(group)
def path(name: Name, output: Output, fabricated: FabricatedOption = False) -> None:
    """Print where the verified file (or folder) lies."""
    from floatbench import weights

    allow_fabricated(fabricated)
    found = weights.path(name)
    document = {"name": name, "path": str(found), "sha256": weights.sha256(name)}
    output.result({**document, "fabricated": weights.is_fabricated(name)}, str(found))


@command(group)
def fabricate(
    output: Output,
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every entry that has a fabricator.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random weights.")] = 0,
) -> None:
    """Write seeded random weights, to run a network end to end without its files; what they produce is unscorable."""
    from floatbench import weights

    progress = output.progress()
    chosen = _chosen(names, everything, [name for name in weights.names() if weights.entry(name).fabricate])
    results = []
    with progress.task("fabricate", len(chosen), unit="entry") as bar:
        for name in chosen:
            results.append({"name": name, "path": str(weights.fabricate(name, seed)), "seed": seed})
            bar.advance(note=name)
    output.result(results, "\n".join(f"{row['name']}: {row['path']}" for row in results))
    output.note("used only with FLOATBENCH_FABRICATED=1 or --fabricated; what they produce is not a result")


@command(group)
def convert(
    source: Annotated[str, typer.Argument(help="`float`, or a checkpoint file: .pth or .safetensors.")],
    target: Annotated[Path, typer.Argument(help="The file to write: .safetensors with metadata, or .pth.")],
    output: Output,
    speech: Annotated[Path | None, typer.Option(help="Folder of wav2vec2-base-960h; default: the registry's.")] = None,
    emotion: Annotated[
        Path | None, typer.Option(help="Folder of the emotion network; default: the registry's.")
    ] = None,
    with_speech: Annotated[bool, typer.Option("--with-speech", help=".pth: include both speech networks.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Check a FLOAT checkpoint entry by entry and write it in the other form, with hash, licence and configuration."""
    from floatbench.weights import convert

    metadata = convert.convert(source, target, speech, emotion, with_speech, force)
    origin, licence = metadata["source_sha256"] or "unknown", metadata["licence"] or "none"
    output.result({"path": str(target), **metadata}, f"{target}: source sha256 {origin}; licence: {licence}")
