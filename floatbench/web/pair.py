"""Scoring one pair of videos, in a process of its own that can be stopped: what `floatbench score` does with them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from floatbench.errors import DataError, UsageError
from floatbench.web.making import check
from floatbench.web.wish import CLIP, Upload, score_arguments

LEFT_OUT = "left out: "
LEAVE_S = 10.0
"""Seconds that a stopped process has to leave by itself."""


@dataclass
class PairWatcher:
    """What scoring says about itself, what it leaves out and why; `stop` is set to end it."""

    line: str = "starting"
    left_out: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def score_pair(
    generated: Upload, reference: Upload, controls: bool, folder: Path, watcher: PairWatcher
) -> Generator[PairWatcher, None, str]:
    """Scores two videos in a new folder, and yields the watcher now and then; returns the table, Markdown.

    Raises:
        UsageError: what `floatbench score` refuses. DataError: no metric could be measured. Interrupted: stopped.
    """
    _lay_out(folder, generated, reference)
    words = [sys.executable, "-m", "floatbench", *score_arguments("generated", "reference", controls)]
    process = subprocess.Popen(
        [*words, "--out", "run", "--json"], cwd=folder, env=_environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", start_new_session=True,
    )  # fmt: skip
    said: list[str] = []
    readers = [threading.Thread(target=_notes, args=(process, watcher), daemon=True),
               threading.Thread(target=lambda: said.append(_all(process)), daemon=True)]  # fmt: skip
    for reader in readers:
        reader.start()
    try:
        while process.poll() is None and not watcher.stop.is_set():
            yield watcher
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    finally:
        _end(process)
        for reader in readers:
            reader.join()
    check(watcher.stop)
    return _table(folder / "run", said[0], process.returncode)


def _environment() -> dict[str, str]:
    """As here, with this package found first, wherever it was imported from."""
    package = str(Path(__file__).resolve().parents[2])
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{before}" if before else package}


def _lay_out(folder: Path, generated: Upload, reference: Upload) -> None:
    """Two folders with a video each, under one name, as `floatbench score` wants them."""
    for name, upload in (("generated", generated), ("reference", reference)):
        (folder / name).mkdir(parents=True)
        shutil.copyfile(upload.path, folder / name / f"{CLIP}{Path(upload.name).suffix}")


def _notes(process: subprocess.Popen[str], watcher: PairWatcher) -> None:
    for line in process.stderr or ():
        if line.startswith(LEFT_OUT):
            watcher.left_out.append(line.strip())
        elif line.strip():
            watcher.line = line.strip()


def _all(process: subprocess.Popen[str]) -> str:
    return process.stdout.read() if process.stdout else ""


def _end(process: subprocess.Popen[str]) -> None:
    """Stops the process as Ctrl-C would, with the workers that it started; one that does not listen is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LEAVE_S)


def _table(run: Path, said: str, code: int) -> str:
    """The table of a finished run; an error of the command is raised as it told it."""
    table = run / "table.md"
    if table.is_file():
        return table.read_text(encoding="utf-8")
    document: dict[str, Any] = {}
    with suppress(ValueError):
        document = json.loads(said)
    kind = UsageError if code == 2 else DataError
    raise kind(document.get("error") or f"floatbench score ended with code {code}", document.get("fix"))
