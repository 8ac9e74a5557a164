"""A pair of videos is scored by `floatbench score` itself, in a process that can be stopped."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import Interrupted, UsageError
from floatbench.media.writers import write_lossless
from floatbench.web.pair import PairWatcher, score_pair
from floatbench.web.wish import Upload


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Upload, Upload]:
    frames = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3)).astype(np.uint8)
    for name in ("a", "b"):
        write_lossless(tmp_path / f"{name}.mkv", frames)
    return Upload(tmp_path / "a.mkv", "mine.mkv"), Upload(tmp_path / "b.mkv", "real.mkv")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_pair_gets_the_table_of_score_and_what_is_left_out(pair: tuple[Upload, Upload], tmp_path: Path):
    watcher, work = PairWatcher(), None
    work = score_pair(*pair, controls=False, folder=tmp_path / "work", watcher=watcher)
    while True:
        try:
            next(work)
        except StopIteration as done:
            table = done.value
            break
    assert "`psnr-grey128`" in table and "| videos:generated | 100 | 1 |" in table
    (line,) = watcher.left_out
    assert line.startswith("left out: efid-mp52, pfid-mp6, avcorr-excess (missing: mediapipe-face-landmarker")
    assert "floatbench weights fetch mediapipe-face-landmarker" in line


def test_a_file_that_is_no_video_has_the_error_of_score(pair: tuple[Upload, Upload], tmp_path: Path):
    text = tmp_path / "notes.txt"
    text.write_text("la la la")
    with pytest.raises(UsageError, match="holds no video") as error:
        list(score_pair(pair[0], Upload(text, "notes.txt"), False, tmp_path / "work", PairWatcher()))
    assert ".mp4" in (error.value.fix or "")


def test_a_stopped_score_ends_its_process(pair: tuple[Upload, Upload], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import subprocess

    started: list[int] = []
    real = subprocess.Popen

    def popen(*args, **more):
        process = real(*args, **more)
        started.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    watcher = PairWatcher()
    work = score_pair(*pair, controls=True, folder=tmp_path / "work", watcher=watcher)
    next(work)
    watcher.stop.set()
    before = time.monotonic()
    with pytest.raises(Interrupted, match="stopped"):
        list(work)
    assert time.monotonic() - before < 30 and not alive(started[0])
