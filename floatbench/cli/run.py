"""`floatbench run`: a protocol times methods, to a table."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import StripSuffixes, allow_fabricated, command
from floatbench.cli.output import Output, table
from floatbench.cli.run_file import ConfigOption, ShowConfigOption, show_config
from floatbench.errors import DataError

if TYPE_CHECKING:
    from floatbench.engine.runner import RunResult
    from floatbench.protocol.protocol import Protocol


def register(app: typer.Typer) -> None:
    command(app)(run)


@dataclass(frozen=True)
class RunChoices:
    """The options of `floatbench run`."""

    protocol: Annotated[
        str, typer.Option("--protocol", "-p", help="hdtf, ravdess, synthetic, folder:DIR or a TOML file.")
    ]
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="Comma separated, repeatable: float, baselines, videos:DIR as NAME, controls.",
        ),
    ] = None
    strip_suffix: StripSuffixes = None
    metrics: Annotated[str, typer.Option(help="Metric variants or sets, comma separated; default: the protocol's.")] = (
        ""
    )
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips (never ranked).")] = None
    clips: Annotated[str, typer.Option(help="Only these clip ids, comma separated (never ranked).")] = ""
    disjoint_from: Annotated[
        str, typer.Option("--disjoint-from", help="Only people outside this training list: edtalk (never ranked).")
    ] = ""
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default: one below runs/.")] = None
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True
    replicates: Annotated[int, typer.Option(min=1, help="Repeat with R seeds and report the spread.")] = 1
    seed: Annotated[int | None, typer.Option(min=0, help="Run seed; default: the protocol's.")] = None
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each worker.")] = 1
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto"
    timeout: Annotated[float | None, typer.Option(min=0.1, help="Seconds for one method on one clip.")] = None
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local"
    address: Annotated[str, typer.Option(help="Address of the Ray cluster: auto, local, host:port.")] = "auto"
    boxes: Annotated[str, typer.Option(help="folder: only; face boxes by mediapipe, s3fd, given or none.")] = ""
    crop_videos: Annotated[
        str, typer.Option(help="videos: only; same cuts finished videos as the reference was cut, none leaves them.")
    ] = "none"
    trained_with: Annotated[
        list[str] | None,
        typer.Option(help="videos: only; networks that taught a system: Ours=syncnet; repeatable."),
    ] = None
    dubbed: Annotated[
        list[str] | None,
        typer.Option(help="videos: only; a system that was given the protocol's source videos; repeatable."),
    ] = None
    any_framing: Annotated[
        bool, typer.Option("--any-framing", help="Score finished videos that are framed differently; tables say so.")
    ] = False
    size: Annotated[int | None, typer.Option(help="Side of the prepared crop in pixels; default: the protocol's.")] = (
        None
    )
    source_video: Annotated[
        str, typer.Option(help="What a system that needs a video gets: still, other-clip or own (never ranked).")
    ] = ""
    skip_unavailable: Annotated[bool, typer.Option("--skip-unavailable", help="Leave out what is missing.")] = False
    skip_rejected: Annotated[
        bool, typer.Option("--skip-rejected", help="Go on though more than half of the clips are refused.")
    ] = False
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed clips again.")] = False
    keep_videos: Annotated[bool, typer.Option(help="Keep what methods make, for the page and further metrics.")] = True
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Allow seeded random weights; such scores are marked unscorable.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what is missing.")] = False
    config: ConfigOption = None
    show_config: ShowConfigOption = False


def run(context: typer.Context, choices: RunChoices, output: Output) -> int:
    """Generate, extract and score; the same command again carries on where it stopped.

    Exit codes: 0 done, 1 clips failed or coverage missed, 2 usage, or finished videos framed differently from the
    reference, 3 environment, 4 data or weights missing or most clips refused, 130 interrupted.
    """
    if choices.show_config:
        show_config(context, output)
        return 0
    import floatbench
    from floatbench.engine.rejections import MostRefused
    from floatbench.methods.catalogue import parse_methods, parse_names

    allow_fabricated(choices.fabricated)
    if choices.dry_run:
        return _dry_run(choices, output)
    run_it = partial(
        floatbench.run,
        choices.protocol, parse_methods(*choices.methods or ()), metrics=parse_names(choices.metrics) or None,
        controls=choices.controls, limit=choices.limit, clips=_chosen_clips(choices), out=choices.out,
        boxes=choices.boxes or None, size=choices.size, replicates=choices.replicates, seed=choices.seed,
        workers=choices.workers, threads=choices.threads, device=choices.device, timeout=choices.timeout,
        executor=choices.executor, address=choices.address, skip_unavailable=choices.skip_unavailable,
        retry_failed=choices.retry_failed, keep_videos=choices.keep_videos,
        strip_suffix=choices.strip_suffix or (), crop_videos=choices.crop_videos,
        any_framing=choices.any_framing, source_video=choices.source_video or None,
        trained_with=_taught(choices), dubbed=choices.dubbed or (), progress=output.progress(),
    )  # fmt: skip
    try:
        result = run_it(skip_rejected=choices.skip_rejected)
    except MostRefused as error:
        if not output.can_ask():
            raise
        typer.echo(table(error.table, sys.stderr), err=True)
        if not typer.confirm(f"{error.what}. Go on all the same?", err=True):
            raise DataError(error.what, error.fix) from None
        result = run_it(skip_rejected=True)
    return show(result.run, output)


def _taught(choices: RunChoices) -> dict[str, tuple[str, ...]]:
    from floatbench.methods.videos import read_trained_with

    return read_trained_with(choices.trained_with or ())


def _protocol(choices: RunChoices) -> Protocol:
    from floatbench.protocol.load import load_protocol

    return load_protocol(
        choices.protocol,
        boxes=choices.boxes or None,
        size=choices.size,
        source_video=choices.source_video or None,
    )


def _chosen_clips(choices: RunChoices) -> list[str] | None:
    """The clips that --clips and --disjoint-from leave; None for all."""
    from floatbench.methods.catalogue import parse_names
    from floatbench.protocol.overlap import disjoint_clips

    named = parse_names(choices.clips) or None
    if not choices.disjoint_from:
        return named
    protocol = _protocol(choices)
    return disjoint_clips(protocol, choices.disjoint_from, named)


def _dry_run(choices: RunChoices, output: Output) -> int:
    from floatbench.data.catalogue import dataset_for
    from floatbench.engine import runner
    from floatbench.engine.missing import table_of, things_of
    from floatbench.methods.catalogue import default_methods, parse_methods, parse_names

    protocol = _protocol(choices)
    options = runner.RunOptions(
        methods=parse_methods(*choices.methods or ()) or default_methods(protocol),
        metrics=parse_names(choices.metrics) or None, controls=choices.controls,
        strip_suffixes=choices.strip_suffix or (),
        limit=choices.limit, clips=_chosen_clips(choices), out=choices.out,
        replicates=choices.replicates, seed=choices.seed, crop_videos=choices.crop_videos,
        trained_with=_taught(choices), dubbed=choices.dubbed or (),
    )  # fmt: skip
    plan = runner.plan_run(protocol, dataset_for(protocol), options)
    summary = {**plan.summary(), "out": str(options.out or runner.default_folder(plan.protocol, options))}
    lines = [
        f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in summary.items()
        if name not in ("missing", "fix")
    ]
    if plan.missing:
        lines += [table(table_of(things_of(plan.missing))), f"fix: {summary['fix']}"]
    output.result(summary, "\n".join(lines))
    return 4 if plan.missing and not choices.skip_unavailable else 0


def show(result: RunResult, output: Output) -> int:
    """Prints the tables of a finished run, and gives the exit code."""
    from floatbench.reports.table import markdown

    text = markdown(result.scores)
    if not output.quiet:
        page = shlex.join(["floatbench", "report", str(result.folder), "--page", str(result.folder / "page")])
        text += (
            f"\n{result.new_rows} new rows of {len(result.rows)}; everything is in {result.folder}\n"
            f"clips side by side: {page}"
        )
    scores = result.scores.model_dump(mode="json")
    videos = sum(bool(row.video) for row in result.rows.values())
    output.result({"folder": str(result.folder), "new_rows": result.new_rows, "videos": videos, **scores}, text)
    return 0 if result.complete else 1
