"""`floatbench compare` decides by the paired test, in four formats, over one run or several, and answers bad input."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from report_toys import toy_protocol, write_run

from floatbench.cli.app import main
from floatbench.engine import judges
from floatbench.engine.features import FeatureStore
from floatbench.engine.merge import plan_of
from floatbench.engine.runner import write_parquet
from floatbench.errors import UsageError
from floatbench.reports.comparison import compare_runs, judge
from floatbench.reports.comparison_text import STYLES, render_comparisons
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.page.document import PageRuns, document
from floatbench.reports.render import render
from floatbench.reports.table import markdown

NOISE = np.random.default_rng(0).standard_normal(12)
WIDE = toy_protocol(n=12)


def floatbench(capfd, *words):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    out, err = capfd.readouterr()
    return int(str(stopped.value.code)), out, err


@pytest.fixture
def run(tmp_path):
    methods = {"a": 3 + NOISE, "b": 3.3 + NOISE, "c": 3.3 - NOISE, "reference": 0.0}
    return write_run(tmp_path / "run", methods, protocol=WIDE)


def words(found):
    return {(v.metric, v.a, v.b): v.word for v in found.verdicts}


def test_each_pair_and_metric_is_decided_in_the_metrics_own_direction(run):
    found = words(compare_runs([load_run(run)]))
    assert len(found) == 6
    assert found["toy-fid", "a", "b"] == "better" and found["toy-csim", "a", "b"] == "worse"
    assert found["toy-fid", "a", "c"] == found["toy-csim", "b", "c"] == "not decided"


def test_p_is_adjusted_for_all_comparisons_of_the_call(run):
    all_of_them = compare_runs([load_run(run)])
    one = compare_runs([load_run(run)], ["a", "c"], ["toy-fid"])
    assert (all_of_them.count, one.count) == (6, 1)
    assert one.verdicts[0].adjusted == one.verdicts[0].p
    undecided = next(v for v in all_of_them.verdicts if (v.metric, v.a, v.b) == ("toy-fid", "a", "c"))
    assert undecided.p == one.verdicts[0].p and undecided.adjusted >= undecided.p


def test_one_name_is_compared_with_all_others_and_controls_can_be_named(run):
    loaded = load_run(run)
    assert {(v.a, v.b) for v in compare_runs([loaded], ["b"]).verdicts} == {("b", "a"), ("b", "c")}
    assert {v.word for v in compare_runs([loaded], ["a", "reference"], ["toy-fid"]).verdicts} == {"worse"}


def test_systems_of_different_runs_are_compared_as_those_of_one(tmp_path, run):
    one = write_run(tmp_path / "one", {"a": 3 + NOISE}, protocol=WIDE)
    two = write_run(tmp_path / "two", {"b": 3.3 + NOISE}, protocol=WIDE)
    apart = compare_runs([load_run(one), load_run(two)]).verdicts[0]
    together = compare_runs([load_run(run)], ["a", "b"]).verdicts[0]
    assert (apart.difference, apart.p, apart.word) == (together.difference, together.p, together.word)
    again = write_run(tmp_path / "again", {"a": 4 + NOISE}, protocol=WIDE)
    found = compare_runs([load_run(one), load_run(again)], (), ["toy-fid"]).verdicts
    assert [(v.a, v.b, v.word) for v in found] == [("one/a", "again/a", "better")]


def test_a_run_that_kept_no_parts_of_its_scores_is_compared_from_its_features(run):
    new = compare_runs([load_run(run)], ["a", "b"])
    path = run / "scores.json"
    record = json.loads(path.read_text())
    for cell in record["scores"]:
        del cell["folds"], cell["common_folds"]
    path.write_text(json.dumps(record))
    assert compare_runs([load_run(run)], ["a", "b"]) == new


def test_a_failed_clip_leaves_the_others_and_says_how_many(tmp_path):
    protocol = toy_protocol(n=12, coverage_floor=0.5)
    folder = write_run(tmp_path / "r", {"a": 3.0, "b": 4.0}, protocol=protocol, failed={"a": ("clip 3",)})
    verdict = compare_runs([load_run(folder)], (), ["toy-fid"]).verdicts[0]
    assert (verdict.clips, verdict.people, verdict.word) == (11, 11, "better")


def test_another_real_video_is_another_clip(tmp_path):
    one = write_run(tmp_path / "one", {"a": 3 + NOISE}, protocol=WIDE)
    two = write_run(tmp_path / "two", {"b": 3.3 + NOISE}, protocol=WIDE, reference=1.0)
    verdict = compare_runs([load_run(one), load_run(two)], (), ["toy-fid"]).verdicts[0]
    assert verdict.p is None and verdict.why == "a and b have no clip in common"


def test_runs_without_a_common_clip_get_a_reason(tmp_path):
    halves = [tuple(f"clip {k}" for k in range(first, 12, 2)) for first in (0, 1)]
    protocol = toy_protocol(n=12, coverage_floor=0.1)
    folder = write_run(tmp_path / "r", {"a": 3.0, "b": 4.0}, protocol=protocol, failed={"a": halves[0], "b": halves[1]})
    verdict = compare_runs([load_run(folder)], (), ["toy-fid"]).verdicts[0]
    assert verdict.p is None and verdict.word == "not decided" and verdict.why == "no clip was measured for both"


def test_a_metric_that_one_run_lacks_a_void_score_and_other_weights_are_reasons(tmp_path):
    one = load_run(write_run(tmp_path / "one", {"a": 3.0}, protocol=WIDE))
    two = load_run(write_run(tmp_path / "two", {"b": 3.0}, protocol=WIDE, metrics=("toy-fid",)))
    assert [v.why for v in compare_runs([one, two]).verdicts] == ["", "b was not scored with toy-csim"]
    void = load_run(
        write_run(tmp_path / "v", {"v": 3.0}, protocol=WIDE, failed={"v": tuple(f"clip {k}" for k in range(6))})
    )
    assert "void, 6 of 12 clips" in compare_runs([one, void]).verdicts[0].why
    two.scores.metrics["toy-fid"].weights["toy.pth"] = "b" * 64
    assert "other weights" in compare_runs([one, two]).verdicts[0].why


def test_other_protocols_unknown_names_and_one_system_are_usage_errors(tmp_path, run):
    other = write_run(tmp_path / "other", {"x": 1.0}, protocol=toy_protocol(n=12, seed=7))
    with pytest.raises(UsageError, match=r"run and .*other cannot be compared: protocol"):
        compare_runs([load_run(run), load_run(other)])
    with pytest.raises(UsageError, match="nobody is neither a run folder nor a system"):
        compare_runs([load_run(run)], ["a", "nobody"])
    with pytest.raises(UsageError, match="a comparison needs two systems, there is x"):
        compare_runs([load_run(other)])
    with pytest.raises(UsageError, match="no run was scored with fvd"):
        compare_runs([load_run(run)], (), ["fvd"])


def test_a_thousand_comparisons_are_answered(tmp_path):
    methods = {f"m{k:02}": 1.0 + 0.2 * np.random.default_rng(k).standard_normal(12) for k in range(33)}
    folder = write_run(tmp_path / "r", methods, protocol=WIDE)
    found = judge([load_run(folder)])
    assert found.count == len(found.verdicts) == 33 * 32
    assert not any(v.word != "not decided" for v in found.verdicts)  # noise, 1,056 times


def test_table_page_and_command_say_the_same(run):
    loaded = load_run(run)
    places = judge([loaded]).places("toy-fid", ["a", "b", "c"])
    lines = {line.name: line.cells[0][0] for line in build_table(1, [loaded]).ours.lines}
    write_parquet(run, plan_of(loaded.info), loaded.rows, FeatureStore(run, None))
    page = document(PageRuns([loaded]), None)
    names = [method["name"] for method in page["methods"]]
    column = [metric["id"] for metric in page["metrics"]].index("toy-fid")
    for name, place in places.items():
        shown = page["places"][names.index(name)][column]
        assert (lines[name].place, lines[name].tied, lines[name].mark) == (place.rank, place.tied, place.mark)
        assert (shown["rank"], shown["tied"], shown["mark"]) == (place.rank, place.tied, place.mark)
    assert page["places"][names.index("reference")][column] is None
    assert [places[name].rank for name in "abc"] == [1, 2, 1]


def test_every_format_says_who_is_better(capfd, run):
    code, out, err = floatbench(capfd, "compare", run, "a", "b", "--metrics", "toy-fid")
    assert code == 0, err
    assert re.search(r"toy-fid +a +b +3\S* +3\S* +-0\.3 \[-0\.3, -0\.3\] +(0\.000\d+|<1e-4) +better +12 +12", out)
    assert "adjusted for 1 comparison (Holm)" in out
    assert "| toy-fid | a | b |" in floatbench(capfd, "compare", run, "a", "b", "--format", "md")[1]
    latex = floatbench(capfd, "compare", run, "a", "b", "--format", "latex")[1]
    assert "\\toprule" in latex and "toy-fid & a & b &" in latex
    document = json.loads(floatbench(capfd, "compare", run, "a", "b", "--json")[1])
    assert [v["word"] for v in document["verdicts"]] == ["better", "worse"] and document["comparisons"] == 2
    assert json.loads(floatbench(capfd, "compare", run, "--format", "json")[1])["comparisons"] == 6


def test_the_command_takes_runs_then_systems_and_writes_a_file(capfd, tmp_path, run):
    other = write_run(tmp_path / "other", {"d": 9.0}, protocol=WIDE)
    target = tmp_path / "out.md"
    code, _, err = floatbench(capfd, "compare", run, other, "a", "d", "--format", "md", "--out", target)
    assert code == 0, err
    assert "| toy-fid | a | d |" in target.read_text()
    code, _, err = floatbench(capfd, "compare", run, "a", "zzz")
    assert code == 2 and "zzz is neither a run folder nor a system" in err
    code, _, err = floatbench(capfd, "compare", tmp_path / "nothing")
    assert code == 4
    code, _, err = floatbench(capfd, "compare", run, "--format", "pdf")
    assert code == 2 and all(name in err for name in STYLES)


def test_names_cannot_break_out_of_a_format(tmp_path):
    folder = write_run(tmp_path / "r", {"<script>|_&%$": 3.0, "b": 4.0}, protocol=WIDE)
    found = compare_runs([load_run(folder)])
    assert "<script>" not in render_comparisons(found, "md")
    assert r"\_\&\%\$" in render_comparisons(found, "latex")


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """Two runs: the network behind both toy metrics taught `a` of the first, and not `b` of the second."""
    monkeypatch.setitem(judges.JUDGES, "syncnet", ("toy", "a SyncNet"))
    first = write_run(tmp_path / "one", {"a": 3 + NOISE}, protocol=WIDE, described={"trained_with": ["syncnet"]})
    runs = [load_run(first), load_run(write_run(tmp_path / "two", {"b": 4 + NOISE}, protocol=WIDE))]
    for run in runs:
        write_parquet(run.folder, plan_of(run.info), run.rows, FeatureStore(run.folder, None))
    return runs


def test_every_table_marks_the_cells_of_a_judge_that_taught_the_system(taught):
    marks = {(cell.method, cell.metric): cell.marks for run in taught for cell in run.scores.scores}
    assert marks["a", "toy-fid"] == ["self-judged: trained against a SyncNet"] and marks["b", "toy-fid"] == []
    printed = [markdown(run.scores) for run in taught]
    assert printed[0].count("(self-judged)") == 2 and "self-judged" not in printed[1]
    assert "- toy-fid: self-judged: trained against a SyncNet: all methods." in printed[0]
    for style in ("md", "latex", "csv", "html"):
        assert render(build_table(None, taught), style).count("self-judged") >= 2, style
    assert "a: toy-fid is self-judged: trained against a SyncNet." in build_table(None, taught).notes
    page = document(PageRuns(taught), None)
    row = [method["name"] for method in page["methods"]].index("a")
    assert page["cells"][row][0]["marks"] == marks["a", "toy-fid"] and "marks" not in page["cells"][1 - row][0]


def test_compare_says_who_was_judged_by_its_own_teacher_in_all_formats(taught):
    found = compare_runs(taught)
    assert {verdict.self_judged for verdict in found.verdicts} == {("a",)}
    for style in STYLES:
        text = render_comparisons(found, style)
        assert "Self-judged: a was trained against the network behind toy-fid, toy-csim" in text, style
    assert render_comparisons(found, "md").count(" (self-judged) |") == 2


def test_where_nobody_was_taught_nothing_is_said_of_it(run):
    assert "elf-judged" not in render_comparisons(compare_runs([load_run(run)]), "text")
