"""`floatbench report`: the paper's tables and a page from finished runs, and figures from speed files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output
from floatbench.files import write_bytes

if TYPE_CHECKING:
    from floatbench.reports.loading import RecordedRun
    from floatbench.reports.page.build import PageOptions

SHEETS = ("frames", "directions")


def register(app: typer.Typer) -> None:
    command(app)(report)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Finished run folders; speed files with --figure.")],
    output: Output,
    table: Annotated[int | None, typer.Option(min=1, max=3, help="Lay the runs out as the paper's table.")] = None,
    figure: Annotated[
        str, typer.Option(help="fps or speed-quality from speed files, frames or directions from a run.")
    ] = "",
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
        Path | None, typer.Option(help="With --page or --figure: the real videos of a run of `floatbench score`.")
    ] = None,
) -> None:
    """Tables and a page from finished runs, figures from speed files: ours beside the paper's, never mixed.

    Exit codes: 0 done, 2 usage or runs that may not share a column, 4 no finished run.
    """
    from floatbench.reports.licences import refuse_restricted
    from floatbench.reports.loading import load_run
    from floatbench.reports.page.build import PageOptions

    if figure in SHEETS:
        _sheet(figure, [load_run(folder) for folder in runs], out, reference, output)
        return
    if figure:
        _figure(figure, runs, out, metrics, output)
        return
    loaded = [load_run(folder) for folder in runs]
    if commercial_safe:
        from floatbench.methods.catalogue import parse_names

        refuse_restricted(loaded, parse_names(metrics) or None)
    if page is not None:
        _page(loaded, page, PageOptions(videos, matrix, reference), output)
        return
    chosen = "json" if output.json else style
    _give(_text(loaded, table, chosen, metrics), chosen, out, output)


def _figure(kind: str, files: list[Path], out: Path | None, metrics: str, output: Output) -> None:
    from floatbench.errors import UsageError
    from floatbench.reports.speed_figure import FIGURES, write_fps, write_speed_quality

    if kind not in FIGURES:
        raise UsageError(f"unknown figure {kind!r}", fix=f"--figure {'|'.join((*FIGURES, *SHEETS))}")
    if out is None:
        raise UsageError("a figure is written to files", fix="--out fps.svg")
    paths = write_fps(files, out) if kind == "fps" else write_speed_quality(files, out, metrics)
    _written(paths, output)


def _sheet(kind: str, runs: list[RecordedRun], out: Path | None, reference: Path | None, output: Output) -> None:
    from floatbench.errors import UsageError
    from floatbench.reports.directions_figure import write_directions
    from floatbench.reports.frames_figure import write_frames

    if out is None:
        raise UsageError("a figure is written to files", fix=f"--out {kind}.pdf")
    if kind == "frames":
        _written(write_frames(runs, out, reference), output)
        return
    if len(runs) > 1:
        raise UsageError("a sheet of directions shows the model of one run", fix="one run at a time")
    _written(write_directions(runs[0], out, reference), output)


def _page(runs: list[RecordedRun], folder: Path, options: PageOptions, output: Output) -> None:
    from floatbench.reports.page.build import build_page

    made = build_page(runs, folder, options, output.progress())
    if output.json:
        output.document({"page": str(made.index), "videos": made.videos, "without_video": made.without})
        return
    for reason, count in made.without.items():
        output.note(f"{count} without video: {reason}")
    output.note(f"written: {made.index} with {made.videos} videos")


def _text(runs: list[RecordedRun], table: int | None, style: str, metrics: str) -> str:
    from floatbench.errors import UsageError
    from floatbench.methods.catalogue import parse_names
    from floatbench.reports.layout import build_table
    from floatbench.reports.render import render
    from floatbench.reports.table import markdown

    if table is not None:
        return render(build_table(table, runs, parse_names(metrics)), style)
    if style == "json":
        return json.dumps([run.scores.model_dump(mode="json") for run in runs], indent=2, ensure_ascii=False) + "\n"
    if style == "csv":
        from floatbench.reports.table import to_csv

        if len(runs) > 1:
            raise UsageError("a CSV of whole runs takes one run", fix="--table 1, or one run at a time")
        return to_csv(runs[0].scores)
    if style != "md":
        raise UsageError(f"--format {style} needs a table", fix="--table 1|2|3")
    return "\n".join(markdown(run.scores) for run in runs)


def _give(text: str, style: str, out: Path | None, output: Output) -> None:
    """To the file, whole or not at all, or to standard output."""
    if out is not None:
        write_bytes(out, text.encode("utf-8", "replace"))  # names of files may hold undecodable bytes
        _written([out], output)
    elif style == "json":
        output.document(json.loads(text))
    else:
        output.text(text)


def _written(paths: list[Path], output: Output) -> None:
    if output.json:
        output.document({"written": [str(path) for path in paths]})
    else:
        output.note("\n".join(f"written: {path}" for path in paths))
