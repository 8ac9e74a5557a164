"""`floatbench protocol`: what can be measured on, and getting its clips ready."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import StripSuffixes, command
from floatbench.cli.output import Output, table, warn
from floatbench.text import printable

if TYPE_CHECKING:
    from floatbench.protocol.protocol import Protocol

group = typer.Typer(no_args_is_help=True, help="Protocols: list, show, fetch, prepare, verify, export, check.")

Name = Annotated[
    str, typer.Argument(metavar="PROTOCOL", help="A name of `protocol list`, folder:DIR, or the path of a .toml file.")
]
Boxes = Annotated[str | None, typer.Option(help="Box back end: s3fd, mediapipe, given or none.")]
Size = Annotated[int | None, typer.Option(help="Side of the prepared pictures in pixels.")]
Clips = Annotated[list[str] | None, typer.Option("--clip", help="Only this clip id; may be repeated.")]
SourceVideoOption = Annotated[
    str, typer.Option("--source-video", help="For a system that needs a video: still, other-clip or own.")
]


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="protocol")


@command(group, "list")
def list_command(output: Output) -> None:
    """List the protocols that come with floatbench and how many of their clips are ready here."""
    from floatbench.data.overview import summary
    from floatbench.protocol.load import built_in, load_protocol

    rows = [summary(name, load_protocol(name)) for name in built_in()]
    lines = [("protocol", "label", "clips ready", "boxes", "what it is")]
    for row in rows:
        ready = f"{row['state']['ready']} of {row['clips']}"
        lines.append((row["name"], row["label"], ready, row["preprocessing"]["boxes"], row["title"]))
    output.result(rows, table(lines))
    output.note("any folder of talking videos is a protocol too: folder:DIR")


@command(group, "show")
def show_command(
    protocol: Name,
    output: Output,
    boxes: Boxes = None,
    size: Size = None,
    clips: Annotated[bool, typer.Option("--clips", help="List every clip and its state.")] = False,
) -> None:
    """Show what a protocol pins, its content hash, and the state of its clips."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.overview import summary
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes, size)
    facts = summary(protocol, loaded)
    states = {row.clip_id: row for row in dataset_for(loaded).availability()}
    listed = [clip.model_dump(mode="json") | {"state": states[clip.id].state} for clip in loaded.clips]
    lines = _facts(facts)
    if clips:
        lines.append(_clips(loaded, states))
    elif missing := next((row for row in states.values() if row.state in ("missing", "unprepared")), None):
        lines.append(f"next       {missing.fix}")
    output.result(facts | {"clip_list": listed}, "\n".join(lines))


@command(group, "fetch")
def fetch_command(
    protocol: Name,
    output: Output,
    source: Annotated[Path | None, typer.Option("--from", help="Take files from this folder, not the network.")] = None,
    accept_license: Annotated[bool, typer.Option("--accept-license", help="Accept the terms that are shown.")] = False,
    clip: Clips = None,
    cookies: Annotated[Path | None, typer.Option("--cookies", help="A file of cookies for the video site.")] = None,
    cookies_from_browser: Annotated[
        str, typer.Option("--cookies-from-browser", help="Take the cookies from this browser: firefox, chrome, ...")
    ] = "",
    retry: Annotated[bool, typer.Option("--retry", help="Ask again for clips that could not be had before.")] = False,
) -> int:
    """Bring the raw files of a protocol; the same command again carries on."""
    from dataclasses import asdict

    from floatbench.data.fetch import fetch
    from floatbench.data.youtube import Access
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol)
    if source is None:
        _settle_licence(loaded, accept_license, output)
    report = fetch(loaded, output.progress(), source, clip, Access(cookies, cookies_from_browser, retry))
    there = len(report.present) + len(report.fetched)
    lines = [
        f"{loaded.id}: {there} clips here ({len(report.fetched)} new), {len(report.unavailable)} unavailable, "
        f"{len(report.failed)} failed"
    ]
    troubles = [*report.unavailable.items(), *report.failed.items()][:20]
    lines += [f"  {clip_id}: {reason}" for clip_id, reason in troubles]
    output.result(asdict(report), "\n".join(lines))
    return 0 if report.complete else 1


@command(group, "prepare")
def prepare_command(
    protocol: Name,
    output: Output,
    boxes: Boxes = None,
    size: Size = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    retry: Annotated[bool, typer.Option("--retry", help="Try rejected clips again.")] = False,
) -> int:
    """Make the 25 fps, face-cropped, 16 kHz clips that a run reads; the same command again carries on."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.overview import state_counts
    from floatbench.data.prepared import PreparedDataset
    from floatbench.engine.rejections import grouped
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes, size)
    progress = output.progress()
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
    lines = [
        f"{loaded.label}: {counts['ready']} of {len(rows)} clips ready, {counts['rejected']} rejected, "
        f"{counts['missing']} missing"
    ]
    for group in grouped({row.clip_id: f"{row.reason}: {row.detail}" for row in left if row.reason}, loaded):
        lines += [f"  {group.line()}", f"    e.g. {group.example}"]
    for detail, number in Counter(row.detail for row in left if not row.reason).items():
        lines.append(f"  {number} x {detail}")
    if fixes := sorted({row.fix for row in left if row.fix}):
        lines.append(f"next: {fixes[0]}")
    document = {"protocol": loaded.id, "label": loaded.label, **counts, "not_ready": [vars(row) for row in left]}
    output.result(document, "\n".join(lines))
    return 0 if not left else 1


@command(group, "verify")
def verify_command(
    protocol: Name,
    output: Output,
    boxes: Boxes = None,
    size: Size = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Also make each clip again from its raw file and compare.")
    ] = False,
    clip: Clips = None,
) -> int:
    """Decode every prepared clip and hold it to the hashes of its manifest."""
    from floatbench.data.fetch import chosen
    from floatbench.data.overview import verify
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes, size)
    checks = verify(loaded, chosen(loaded, clip), output.progress(), raw)
    bad = [check for check in checks if check.state not in ("exact", "equivalent")]
    lines = [f"{loaded.label}: {len(checks) - len(bad)} of {len(checks)} prepared clips verify"]
    lines += [f"  {printable(check.clip_id)}: {check.state}: {check.detail}" for check in bad]
    document = {"protocol": loaded.id, "hash": loaded.hash, "clips": [vars(check) for check in checks]}
    output.result(document, "\n".join(lines))
    return 4 if bad else 0


@command(group, "export")
def export_command(
    protocol: Name,
    output: Output,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new folder.")],
    for_method: Annotated[
        str, typer.Option("--for-method", help="How the system takes its work; folder: files and a list of names.")
    ] = "folder",
    boxes: Boxes = None,
    size: Size = None,
    clip: Clips = None,
    source_video: SourceVideoOption = "",
) -> int:
    """Write what a system is given: pictures, sounds and a list of names, to make the videos elsewhere.

    The videos come back as NAME=videos:DIR; `protocol check` looks at them first.
    """
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.fetch import chosen
    from floatbench.engine.handover import export
    from floatbench.errors import UsageError
    from floatbench.protocol.load import load_protocol

    if for_method != "folder":
        raise UsageError(f"unknown --for-method {printable(for_method)!r}", fix="--for-method folder")
    loaded = load_protocol(protocol, boxes, size, source_video=source_video or None)
    record = export(dataset_for(loaded), chosen(loaded, clip), out, output.progress())
    what = "pictures and sounds" if loaded.source_video == "none" else "pictures, sounds and source videos"
    lines = [f"{loaded.label}: {what} of {record['clips']} clips, listed in {out / 'names.csv'}"]
    lines += [f"  left out: {printable(name)}: {reason}" for name, reason in record["left_out"].items()]
    way_back = f" --dubbed --source-video {loaded.source_video}" if loaded.source_video != "none" else ""
    lines.append(f"next: floatbench protocol check {loaded.origin} --videos DIR{way_back}")
    output.result(record, "\n".join(lines))
    return 1 if record["left_out"] else 0


@command(group, "check")
def check_command(
    protocol: Name,
    output: Output,
    videos: Annotated[Path, typer.Option("--videos", help="The folder of finished videos.")],
    boxes: Boxes = None,
    size: Size = None,
    clip: Clips = None,
    strip_suffix: StripSuffixes = None,
    source_video: SourceVideoOption = "",
    dubbed: Annotated[
        bool, typer.Option("--dubbed", help="The system was given the protocol's source videos.")
    ] = False,
) -> int:
    """Hold finished videos to a protocol before a run: names, rate, length, framing, first picture."""
    from floatbench.data.catalogue import dataset_for
    from floatbench.data.fetch import chosen
    from floatbench.engine.handover import check
    from floatbench.methods.videos import VideosMethod
    from floatbench.protocol.load import load_protocol

    loaded = load_protocol(protocol, boxes, size, source_video=source_video or None)
    method = VideosMethod(videos, strip_suffixes=strip_suffix or ()).said((), dubbed)
    found = check(dataset_for(loaded), chosen(loaded, clip), method, output.progress())
    wrong = [one for one in found if one.errors]
    lines = [f"{loaded.label}: {len(found) - len(wrong)} of {len(found)} videos are as the clips want them"]
    lines += [f"  {printable(one.clip)}: {'; '.join(one.errors)}" for one in wrong]
    lines += [f"  note: {printable(one.clip)}: {note}" for one in found for note in one.notes]
    output.result({"protocol": loaded.id, "clips": [one.to_dict() for one in found]}, "\n".join(lines))
    return 1 if wrong else 0


def _settle_licence(protocol: Protocol, accepted: bool, output: Output) -> None:
    """Shows the terms; asks on a terminal, once; raises UsageError when they are not accepted."""
    from floatbench.data.fetch import accept_licence, licence_accepted
    from floatbench.errors import UsageError

    if licence_accepted(protocol):
        return
    warn(f"terms of {protocol.id}: {protocol.licence}")
    if not accepted and output.can_ask():
        accepted = typer.confirm("Do you accept these terms?", err=True)
    if not accepted:
        what = f"the terms of {protocol.id} are not accepted"
        raise UsageError(what, fix=f"floatbench protocol fetch {protocol.origin} --accept-license")
    accept_licence(protocol)


def _facts(facts: dict) -> list[str]:

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
    if facts["source_video"] != "none":
        lines["video"] = f"systems that need a source video get: {facts['source_video']}"
    for variant, values in facts["settings"].items():
        lines[f"  {variant}"] = ", ".join(f"{key} = {value}" for key, value in values.items())
    shown = [f"{name:<10} {printable(value)}" for name, value in lines.items() if value != ""]
    shown += [f"seen       {overlap['sentence']}" for overlap in facts["overlaps"]]
    return shown + [f"note       {note}" for note in facts["notes"]]


def _clips(protocol: Protocol, states: dict) -> str:
    lines = [("clip", "person", "window", "sound", "state")]
    for clip in protocol.clips:
        row = states[clip.id]
        whole = clip.start_s is None and clip.end_s is None
        window = (
            "whole" if whole else f"{clip.start_s or 0:g} to {'end' if clip.end_s is None else f'{clip.end_s:g}'} s"
        )
        state = f"{row.state}: {row.reason or row.detail}" if row.state != "ready" else row.state
        lines.append((clip.id, clip.identity, window, clip.audio or "its own", state))
    return table(lines)
