"""The video writers on a disk that takes no more, by a real limit of the operating system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from floatbench.errors import FloatbenchError
from floatbench.media import write_lossless, write_mp4

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
frames = np.random.default_rng(0).integers(0, 256, (40, 96, 96, 3), dtype=np.uint8)
try:
    (write_lossless if sys.argv[1].endswith("mkv") else write_mp4)(Path(sys.argv[1]), frames)
except FloatbenchError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(__import__("signal"), "SIGXFSZ"), reason="this system has no limit of file size")
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_video_that_no_longer_fits_is_one_line_and_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"older")
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / name], capture_output=True, text=True)
    assert done.stdout.startswith("DependencyError ") and name in done.stdout and "no larger file" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_bytes() == b"older"
