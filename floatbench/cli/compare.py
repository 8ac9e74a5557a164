"""`floatbench compare`: which of two systems is better, by the paired test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from floatbench.cli.command import command
from floatbench.cli.output import Output
from floatbench.files import write_bytes


def register(app: typer.Typer) -> None:
    command(app)(compare)


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN... [A B]", help="Finished run folders of one protocol, then systems.")
    ],
    output: Output,
    metrics: Annotated[str, typer.Option(help="Metric variants or sets, comma separated; default: all.")] = "",
    style: Annotated[str, typer.Option("--format", help="text, md, latex or json.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here instead of to the screen.")] = None,
) -> None:
    """Compare systems on the same clips: difference, interval, p for the number of comparisons, better or worse.

    Without systems each is compared with each, with one system that one with all others. Controls can be named.
    """
    import json

    from floatbench.methods.catalogue import parse_names
    from floatbench.metrics.sets import measured
    from floatbench.reports.comparison import compare_runs
    from floatbench.reports.comparison_text import render_comparisons
    from floatbench.reports.loading import load_run

    folders, names = split_words(runs)
    loaded = [load_run(folder) for folder in folders]
    variants, lacking = measured(parse_names(metrics), dict.fromkeys(v for run in loaded for v in run.scores.metrics))
    for name, absent in lacking.items():
        output.note(f"{name}: not scored here: {', '.join(absent)}")
    found = compare_runs(loaded, names, variants)
    text = render_comparisons(found, "json" if output.json else style)
    if out is not None:
        write_bytes(out, text.encode("utf-8", "replace"))
        output.result({"written": [str(out)]}, "")
        output.note(f"written: {out}")
    elif output.json or style == "json":
        output.document(json.loads(text))
    else:
        output.text(text)


def split_words(words: list[str]) -> tuple[list[Path], list[str]]:
    """Run folders first, systems after them: a word is a folder as long as there is one of that name."""
    folders = [Path(words[0])]
    for word in words[1:]:
        if not (Path(word) / "run.json").is_file():
            break
        folders.append(Path(word))
    return folders, words[len(folders) :]
