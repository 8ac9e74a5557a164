"""`floatbench report`: the paper's tables and a page from finished runs, and figures from speed files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output
from floatbench.errors import UsageError
from floatbench.files import write_bytes

if TYPE_CHECKING:
    from floatbench.reports.loading import RecordedRun
    from floatbench.reports.page.build import PageOptions
    from floatbench.reports.table_parts import TableChoices

SHEETS = ("frames", "directions")


def register(app: typer.Typer) -> None:
    command(app)(report)


@dataclass(frozen=True)
class ReportChoices:
    """The options of `floatbench report`."""

    table: Annotated[int | None, typer.Option(min=1, max=3, help="Lay the runs out as the paper's table.")] = None
    figure: Annotated[
        str, typer.Option(help="fps or speed-quality from speed files, frames or directions from a run; needs --out.")
    ] = ""
    style: Annotated[str, typer.Option("--format", help="md, csv, latex, json or html.")] = "md"
    metrics: Annotated[str, typer.Option(help="Metric variants or sets of the columns, comma separated.")] = ""
    only: Annotated[list[str] | None, typer.Option(help="Show these methods only, comma separated; repeatable.")] = None
    name: Annotated[list[str] | None, typer.Option(help="METHOD=NAME: print a method by this name; repeatable.")] = None
    row: Annotated[
        bool, typer.Option("--row", help="The rows alone, for your own table: Table 1, or of --metrics.")
    ] = False
    controls: Annotated[bool, typer.Option(help="Show the controls.")] = True
    published: Annotated[bool, typer.Option(help="With --table: show the paper's own rows.")] = True
    intervals: Annotated[str, typer.Option(help="full: both ends; pm: ± half of the width; none.")] = "full"
    label: Annotated[str, typer.Option(help="With --format latex: the label of the table, such as tab:main.")] = ""
    by: Annotated[
        str, typer.Option(help="Also by slices of the clips: a label (emotion), or yaw:15, pitch, loudness, length.")
    ] = ""
    disjoint_from: Annotated[
        str, typer.Option(help="Only clips of people who are not in a training list, such as edtalk; never ranked.")
    ] = ""
    commercial_safe: Annotated[
        bool, typer.Option("--commercial-safe", help="Refuse numbers whose weights forbid commercial use.")
    ] = False
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to the screen.")] = None
    page: Annotated[Path | None, typer.Option(help="Write a page that opens from disk into this folder.")] = None
    videos: Annotated[int | None, typer.Option(min=0, help="With --page: videos of at most N clips, worst first.")] = (
        None
    )
    matrix: Annotated[Path | None, typer.Option(help="With --page: matrix.json of `floatbench metrics check`.")] = None
    reference: Annotated[
        Path | None,
        typer.Option(help="With --page, --figure, --by: where the real videos of `floatbench score` lie, if moved."),
    ] = None
    title: Annotated[str, typer.Option(help="With --page: its title.")] = ""
    authors: Annotated[str, typer.Option(help="With --page: who made it.")] = ""
    link: Annotated[str, typer.Option(help="With --page: an address to read more at.")] = ""
    about: Annotated[Path | None, typer.Option(help="With --page: a text of your own, from a file.")] = None


def report(
    output: Output,
    choices: ReportChoices,
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Finished run folders; speed files with --figure.", show_default=False)
    ] = None,
) -> None:
    """Tables and a page from finished runs, figures from speed files: ours beside the paper's, never mixed.

    Without a run --table prints the paper's rows.
    Exit codes: 0 done, 2 usage or runs that may not share a column, 4 no finished run.
    """
    from floatbench.reports.licences import refuse_restricted
    from floatbench.reports.loading import load_run
    from floatbench.reports.page.build import PageOptions

    if choices.figure in SHEETS:
        _sheet(choices.figure, [load_run(folder) for folder in runs or ()], choices.out, choices.reference, output)
        return
    if choices.figure:
        _figure(choices.figure, runs or [], choices.out, choices.metrics, output)
        return
    loaded = [load_run(folder) for folder in runs or ()]
    needs_run = choices.table is None or choices.page or choices.row or choices.by or choices.disjoint_from
    if not loaded and needs_run:
        raise UsageError("no run was given", fix="floatbench report RUN, or --table 1 for the paper's rows")
    if choices.disjoint_from:
        from floatbench.reports.subset import disjoint_from

        loaded = [disjoint_from(run, choices.disjoint_from) for run in loaded]
    named, variants = _metrics(loaded, choices.metrics, output)
    if choices.commercial_safe:
        refuse_restricted(loaded, variants or None)
    if choices.page is not None:
        options = PageOptions(
            choices.videos, choices.matrix, choices.reference, choices.title, choices.authors, choices.link,
            choices.about,
        )  # fmt: skip
        _page(loaded, choices.page, options, output)
        return
    style = "json" if output.json else choices.style
    chosen = _table_choices(choices, style, named)
    _give(_text(loaded, choices, chosen, variants, style, output), style, choices.out, output)


def _metrics(runs: list[RecordedRun], text: str, output: Output) -> tuple[tuple[str, ...], list[str]]:
    """The sets that are named, and all variants; says what of a set was not scored."""
    from floatbench.methods.catalogue import parse_names
    from floatbench.metrics import sets
    from floatbench.reports.table import ordered_metrics

    given = parse_names(text)
    every = dict.fromkeys(variant for run in runs for variant in ordered_metrics(run.scores))
    if not every:
        return (), sets.expanded(given)
    variants, lacking = sets.measured(given, every)
    for name, absent in lacking.items():
        output.note(f"{name}: not scored here: {', '.join(absent)}")
    return tuple(name for name in given if name in sets.names()), variants


def _figure(kind: str, files: list[Path], out: Path | None, metrics: str, output: Output) -> None:
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


def _text(
    runs: list[RecordedRun],
    choices: ReportChoices,
    chosen: TableChoices,
    variants: list[str],
    style: str,
    output: Output,
) -> str:
    """The table that was asked for; of whole runs as they are where nothing was."""
    from floatbench.reports.layout import build_table
    from floatbench.reports.render import render, render_rows
    from floatbench.reports.table import markdown, to_csv
    from floatbench.reports.table_parts import TableChoices

    if choices.row and choices.by:
        raise UsageError("--row gives rows of all clips, --by blocks of some", fix="leave out one of them")
    if choices.row:
        number = choices.table or (None if variants else 1)
        found = build_table(number, runs, variants, replace(chosen, controls=False, published=False))
        if style not in ("json", "csv"):
            output.note("\n".join(found.notes))
        return render_rows(found, style)
    if choices.by:
        from floatbench.reports.slices import slice_table

        whole = build_table(choices.table, runs, variants, replace(chosen, controls=False, published=False))
        return render(slice_table(whole, runs, choices.by, chosen, choices.reference), style)
    if choices.table is None and not variants and chosen == TableChoices():
        if style == "json":
            return json.dumps([run.scores.model_dump(mode="json") for run in runs], indent=2, ensure_ascii=False) + "\n"
        if style == "csv" and len(runs) == 1:
            return to_csv(runs[0].scores)
        if style == "md":
            return "\n".join(markdown(run.scores) for run in runs)
    return render(build_table(choices.table, runs, variants, chosen), style)


def _table_choices(choices: ReportChoices, style: str, sets: tuple[str, ...]) -> TableChoices:
    """What of the runs is shown, and how; UsageError for what cannot be understood."""
    from floatbench.methods.catalogue import parse_methods
    from floatbench.reports.table_parts import INTERVALS, TableChoices

    names = {}
    for text in choices.name or ():
        method, _, name = text.rpartition("=")  # methods may hold one themselves: float?nfe=5=Ours
        if not (method and name.strip()):
            raise UsageError(f"--name {text!r} is not METHOD=NAME", fix='--name float="Ours"')
        names[method] = name.strip()
    if choices.intervals not in INTERVALS:
        raise UsageError(f"unknown intervals {choices.intervals!r}", fix=f"--intervals {'|'.join(INTERVALS)}")
    if choices.label and (style != "latex" or choices.row):
        raise UsageError("--label is that of a LaTeX table", fix="add --format latex, or leave out --label")
    if not re.fullmatch(r"[\w:./+-]*", choices.label):
        raise UsageError(f"{choices.label!r} is no label of LaTeX", fix="--label tab:main")
    return TableChoices(
        tuple(parse_methods(*choices.only or ())), names, choices.controls, choices.published, choices.intervals,
        choices.label, sets,
    )  # fmt: skip


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
