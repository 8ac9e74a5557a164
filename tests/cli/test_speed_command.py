"""`floatbench speed` as a user types it, with toy methods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import UsageError
from floatbench.media import write_image, write_mp4, write_wav
from floatbench.records import read_record
from floatbench.speed.record import SpeedFile, rows_for_figure

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> tuple[str, ...]:
    """A grey picture and 10.5 frames of noise, as options."""
    folder = tmp_path_factory.mktemp("media")
    write_image(folder / "face.png", np.full((48, 64, 3), 128, np.uint8))
    write_wav(folder / "sound.wav", np.random.default_rng(0).integers(-3000, 3000, 6720).astype(np.int16))
    return "--source", str(folder / "face.png"), "--audio", str(folder / "sound.wav"), "--device", "cpu"


def run(*arguments: str, command: str = "speed", **more: str) -> subprocess.CompletedProcess[str]:
    variables = {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "FLOATBENCH_PLUGINS": "speed_toys", **more}
    line = [sys.executable, "-m", "floatbench", *command.split(), *arguments]
    return subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, **variables}, timeout=180, check=False
    )


def test_table_and_file_of_a_method_without_a_quality_run(media, tmp_path):
    out = tmp_path / "speed.json"
    answer = run("-m", "still", *media, "--repeats", "2", "--threads", "1", "--out", str(out))
    assert answer.returncode == 0, answer.stderr
    assert "still: unpaired: no --run was given" in answer.stdout
    record = read_record(out, SpeedFile)
    (row,) = record.rows
    assert record.scenario == "single-stream" and record.machine["omp_num_threads"] == "1"
    assert row.clips[0].frames == 11 and len(row.clips[0].seconds) == 2  # the sound is padded to whole frames
    assert row.nfe == 30 and row.stages == {"decode": 0.5}
    assert row.peak_memory_bytes is not None and row.peak_memory_bytes > 0
    assert row.details["pid"] != os.getpid()
    with pytest.raises(UsageError, match="still"):
        rows_for_figure([out])


@pytest.mark.slow
def test_clips_of_a_folder_are_taken_as_they_were_prepared(tmp_path):
    (tmp_path / "videos").mkdir()
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (75, 6, 6, 3), dtype=np.uint8).repeat(12, axis=1).repeat(12, axis=2)
    write_mp4(tmp_path / "videos" / "a.mp4", frames, rng.integers(-3000, 3000, 48_000).astype(np.int16))
    protocol, boxes, home = f"folder:{tmp_path / 'videos'}", ("--boxes", "none", "--size", "48"), str(tmp_path / "home")
    prepared = run(protocol, *boxes, command="protocol prepare", FLOATBENCH_HOME=home)
    assert prepared.returncode == 0, prepared.stderr
    timing = ("-m", "still", "--protocol", protocol, "--repeats", "1", "--device", "cpu", "--json", "--quiet")
    answer = run(*timing, *boxes, FLOATBENCH_HOME=home)
    assert answer.returncode == 0, answer.stderr
    (row,) = json.loads(answer.stdout)["rows"]
    assert row["status"] == "ok" and row["clips"][0]["frames"] == 75
    other = run(*timing, "--boxes", "none", "--size", "40", FLOATBENCH_HOME=home)
    assert other.returncode == 4 and f"protocol prepare {protocol} --boxes none --size 40" in other.stderr


def test_one_method_that_dies_costs_one_row(media):
    answer = run("-m", "dies,still", *media, "--repeats", "1", "--json", "--quiet")
    assert answer.returncode == 1 and answer.stderr == ""
    dies, still = json.loads(answer.stdout)["rows"]
    assert dies["status"] == "failed" and "code 7" in dies["reason"]
    assert still["status"] == "ok"


def test_streaming_gives_the_first_frame_and_skips_what_does_not_stream(media):
    answer = run("-m", "stream,still", *media, "--repeats", "2", "--scenario", "streaming", "--json", "--quiet")
    stream, still = json.loads(answer.stdout)["rows"]
    assert answer.returncode == 0
    assert stream["first_frame_s"]["n"] == 2 and stream["clips"][0]["frames"] == 11
    assert still["status"] == "n/a" and "stream" in still["reason"]


def test_weights_that_the_method_calls_fabricated_keep_its_row_unpaired(media):
    answer = run("-m", "made-up", *media, "--repeats", "1", "--json", "--quiet")
    assert json.loads(answer.stdout)["rows"][0]["fabricated"] == ["float"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-m", "still,homeless"), 4, "floatbench weights fetch vgg19"),
        (("-m", "stil"), 2, "did you mean"),
        (("-m", "still", "--scenario", "online"), 2, "single-stream"),
        (("-m", "still"), 2, "--source"),
        (("-m", "still", "--source", "a.png", "--audio", "a.wav", "--boxes", "none"), 2, "add --protocol"),
        (("-m", "still", "--protocol", "hdtf", "--boxes", "eyes"), 2, "unknown box back end"),
        (("-m", "still", "--source", "nothing.png", "--audio", "nothing.wav"), 4, "nothing.png"),
        (("-m", "still", "--repeats", "0"), 2, "repeats"),
    ],
)
def test_wrong_calls_are_one_line_and_a_fix(arguments, code, words):
    answer = run(*arguments)
    assert answer.returncode == code and words in answer.stderr
    assert "Traceback" not in answer.stderr


def test_folder_that_is_no_run_is_found_before_anything_is_timed(media, tmp_path):
    answer = run("-m", "still", *media, "--run", str(tmp_path))
    assert answer.returncode == 4 and "run.json" in answer.stderr and "warm-up" not in answer.stderr
