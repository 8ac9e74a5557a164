"""Values complete in the shell, as Typer's own machinery is asked for them, and fast: torch is not imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from floatbench import weights
from floatbench.baselines import manifest
from floatbench.cli import complete
from floatbench.engine.needs import COMMANDS
from floatbench.methods.catalogue import factories
from floatbench.methods.controls import CONTROLS
from floatbench.metrics.registry import metric_ids
from floatbench.protocol.load import built_in, load_protocol

ROOT = Path(__file__).resolve().parents[2]


def offered(line: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What bash is told where the cursor stands at the end of the line, in a process as the shell starts it."""
    words = line.split(" ")
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "_FLOATBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    command = [sys.executable, *options, "-m", "floatbench"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("floatbench run --protocol hd", ["hdtf", "hdtf-long", "hdtf-train"]),
        ("floatbench run -p rav", ["ravdess", "ravdess-13"]),
        ("floatbench run --methods float-tiny,fro", ["float-tiny,frozen"]),
        ("floatbench speed -m ha", ["hallo"]),
        ("floatbench score --metrics fid,csim-s", ["fid,csim-source"]),
        ("floatbench run -p synthetic --clips syn-90000", ["syn-90000-0"]),
        ("floatbench weights fetch incep", ["inception-fid"]),
        ("floatbench weights import media", ["mediapipe-face-landmarker"]),
        ("floatbench weights fetch --for hd", ["hdtf"]),
        ("floatbench weights list --used-by fi", ["fid"]),
        ("floatbench metrics show lse-", ["lse-direct-c"]),
        ("floatbench protocol show syn", ["synthetic"]),
        ("floatbench baseline install sad", ["sadtalker"]),
    ],
)
def test_the_shell_is_offered_the_names(line: str, some: list[str]) -> None:
    done = offered(line)
    lines = done.stdout.split()
    assert set(some) <= set(lines), done.stderr
    assert all(name.startswith(line.split(" ")[-1]) for name in lines)


def test_what_only_the_metrics_and_methods_know_is_as_it_is_written_down() -> None:
    assert list(complete.METRICS) == metric_ids()
    assert complete.CONTROLS == CONTROLS
    assert [*complete.MODELS, *manifest.names(), complete.SAMPLE] == list(factories())
    assert complete._protocols(None) == sorted(built_in())
    assert complete._weights(None) == weights.names()
    assert set(COMMANDS) <= set(complete._purposes(None))


def test_nothing_heavy_is_imported_for_it() -> None:
    for line in ("run --methods fl", "run -p hd", "run --metrics f", "weights fetch ", "run -p hdtf --clips x"):
        log = offered(f"floatbench {line}", "-X", "importtime").stderr
        loaded = {row.rpartition("|")[2].strip() for row in log.splitlines()}
        assert "floatbench.cli.complete" in loaded
        assert not loaded & {"torch", "transformers", "mediapipe", "pandas", "scipy", "onnxruntime"}


@pytest.mark.parametrize("line", ["weights fetch nosuch", "run -p nosuch -m frozen", "leaderboard validate"])
def test_a_call_that_computes_nothing_waits_for_no_large_library(line: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "floatbench", *line.split()]
    log = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    loaded = {row.rpartition("|")[2].strip() for row in log.splitlines()}
    assert "floatbench.cli.app" in loaded
    assert not loaded & {"torch", "transformers", "mediapipe", "scipy.stats", "scipy.signal", "onnxruntime"}


def test_clips_are_those_of_the_protocol_on_the_line_and_none_of_an_unknown_one() -> None:
    ids = [clip.id for clip in load_protocol("hdtf").clips]
    assert offered("floatbench run -p hdtf --clips ").stdout.split() == ids
    assert offered("floatbench run -p nosuch --clips ").stdout.split() == []
