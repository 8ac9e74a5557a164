"""`floatbench run`: a protocol times methods, to a table."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from floatbench.cli.common import (
    ConfigOption,
    JsonOption,
    OfflineOption,
    QuietOption,
    ShowConfigOption,
    allow_fabricated,
    console,
    make_progress,
    print_config,
    print_json,
)

if TYPE_CHECKING:
    from floatbench.engine.runner import RunOptions, RunResult


def register(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    context: typer.Context,
    protocol: Annotated[
        str, typer.Option("--protocol", "-p", help="hdtf, ravdess, synthetic, folder:DIR or a TOML file.")
    ],
    methods: Annotated[
        str, typer.Option("--methods", "-m", help="Methods, comma separated: float, baselines, videos:DIR, controls.")
    ] = "",
    metrics: Annotated[str, typer.Option(help="Metric variants, comma separated; default: the protocol's.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips (never ranked).")] = None,
    clips: Annotated[str, typer.Option(help="Only these clip ids, comma separated (never ranked).")] = "",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run folder; default runs/<protocol>-<hash>.")] = None,
    controls: Annotated[bool, typer.Option(help="Also score the control systems.")] = True,
    replicates: Annotated[int, typer.Option(min=1, help="Repeat with R seeds and report the spread.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="Run seed; default: the protocol's.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; 0 = in this process.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each worker.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N.")] = "auto",
    timeout: Annotated[float | None, typer.Option(min=0.1, help="Seconds for one method on one clip.")] = None,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str, typer.Option(help="Address of the Ray cluster: auto, local, host:port.")] = "auto",
    boxes: Annotated[str, typer.Option(help="folder: only; face boxes by mediapipe, s3fd, given or none.")] = "",
    size: Annotated[
        int | None, typer.Option(help="Side of the prepared crop in pixels; default: the protocol's.")
    ] = None,
    skip_unavailable: Annotated[bool, typer.Option("--skip-unavailable", help="Leave out what is missing.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed clips again.")] = False,
    fabricated: Annotated[
        bool, typer.Option("--fabricated", help="Allow seeded random weights; such scores are marked unscorable.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what is missing.")] = False,
    config: ConfigOption = None,
    show_config: ShowConfigOption = False,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Generate, extract and score; the same command again carries on where it stopped.

    Exit codes: 0 done, 1 clips failed or coverage missed, 2 usage, 3 environment, 4 data or weights missing,
    130 interrupted.
    """
    if show_config:
        print_config(context, json_output)
        return
    from floatbench.data.catalogue import dataset_for
    from floatbench.engine import runner
    from floatbench.methods.catalogue import parse_names
    from floatbench.protocol.load import load_protocol

    if fabricated:
        allow_fabricated()
    loaded = load_protocol(protocol, boxes=boxes or None, size=size)
    dataset = dataset_for(loaded)
    options = runner.RunOptions(
        methods=parse_names(methods), metrics=parse_names(metrics) or None, controls=controls,
        limit=limit, clips=parse_names(clips) or None, out=out, replicates=replicates, seed=seed,
        workers=workers, threads=threads, executor=executor, address=address, device=device, timeout=timeout,
        skip_unavailable=skip_unavailable, retry_failed=retry_failed,
    )  # fmt: skip
    if dry_run:
        raise typer.Exit(_dry_run(loaded, dataset, options, json_output))
    result = runner.run(loaded, dataset, options, make_progress(quiet, json_output))
    raise typer.Exit(finish(result, json_output, quiet))


def _dry_run(protocol: Any, dataset: Any, options: RunOptions, json_output: bool) -> int:
    from floatbench.engine import runner

    plan = runner.plan_run(protocol, dataset, options)
    summary = {**plan.summary(), "out": str(options.out or runner.default_folder(protocol, options))}
    if json_output:
        print_json(summary)
    else:
        for name, value in summary.items():
            if name != "missing":
                typer.echo(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
        for item in plan.missing:
            typer.echo(f"missing: {item.what}\n  fix: {item.fix}")
    return 4 if plan.missing and not options.skip_unavailable else 0


def finish(result: RunResult, json_output: bool, quiet: bool) -> int:
    """Writes the tables, prints them, and gives the exit code."""
    from floatbench.reports.table import markdown, write_tables

    write_tables(result.folder, result.scores)
    if json_output:
        print_json({"folder": str(result.folder), "new_rows": result.new_rows, **result.scores.model_dump(mode="json")})
    else:
        console().print(markdown(result.scores), markup=False)
        if not quiet:
            console().print(
                f"{result.new_rows} new rows of {len(result.rows)}; everything is in {result.folder}", markup=False
            )
            page = ["floatbench", "report", str(result.folder), "--page", str(result.folder / "page")]
            typer.echo(f"clips side by side: {shlex.join(page)}")  # not wrapped, so that it can be pasted
    return 0 if result.complete else 1
