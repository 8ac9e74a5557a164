"""`floatbench report`: the paper's tables and a page from finished runs, and figures from speed files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.common import JsonOption, OfflineOption, QuietOption, make_progress, print_json

if TYPE_CHECKING:
    from floatbench.reports.loading import RecordedRun
    from floatbench.reports.page.build import PageOptions


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Finished run folders; speed files with --figure.")],
    table: Annotated[int | None, typer.Option(min=1, max=3, help="Lay the runs out as the paper's table.")] = None,
    figure: Annotated[str, typer.Option(help="fps or speed-quality, from speed files; needs --out.")] = "",
    style: Annotated[str, typer.Option("--format", help="md, csv, latex, json or html.")] = "md",
    metrics: Annotated[str, typer.Option(help="Metric variants of the columns, comma separated.")] = "",
    commercial_safe: Annotated[
        bool, typer.Option("--commercial-safe", help="Refuse numbers whose weights forbid commercial use.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to the screen.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page that opens from disk into this folder.")] = None,
    videos: Annotated[
        int | None, typer.Option(min=0, help="With --page: videos of at most N clips, worst first.")
    ] = None,
    matrix: Annotated[Path | None, typer.Option(help="With --page: matrix.json of `floatbench metrics check`.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="With --page: the real videos of a run of `floatbench score`.")
    ] = None,
    json_output: JsonOption = False,
    offline: OfflineOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tables and a page from finished runs, figures from speed files: ours beside the paper's, never mixed.

    Exit codes: 0 done, 2 usage or runs that may not share a column, 4 no finished run.
    """
    from floatbench.reports.licences import refuse_restricted
    from floatbench.reports.loading import load_run
    from floatbench.reports.page.build import PageOptions

    if figure:
        _figure(figure, runs, out, metrics, quiet)
        return
    loaded = [load_run(folder) for folder in runs]
    if commercial_safe:
        from floatbench.methods.catalogue import parse_names

        refuse_restricted(loaded, parse_names(metrics) or None)
    if page is not None:
        _page(loaded, page, PageOptions(videos, matrix, reference), json_output, quiet)
        return
    text = _text(loaded, table, "json" if json_output else style, metrics)
    _give(text, out, quiet)


def _figure(kind: str, files: list[Path], out: Path | None, metrics: str, quiet: bool) -> None:
    from floatbench.errors import UsageError
    from floatbench.reports.speed_figure import FIGURES, write_fps, write_speed_quality

    if kind not in FIGURES:
        raise UsageError(f"unknown figure {kind!r}", fix=f"--figure {'|'.join(FIGURES)}")
    if out is None:
        raise UsageError("a figure is written to files", fix="--out fps.svg")
    paths = write_fps(files, out) if kind == "fps" else write_speed_quality(files, out, metrics)
    if not quiet:
        typer.echo("\n".join(f"written: {path}" for path in paths), err=True)


def _page(runs: list[RecordedRun], folder: Path, options: PageOptions, json_output: bool, quiet: bool) -> None:
    from floatbench.reports.page.build import build_page

    made = build_page(runs, folder, options, make_progress(quiet, json_output))
    if json_output:
        print_json({"page": str(made.index), "videos": made.videos, "without_video": made.without})
    elif not quiet:
        for reason, count in made.without.items():
            typer.echo(f"{count} without video: {reason}", err=True)
        typer.echo(f"written: {made.index} with {made.videos} videos", err=True)


def _text(runs: list[RecordedRun], table: int | None, style: str, metrics: str) -> str:
    from floatbench.errors import UsageError
    from floatbench.methods.catalogue import parse_names
    from floatbench.reports.layout import build_table
    from floatbench.reports.render import render
    from floatbench.reports.table import markdown

    if table is not None:
        return render(build_table(table, runs, parse_names(metrics)), style)
    if style == "json":
        import json

        return json.dumps([run.scores.model_dump(mode="json") for run in runs], indent=2, ensure_ascii=False) + "\n"
    if style == "csv":
        from floatbench.reports.table import to_csv

        if len(runs) > 1:
            raise UsageError("a CSV of whole runs takes one run", fix="--table 1, or one run at a time")
        return to_csv(runs[0].scores)
    if style != "md":
        raise UsageError(f"--format {style} needs a table", fix="--table 1|2|3")
    return "\n".join(markdown(run.scores) for run in runs)


def _give(text: str, out: Path | None, quiet: bool) -> None:
    """To the file, whole or not at all, or to standard output."""
    data = text.encode("utf-8", "replace")  # names of files may hold undecodable bytes
    if out is None:
        typer.echo(data.decode("utf-8"), nl=False)
        return
    from floatbench.files import write_bytes

    write_bytes(out, data)
    if not quiet:
        typer.echo(f"written: {out}", err=True)
