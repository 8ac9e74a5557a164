"""Run by an interpreter that has floatbench in some way: every `--help`, then the commands that need shipped data.

    python smoke.py RUN [option of the run ...]

Everything goes through `main`, in one process; the report is a JSON document: command -> [exit code, output].
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import typer

from floatbench.cli.app import app, main


def call(*arguments: str) -> tuple[int, str]:
    """The exit code and all that was written, both streams together."""
    written = io.StringIO()
    with redirect_stdout(written), redirect_stderr(written):
        try:
            main(list(arguments))
        except SystemExit as end:
            return int(end.code or 0), written.getvalue()
    raise AssertionError(f"{arguments} came back")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group below a group, as it is typed."""
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


if __name__ == "__main__":
    run, *options = sys.argv[1:]
    done = {"--version": call("--version")}
    for path in list(commands(typer.main.get_command(app))):
        done[" ".join([*path, "--help"])] = call(*path, "--help")
    done["protocol list"] = call("protocol", "list")
    done["baseline list"] = call("baseline", "list")
    done["run"] = call("run", "-p", "synthetic", "--limit", "1", "--metrics", "psnr-grey128", "-o", run, *options)
    done["report"] = call("report", run, "--table", "1")
    done["ledger"] = call("ledger", run)
    print(json.dumps(done))
