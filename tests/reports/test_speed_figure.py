"""Figures show paired speeds only, with the paper's bars as published beside them."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from floatbench.errors import UsageError
from floatbench.records import write_record
from floatbench.reports.speed_figure import bars, write_fps, write_speed_quality
from floatbench.speed.record import ClipTiming, Quality, Scenario, SpeedFile, SpeedRow, spread

HOSTILE = "a<b>&$x$"


def quality(protocol: str = "p" * 64, **scores: float) -> Quality:
    return Quality(
        run="run", run_sha256="0", label="hdtf@1", protocol_hash=protocol, ranked=True, scores=scores or {"fid": 20.0},
        n=dict.fromkeys(scores or {"fid": 20.0}, 4),
    )  # fmt: skip


def speed_file(path: Path, *rows: SpeedRow, scenario: Scenario = "single-stream") -> Path:
    record = SpeedFile(
        created="2026-11-21", scenario=scenario, inputs="toys", clips=1, warmup=1, repeats=3, seed=0, threads=1,
        machine={}, environment={"device": "NVIDIA Test"}, rows=list(rows),
    )  # fmt: skip
    write_record(path, record)
    return path


def row(method: str, fps: float, paired: Quality | None, why: str = "") -> SpeedRow:
    return SpeedRow(
        method=method, status="ok", fps=spread([fps * 0.9, fps, fps * 1.2]), nfe=18, nfe_per_window=9, quality=paired,
        unpaired_because=why, width=512, height=512,
    )  # fmt: skip


def test_the_fps_figure_shows_ours_and_theirs_with_device_and_steps(tmp_path):
    file = speed_file(tmp_path / "s.json", row("float", 120.0, quality()), row(HOSTILE, 10.0, quality()))
    svg, png, table = write_fps([file], tmp_path / "fps.svg")
    text = "".join(re.findall(r">([^<>]+)</(?:text|tspan)", svg.read_text()))
    for shown in (
        "float",
        "NVIDIA Test",
        "Hallo",
        "V100",
        "real time, 25 FPS",
        "9 steps",
        "512 px",
        "a&lt;b&gt;&amp;$x$",
    ):
        assert shown.replace(" ", "") in text.replace(" ", "").replace("\n", "")
    assert png.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [r["origin"] for r in rows] == ["published"] * 4 + ["measured"] * 2
    found = {r["system"]: r for r in rows}
    assert (found["FLOAT"]["fps"], found["FLOAT"]["realtime"], found["Hallo"]["realtime"]) == ("41.37", "True", "False")
    assert (found["float"]["low"], found["float"]["high"], found["float"]["realtime"]) == ("108.0", "144.0", "True")


def test_the_same_records_give_the_same_bytes(tmp_path):
    file = speed_file(tmp_path / "s.json", row("float", 120.0, quality()))
    first, second = (write_fps([file], tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_speed_without_its_quality_is_refused(tmp_path):
    file = speed_file(tmp_path / "s.json", row("float", 1.0, quality()), row("fast", 99.0, None, "no --run was given"))
    with pytest.raises(UsageError, match=r"fast \(no --run was given\)"):
        write_fps([file], tmp_path / "fps")
    assert not list(tmp_path.glob("fps*"))


def test_scenarios_and_protocols_are_not_mixed(tmp_path):
    one = speed_file(tmp_path / "1.json", row("a", 1.0, quality()))
    two = speed_file(tmp_path / "2.json", row("b", 1.0, quality()), scenario="offline")
    with pytest.raises(UsageError, match="offline and single-stream"):
        write_fps([one, two], tmp_path / "fps")
    three = speed_file(tmp_path / "3.json", row("b", 1.0, quality("q" * 64)))
    with pytest.raises(UsageError, match="cannot share an axis"):
        write_speed_quality([one, three], tmp_path / "plot")


def test_the_speed_quality_plot_needs_a_metric_that_every_row_has(tmp_path):
    file = speed_file(tmp_path / "s.json", row("a", 9.0, quality(fid=1.0, csim=0.5)), row("b", 99.0, quality(fid=2.0)))
    paths = write_speed_quality([file], tmp_path / "plot")
    assert [path.name for path in paths] == ["plot.svg", "plot.png", "plot.csv"]
    with pytest.raises(UsageError, match="'csim'"):
        write_speed_quality([file], tmp_path / "plot", "csim")


def test_the_forward_pass_stands_beside_the_end_to_end_bar_of_its_system(tmp_path):
    whole = speed_file(tmp_path / "1.json", row("float", 20.0, quality()), row("b", 5.0, quality()))
    forward = speed_file(tmp_path / "2.json", row("float", 25.0, quality()), scenario="forward")
    shown = bars([whole, forward])
    assert [(bar.system, bar.scenario, bar.fps) for bar in shown if bar.origin == "measured"] == [
        ("float", "forward", 25.0), ("float", "single-stream", 20.0), ("b", "single-stream", 5.0),
    ]  # fmt: skip
    assert shown[-2].text == "float\nend to end\n512 px, NVIDIA Test"
    assert [bar.text for bar in shown][3] == "FLOAT\nforward pass, as published\n512 px, V100"
    svg, _, _ = write_fps([whole, forward], tmp_path / "fps")
    text = "".join(re.findall(r">([^<>]+)</(?:text|tspan)", svg.read_text())).replace(" ", "")
    assert "endtoend" in text and "forwardpass" in text
    with pytest.raises(UsageError, match="forward and single-stream"):
        write_speed_quality([whole, forward], tmp_path / "plot")


def test_steps_of_an_older_file_are_brought_to_a_window(tmp_path):
    """60 frames are two windows of 50: 20 evaluations of a clip are 10 a window, as the paper counts."""
    old = SpeedRow(
        method="float", status="ok", fps=spread([20.0]), nfe=20, quality=quality(),
        clips=[ClipTiming(clip="a", frames=60, seconds=[1.0])], configuration={"options": {"nfe": 10}},
        details={"nfe": 20, "native_size": 512},
    )  # fmt: skip
    shown = bars([speed_file(tmp_path / "old.json", old)], published=False)
    assert [(bar.nfe, bar.size) for bar in shown] == [(10.0, 512)]
