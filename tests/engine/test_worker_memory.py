"""How many workers run is decided by what one of them was seen to need, and said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import floatbench
from floatbench.engine import worker_memory
from floatbench.engine.worker_memory import default_workers, keep_peak, measured_peak, said
from floatbench.media import write_lossless
from floatbench.progress import NullProgress

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen cores, 24 GiB free."""
    monkeypatch.setattr(worker_memory, "cores", lambda: 16)
    monkeypatch.setattr(worker_memory, "free_memory", lambda: 24 * GIB)


def plan(protocol: str = "a" * 64, methods: tuple[str, ...] = ("float",), backbones: tuple[str, ...] = ("fid",)) -> Any:
    return SimpleNamespace(protocol=SimpleNamespace(hash=protocol), device="cpu", methods=methods, backbones=backbones)


def test_there_are_as_many_workers_as_cores_and_measured_memory_allow(machine):
    assert default_workers("cpu", 3 * GIB) == 8
    assert default_workers("cpu", GIB) == 16  # the cores are fewer
    assert default_workers("cpu", 100 * GIB) == 1
    assert default_workers("cpu") == 8  # nothing was measured: 2 GiB each, at most eight
    assert said(8, 3 * GIB).startswith("workers: 8 (16 cores, 24.0 GiB free, 3.0 GiB each, measured before")
    assert "2.0 GiB each, not measured yet" in said(8, None)


def test_the_largest_peak_of_the_same_work_is_kept_and_stands_in_for_other_work_on_the_same_clips():
    assert measured_peak(plan()) is None
    keep_peak(plan(), 3 * GIB)
    keep_peak(plan(), 2 * GIB)
    keep_peak(plan(), 0)  # a call whose workers told nothing
    assert measured_peak(plan()) == 3 * GIB
    keep_peak(plan(methods=("frozen",)), GIB)
    assert measured_peak(plan(methods=("frozen",))) == GIB
    assert measured_peak(plan(backbones=("other",))) == 3 * GIB
    assert measured_peak(plan(protocol="b" * 64)) is None


def test_a_damaged_list_of_peaks_costs_nothing_but_the_measurement():
    keep_peak(plan(), GIB)
    worker_memory._file().write_text("no record")
    assert measured_peak(plan()) is None
    keep_peak(plan(), GIB)
    assert measured_peak(plan()) == GIB


def test_a_run_measures_its_workers_and_the_next_call_says_so(tmp_path: Path):
    class Told(NullProgress):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, line: str) -> None:
            self.notes.append(line)

    for name in ("mine", "real"):
        (tmp_path / name).mkdir()
        write_lossless(tmp_path / name / "a.mkv", np.zeros((5, 64, 64, 3), np.uint8))
    said_by_calls = []
    for out in ("one", "two"):
        told = Told()
        folders = (tmp_path / "mine", tmp_path / "real")
        floatbench.score(*folders, metrics=["psnr-grey128"], controls=False, out=tmp_path / out, progress=told)
        said_by_calls.append(next(note for note in told.notes if note.startswith("workers: ")))
    assert "not measured yet" in said_by_calls[0]
    assert "measured before" in said_by_calls[1]
    (peak,) = worker_memory._known().peaks.values()
    assert 50 * 2**20 < peak < 8 * GIB
