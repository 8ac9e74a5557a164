"""Run folders of the version before are resumed, reported and merged, with the same numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import floatbench
from floatbench.engine.merge import merge
from floatbench.engine.records import ScoreFile
from floatbench.records import read_record
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.render import render

OLD = Path(__file__).with_name("run_of_0_1")
CLIPS = {"a": ["syn-90000-0", "syn-90001-0"], "b": ["syn-90002-0"]}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in CLIPS:
        shutil.copytree(OLD / name, tmp_path / name)
    return tmp_path


def numbers(scores: ScoreFile) -> dict[tuple[str, str], float | None]:
    return {(cell.method, cell.metric): cell.value for cell in scores.scores}


@pytest.mark.parametrize("name", CLIPS)
def test_the_same_command_makes_only_the_control_that_is_new_and_gives_the_same_scores_to_the_digit(
    runs: Path, name: str
):
    before = numbers(read_record(runs / name / "scores.json", ScoreFile))
    result = floatbench.run(
        "synthetic", ["float-tiny"], clips=CLIPS[name], metrics=["csim-tiny", "lse-tiny-d"], out=runs / name, workers=0
    )
    new = {key: value for key, value in numbers(result.run.scores).items() if key not in before}
    assert {method for method, _ in new} == {"frozen-reencoded"} and result.run.new_rows == len(CLIPS[name])
    assert numbers(result.run.scores) == before | new


def test_an_older_run_is_read_by_reports_and_its_controls_are_known(runs: Path):
    run = load_run(runs / "a")
    assert run.systems == ["float-tiny"] and "frozen" in run.scores.control_methods()
    assert "float-tiny" in render(build_table(1, [run]), "md")


def test_older_runs_merge(runs: Path):
    merged = merge([runs / "a", runs / "b"], runs / "both")
    assert merged.scores.n_available == 3 and merged.complete
    parts = [read_record(runs / name / "scores.json", ScoreFile) for name in CLIPS]
    for cell in merged.scores.scores:
        if cell.metric == "csim-tiny":  # a mean over clips, so that it follows from the parts
            first, second = (numbers(part)[cell.method, cell.metric] for part in parts)
            assert cell.value == pytest.approx((2 * first + second) / 3, rel=1e-12)
