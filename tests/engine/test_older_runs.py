"""Run folders of the version before are resumed, reported and merged, with the same numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import floatbench
from floatbench.data.catalogue import dataset_for
from floatbench.engine.merge import merge
from floatbench.engine.older_runs import as_begun
from floatbench.engine.records import RunInfo, ScoreFile
from floatbench.engine.runner import RunOptions
from floatbench.errors import UsageError
from floatbench.methods.float_method import FloatMethod
from floatbench.metrics import sets
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Protocol
from floatbench.records import read_record, write_record
from floatbench.reports.explain import OTHER_MACHINE, differences
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.render import render

OLD = Path(__file__).with_name("run_of_0_1")
ENCODED = 2e-2
"""Of clips that were encoded on another machine: last digits of their pixels may change what x264 decides. One level on
1,000 of 4.9 million values moves `lse-tiny-d` of these two clips by 0.4 and 1 %."""
CLIPS = {"a": ["syn-90000-0", "syn-90001-0"], "b": ["syn-90002-0"]}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in CLIPS:
        shutil.copytree(OLD / name, tmp_path / name)
    return tmp_path


def numbers(scores: ScoreFile) -> dict[tuple[str, str], float | None]:
    return {(cell.method, cell.metric): cell.value for cell in scores.scores}


@pytest.mark.parametrize("name", ["a", pytest.param("b", marks=pytest.mark.slow)])
def test_the_same_command_measures_again_what_nobody_knows_the_code_of_and_gives_the_same_scores(runs: Path, name: str):
    """The first version did not keep which code, libraries and files its features came from."""
    before = numbers(read_record(runs / name / "scores.json", ScoreFile))
    result = floatbench.run(
        "synthetic", ["float-tiny"], clips=CLIPS[name], metrics=["csim-tiny", "lse-tiny-d"], out=runs / name, workers=0
    )
    new = {key: value for key, value in numbers(result.run.scores).items() if key not in before}
    assert {method for method, _ in new} == {"frozen-reencoded"}
    assert result.run.new_rows == len(CLIPS[name]) * len(result.run.scores.methods)
    # one machine gives the same digits; another one's kernels may differ in the last ones
    controls = {key: value for key, value in (before | new).items() if key[0] != "float-tiny"}
    found = numbers(result.run.scores)
    encoded = {key for key in controls if key[0].endswith("reencoded")}
    plain = {key: value for key, value in controls.items() if key not in encoded}
    assert {key: found[key] for key in plain} == pytest.approx(plain, rel=OTHER_MACHINE)
    assert {key: found[key] for key in encoded} == pytest.approx({key: controls[key] for key in encoded}, rel=ENCODED)
    # float-tiny has another file since, anchored and sharp: it is made anew and nearer to the truth
    assert found["float-tiny", "lse-tiny-d"] < before["float-tiny", "lse-tiny-d"]
    again = floatbench.run(
        "synthetic", ["float-tiny"], clips=CLIPS[name], metrics=["csim-tiny", "lse-tiny-d"], out=runs / name, workers=0
    )
    assert again.run.new_rows == 0


def test_videos_of_an_older_run_are_measured_again_and_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    command = {"clips": ["syn-90000-0"], "metrics": ["csim-tiny"], "controls": False, "workers": 0, "out": tmp_path}
    first = floatbench.run("synthetic", ["float-tiny"], **command)
    rows = tmp_path / "rows.jsonl"
    record = json.loads(rows.read_text())
    for name in ("inputs", "made_by", "source_pixels_sha256"):
        del record[name]
    record["fingerprints"] = {"tiny-identity": "of the first version"}
    rows.write_text(json.dumps(record) + "\n")
    monkeypatch.setattr(FloatMethod, "generate", lambda self, request: pytest.fail("generated again"))
    second = floatbench.run("synthetic", ["float-tiny"], **command)
    assert second.run.new_rows == 1 and numbers(second.run.scores) == numbers(first.run.scores)


def test_an_older_run_is_read_by_reports_and_its_controls_are_known(runs: Path):
    run = load_run(runs / "a")
    assert run.systems == ["float-tiny"] and "frozen" in run.scores.control_methods()
    assert "float-tiny" in render(build_table(1, [run]), "md")


def test_an_older_run_is_not_merged_with_a_new_one_and_explain_says_why(runs: Path):
    floatbench.run(
        "synthetic", ["float-tiny"], clips=CLIPS["b"], metrics=["csim-tiny", "lse-tiny-d"], out=runs / "b", workers=0
    )
    with pytest.raises(UsageError, match="other weights, settings, code, libraries or device"):
        merge([runs / "a", runs / "b"], runs / "both")
    found = differences(load_run(runs / "a"), load_run(runs / "b"))
    named = {d.what: (d.a, d.b) for d in found if d.factor == "code"}
    assert named["code of tiny-identity"] == ("not recorded", "recorded")


def test_older_runs_merge(runs: Path):
    merged = merge([runs / "a", runs / "b"], runs / "both")
    assert merged.scores.n_available == 3 and merged.complete
    parts = [read_record(runs / name / "scores.json", ScoreFile) for name in CLIPS]
    for cell in merged.scores.scores:
        if cell.metric == "csim-tiny":  # a mean over clips, so that it follows from the parts
            first, second = (numbers(part)[cell.method, cell.metric] for part in parts)
            assert cell.value == pytest.approx((2 * first + second) / 3, rel=1e-12)


EARLIER_RAVDESS_13 = "d06aa8aa846ac205fe6d17089616d535c42fb8df71d804cc047680a3e9d8b4d1"
"""Of the protocol before it asked for emotions."""


def test_a_run_of_ravdess_13_from_before_it_asked_for_emotions_goes_on_without_them(tmp_path: Path):
    protocol = load_protocol("ravdess-13")
    dataset = dataset_for(protocol)
    assert as_begun(protocol, dataset, lambda _: tmp_path)[0] is protocol
    options = RunOptions()
    folders = {protocol.hash: options.folder_of(protocol)}

    def folder(earlier: Protocol) -> Path:
        folders[earlier.hash] = options.folder_of(earlier)
        return tmp_path

    begun = RunInfo(protocol=protocol, protocol_hash=EARLIER_RAVDESS_13, seed=0, replicates=1, subset=None)
    write_record(tmp_path / "run.json", begun)
    found, _ = as_begun(protocol, dataset, folder)
    assert found.hash == EARLIER_RAVDESS_13 and found.metrics == sets.members("paper")
    assert folders[found.hash].name == "ravdess-13-v1-d06aa8aa"  # where the earlier version put it
