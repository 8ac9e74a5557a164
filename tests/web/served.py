"""The page in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def serve(temporary: Path, **variables: str) -> tuple[subprocess.Popen[str], str]:
    """Starts `floatbench web` with its temporary files in a folder: the process and the page's address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "floatbench", "web", "--port", "0", "--json"], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT), **variables},
    )  # fmt: skip
    assert process.stdout is not None
    said = ""
    while not said.endswith("}\n") and (line := process.stdout.readline()):
        said += line
    return process, json.loads(said)["address"]
