"""Options that every command has, output that respects them, and bars that appear only on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from floatbench.progress import NullProgress, Progress

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
OfflineOption = Annotated[bool, typer.Option("--offline", envvar="FLOATBENCH_OFFLINE", help="Never use the network.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes.")]


def print_json(document: Any) -> None:
    """Writes one JSON document to standard output (NaN is written as null by the callers, never as NaN)."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


def console() -> Console:
    """Standard output for tables: no colour and no wrapping marks when it is not a terminal."""
    return Console(soft_wrap=not sys.stdout.isatty(), highlight=False)


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Rows of text in aligned columns, never cut or wrapped, so that they can be read by `grep` and `awk`."""
    from floatbench.text import printable

    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def make_progress(quiet: bool, json_output: bool) -> Progress:
    """Bars on a terminal's standard error, one plain line per finished item elsewhere, nothing when quiet."""
    if quiet:
        return NullProgress()
    if sys.stderr.isatty() and not json_output:
        return BarProgress()
    return LineProgress()


class BarProgress:
    """Draws bars with rate and time left on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)

    def note(self, line: str) -> None:
        self._console.print(line, markup=False)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[_Bar]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with RichProgress(*columns, console=self._console, transient=False) as bars:
            yield _Bar(bars, bars.add_task(label, total=total, rate="", note=""), unit)


class _Bar:
    def __init__(self, bars: Any, task_id: Any, unit: str) -> None:
        self._bars, self._task_id, self._unit = bars, task_id, unit
        self._start, self._done = time.monotonic(), 0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        self._bars.update(self._task_id, advance=amount, rate=f"{rate:.2f} {self._unit}/s", note=note[:60])


class LineProgress:
    """Writes one line per finished item to standard error, with rate and time left; no colour, no control codes."""

    def note(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "clip") -> Iterator[_Lines]:
        yield _Lines(label, total, unit)


class _Lines:
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._start, self._done, self._printed = time.monotonic(), 0, 0.0

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = time.monotonic()
        if self._done != self._total and now - self._printed < 1.0:  # at most a line a second
            return
        self._printed = now
        rate = self._done / max(now - self._start, 1e-9)
        left = f", {(self._total - self._done) / rate:.0f} s left" if self._total else ""
        total = f"/{self._total}" if self._total else ""
        print(
            f"{self._label}: {self._done}{total} ({rate:.2f} {self._unit}/s{left}) {note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )


def _load_config(context: typer.Context, value: str | None) -> str | None:
    """Reads a TOML run file into the command's defaults, below the command line and the environment."""
    if value is None or context.resilient_parsing:
        return value
    import tomllib
    from pathlib import Path

    from floatbench.errors import UsageError

    try:
        with Path(value).open("rb") as stream:
            content = tomllib.load(stream)
    except (OSError, ValueError) as error:
        raise UsageError(f"{value}: {error}", fix="give --config a TOML file of options") from None
    known = {parameter.name for parameter in context.command.params}
    defaults = {name.replace("-", "_"): setting for name, setting in content.items()}
    for name in defaults:
        if name not in known:
            raise UsageError(f"{value}: unknown option {name!r}", fix=f"{context.command_path} --help")
    context.default_map = {
        name: ",".join(map(str, setting)) if isinstance(setting, list) else setting
        for name, setting in defaults.items()
    }
    return value


ConfigOption = Annotated[
    str | None,
    typer.Option("--config", is_eager=True, callback=_load_config, help="TOML file of options for this command."),
]
ShowConfigOption = Annotated[
    bool, typer.Option("--show-config", help="Print each option's value and origin, do nothing.")
]


def print_config(context: typer.Context, json_output: bool) -> None:
    """Every option with its value and where it came from: command line, environment, run file or default."""
    names = {
        "COMMANDLINE": "command line",
        "ENVIRONMENT": "environment",
        "DEFAULT_MAP": "run file",
        "DEFAULT": "default",
    }
    rows = {}
    for name, value in sorted(context.params.items()):
        source = context.get_parameter_source(name)
        rows[name] = {"value": value, "origin": names.get(getattr(source, "name", ""), "default")}
    if json_output:
        print_json(rows)
        return
    for name, row in rows.items():
        typer.echo(f"{name} = {row['value']!r}  ({row['origin']})")


def allow_fabricated() -> None:
    """Lets this process and its workers use fabricated weights; scores made with them are marked."""
    import os

    os.environ["FLOATBENCH_FABRICATED"] = "1"
