"""`floatbench protocol`: what can be measured on, and getting its clips ready."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, make_progress, print_columns, print_json

if TYPE_CHECKING:
    from floatbench.protocol.protocol import Protocol

group = typer.Typer(no_args_is_help=True, help="Protocols: list, show, fetch, prepare, verify.")

Name = Annotated[
    str, typer.Argument(metavar="PROTOCOL", help="A name of `protocol list`, folder:DIR, or the path of a .toml file.")
]
Boxes = Annotated[str | None, typer.Option(help="Box back end: s3fd, mediapipe, given or none.")]
Size = Annotated[int | None, typer.Option(help="Side of the prepared pictures in pixels.")]
Clips = Annotated[list[str] | None, typer.Option("--clip", help="Only this clip id; may be repeated.")]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="protocol")


@group.command("list")
def list_command(json: JsonOption = False, offline: OfflineOption = False, quiet: QuietOption = False) -> None:
    """List the protocols that come with floatbench and how many of their clips are ready here."""
    from floatbench.data.overview import summary
    from floatbench.protocol.load import built_in, load_protocol

    rows = [summary(name, load_protocol(name)) for name in built_in()]
    if json:
        print_json(rows)
        return
    lines = [("protocol", "label", "clips ready", "boxes", "what it is")]
    for row in rows:
        ready = f"{row['state']['ready']} of {row['clips']}"
        lines.append((row["name"], row["label"], ready, row["preprocessing"]["boxes"], row["title"]))
    print_columns(lines)
    if not quiet:
        print("any folder of talking videos is a protocol too: folder:DIR", file=sys.stderr)


@group.command("show")
def show_command(
    protocol: Name,
    boxes: Boxes = None,
    size: Size = None,
    clips: Annotated[bool, typer.Option("--clips", help="List every clip and its state.")] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a protocol pins, its content hash, and the state of its clips."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.overview import summary
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes, size)
    facts = summary(protocol, loaded)
    states = {row.clip_id: row for row in dataset_for(loaded).availability()}
    if json:
        listed = [clip.model_dump(mode="json") | {"state": states[clip.id].state} for clip in loaded.clips]
        print_json(facts | {"clip_list": listed})
        return
    _print_facts(facts)
    if clips:
        _print_clips(loaded, states)
    elif missing := next((row for row in states.values() if row.state in ("missing", "unprepared")), None):
        print(f"next       {missing.fix}")


@group.command("fetch")
def fetch_command(
    protocol: Name,
    source: Annotated[Path | None, typer.Option("--from", help="Take files from this folder, not the network.")] = None,
    accept_license: Annotated[bool, typer.Option("--accept-license", help="Accept the terms that are shown.")] = False,
    clip: Clips = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring the raw files of a protocol; the same command again carries on."""
    from dataclasses import asdict

    from floatbench.data.fetch import fetch
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol)
    if source is None:
        _settle_licence(loaded, accept_license, json)
    report = fetch(loaded, make_progress(quiet, json), source, clip)
    if json:
        print_json(asdict(report))
    else:
        there = len(report.present) + len(report.fetched)
        print(
            f"{loaded.id}: {there} clips here ({len(report.fetched)} new), {len(report.unavailable)} unavailable, "
            f"{len(report.failed)} failed"
        )
        for clip_id, reason in [*report.unavailable.items(), *report.failed.items()][:20]:
            print(f"  {clip_id}: {reason}")
    raise typer.Exit(0 if report.complete else 1)


@group.command("prepare")
def prepare_command(
    protocol: Name,
    boxes: Boxes = None,
    size: Size = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Try rejected clips again.")] = False,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make the 25 fps, face-cropped, 16 kHz clips that a run reads; the same command again carries on."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.overview import state_counts
    from floatbench.data.prepared import PreparedDataset
    from floatbench.protocol.load import load_protocol
    from floatbench.text import printable

    loaded = load_protocol(protocol, boxes, size)
    progress = make_progress(quiet, json)
    for note in loaded.notes:
        progress.note(f"note: {note}")
    data = dataset_for(loaded)
    if isinstance(data, PreparedDataset):
        data.prepare_clips(progress, workers, retry)
    else:
        data.prepare(progress, workers)
    rows = data.availability()
    counts = state_counts(rows)
    left = [row for row in rows if row.state != "ready"]
    if json:
        print_json({"protocol": loaded.id, "label": loaded.label, **counts, "not_ready": [vars(row) for row in left]})
    else:
        print(
            f"{loaded.label}: {counts['ready']} of {len(rows)} clips ready, {counts['rejected']} rejected, "
            f"{counts['missing']} missing"
        )
        for row in left[:20]:
            print(f"  {printable(row.clip_id)}: {row.reason + ': ' if row.reason else ''}{row.detail}")
        if fixes := sorted({row.fix for row in left if row.fix}):
            print(f"next: {fixes[0]}")
    raise typer.Exit(0 if not left else 1)


@group.command("verify")
def verify_command(
    protocol: Name,
    boxes: Boxes = None,
    size: Size = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Also make each clip again from its raw file and compare.")
    ] = False,
    clip: Clips = None,
    json: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Decode every prepared clip and hold it to the hashes of its manifest."""
    from floatbench.data.fetch import chosen
    from floatbench.data.overview import verify
    from floatbench.protocol.load import load_protocol
    from floatbench.text import printable

    loaded = load_protocol(protocol, boxes, size)
    checks = verify(loaded, chosen(loaded, clip), make_progress(quiet, json), raw)
    bad = [check for check in checks if check.state not in ("exact", "equivalent")]
    if json:
        print_json({"protocol": loaded.id, "hash": loaded.hash, "clips": [vars(check) for check in checks]})
    else:
        print(f"{loaded.label}: {len(checks) - len(bad)} of {len(checks)} prepared clips verify")
        for check in bad:
            print(f"  {printable(check.clip_id)}: {check.state}: {check.detail}")
    raise typer.Exit(4 if bad else 0)


def _settle_licence(protocol: Protocol, accepted: bool, json: bool) -> None:
    """Shows the terms; asks on a terminal, once; raises UsageError when they are not accepted."""
    from floatbench.data.fetch import accept_licence, licence_accepted
    from floatbench.errors import UsageError

    if licence_accepted(protocol):
        return
    print(f"terms of {protocol.id}: {protocol.licence}", file=sys.stderr)
    if not accepted and sys.stdin.isatty() and sys.stderr.isatty() and not json:
        accepted = typer.confirm("Do you accept these terms?", err=True)
    if not accepted:
        what = f"the terms of {protocol.id} are not accepted"
        raise UsageError(what, fix=f"floatbench protocol fetch {protocol.origin} --accept-license")
    accept_licence(protocol)


def _print_facts(facts: dict) -> None:
    from floatbench.text import printable

    rule, state = facts["preprocessing"], facts["state"]
    length = f", {facts['seconds']:g} s in all" if facts["seconds"] else ""
    lines = {
        "protocol": f"{facts['id']}  {facts['title']}",
        "label": facts["label"],
        "hash": facts["hash"],
        "clips": f"{facts['clips']} of {facts['identities']} people{length}",
        "prepared": ", ".join(
            f"{state[key]} {word}"
            for key, word in (
                ("ready", "ready"),
                ("unprepared", "to prepare"),
                ("missing", "missing"),
                ("rejected", "rejected"),
            )
        ),
        "rule": f"{rule['id']} (boxes from {rule['boxes']}, {rule['size']} px)",
        "metrics": ", ".join(facts["metrics"]) or "none: training material",
        "seed": facts["seed"],
        "floor": f"{facts['coverage_floor']:.0%} of the available clips, below that a score is void",
        "licence": facts["licence"],
    }
    for variant, values in facts["settings"].items():
        lines[f"  {variant}"] = ", ".join(f"{key} = {value}" for key, value in values.items())
    for name, value in lines.items():
        if value != "":
            print(f"{name:<10} {printable(value)}")
    for note in facts["notes"]:
        print(f"note       {note}")


def _print_clips(protocol: Protocol, states: dict) -> None:
    lines = [("clip", "person", "window", "sound", "state")]
    for clip in protocol.clips:
        row = states[clip.id]
        whole = clip.start_s is None and clip.end_s is None
        window = (
            "whole" if whole else f"{clip.start_s or 0:g} to {'end' if clip.end_s is None else f'{clip.end_s:g}'} s"
        )
        state = f"{row.state}: {row.reason or row.detail}" if row.state != "ready" else row.state
        lines.append((clip.id, clip.identity, window, clip.audio or "its own", state))
    print_columns(lines)
