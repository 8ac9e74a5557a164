"""A table as somebody's own paper needs it: chosen rows, other names, intervals as wished, nothing left unsaid."""

from __future__ import annotations

import csv
import json
import re

import pytest
from report_toys import toy_protocol, write_run
from test_commands import floatbench
from test_tables import check_latex

from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.table_parts import TableChoices

THREE = {"one": 3.0, "two": 2.0, "three": 1.0, "frozen": 9.0}


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", THREE, protocol=toy_protocol(n=12))


def test_chosen_methods_stand_alone_under_the_names_they_are_given(capfd, run):
    only = ("--only", "one,two", "--name", "one=Ours & more", "--no-published")
    code, out, err = floatbench(capfd, "report", run, "--table", 1, *only)
    assert code == 0, err
    assert (
        "| Ours &amp; more |" in out
        and "| two |" in out
        and "Ours & more is one in the records" in re.sub("&amp;", "&", out)
    )
    assert "three" not in out and "frozen" not in out and "as published" not in out


def test_places_are_those_among_the_methods_that_are_shown(run):
    table = build_table(1, [load_run(run)], choices=TableChoices(only=("one", "two"), names={"two": "Ours"}))
    found = {line.name: line.cells[0][0] for line in table.ours.lines}
    assert (found["Ours"].place, found["Ours"].mark, found["one"].place) == (1, "best", 2)
    assert any("adjusted for 2 comparisons" in note for note in table.notes)


def test_controls_are_left_out_or_chosen_by_name(capfd, run):
    assert "frozen" not in floatbench(capfd, "report", run, "--table", 1, "--no-controls")[1]
    out = floatbench(capfd, "report", run, "--table", 1, "--only", "one", "--only", "frozen")[1]
    assert "controls, not ranked" in out and "| frozen |" in out and "| two |" not in out


@pytest.mark.parametrize(("intervals", "cell"), [("full", "3 [2.5, 3.5] (12 of 12)"), ("pm", "3 ± 0.5"), ("none", "3")])
def test_intervals_are_written_as_wished(capfd, run, intervals, cell):
    out = floatbench(capfd, "report", run, "--table", 1, "--only", "one", "--intervals", intervals)[1]
    assert f"| one | {cell} |" in out
    assert ("half the width" in out) == (intervals == "pm")
    assert ("95 %" in out.partition("as published")[2]) == (intervals != "none")


def test_missing_clips_are_said_with_any_intervals(tmp_path, capfd):
    folder = write_run(tmp_path / "a", {"one": 3.0}, protocol=toy_protocol(n=20), failed={"one": ("clip 1",)})
    out = floatbench(capfd, "report", folder, "--table", 1, "--intervals", "none")[1]
    assert "| one | 3 (19 of 20) |" in out


def test_a_row_can_be_put_into_a_table_of_ones_own(capfd, run):
    given = ("--row", "--only", "one", "--name", "one=Ours", "--intervals", "pm", "--format", "latex")
    code, out, err = floatbench(capfd, "report", run, *given)
    assert code == 0, err
    head, row = out.splitlines()
    assert head.startswith("% method & FID") and row.startswith(r"Ours & 3 $\pm$ 0.5 & ") and row.endswith(r" \\")
    assert row.count("&") == head.count("&") == 7
    assert "12 of 12 clips" in err  # what must be known of the numbers is not dropped
    assert "| Ours | 3 " in floatbench(capfd, "report", run, "--row", "--name", "one=Ours")[1]
    rows = floatbench(capfd, "report", run, "--row", "--format", "html")[1].splitlines()
    assert len(rows) == 3 and all(row.startswith("<tr>") for row in rows)
    found = csv.DictReader(floatbench(capfd, "report", run, "--row", "--format", "csv")[1].splitlines())
    assert {line["origin"] for line in found} == {"measured"}


@pytest.mark.parametrize("style", ["latex", "html"])
def test_latex_and_html_need_no_table_of_the_paper(capfd, tmp_path, style):
    metrics = ("toy-fid", "toy-fid-double", "toy-csim")
    folder = write_run(tmp_path / "a", THREE, metrics=metrics)
    code, out, err = floatbench(capfd, "report", folder, "--format", style)
    assert code == 0, err
    assert "toy-fid-double" in out and "as published" not in out
    if style == "latex":
        check_latex(out)


def test_a_latex_table_has_the_label_it_is_referred_to_by(capfd, run):
    out = floatbench(capfd, "report", run, "--format", "latex", "--label", "tab:main")[1]
    assert r"\caption{Scores}\label{tab:main}" in out


def test_a_metric_that_a_table_cannot_show_is_said(capfd, tmp_path):
    folder = write_run(tmp_path / "a", {"one": 3.0}, metrics=("toy-fid", "toy-csim"))
    for style in ("md", "html", "latex"):
        out = floatbench(capfd, "report", folder, "--table", 3, "--format", style)[1]
        assert "without a column in this table: CSIM (toy-csim)" in out
    assert "without a column" not in floatbench(capfd, "report", folder, "--table", 1)[1]
    assert "CSIM (toy-csim)" in floatbench(capfd, "report", folder, "--table", 3, "--metrics", "toy-csim")[1]


@pytest.mark.parametrize("table", [1, 2, 3])
def test_a_table_without_a_run_is_the_papers(capfd, table):
    code, out, err = floatbench(capfd, "report", "--table", table)
    assert code == 0, err
    assert re.search(r"FLOAT[^|]*\| \D*21\.1", out) and "measured**" not in out
    assert json.loads(floatbench(capfd, "report", "--table", table, "--json")[1])["ours"]["lines"] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "no run was given"),
        (("--row",), "no run was given"),
        (("--table", "1", "--no-published"), "nothing to show without a run"),
        (("RUN", "--only", "five"), "no run has the method five"),
        (("RUN", "--name", "five=Ours"), "no run has the method five"),
        (("RUN", "--name", "Ours"), "is not METHOD=NAME"),
        (("RUN", "--name", "one=two"), "two rows would be called two"),
        (("RUN", "--intervals", "wide"), "unknown intervals"),
        (("RUN", "--metrics", "psnr"), "no run was scored with psnr"),
        (("RUN", "--label", "tab:main"), "--label is that of a LaTeX table"),
        (("RUN", "--format", "latex", "--label", "a}b"), "is no label of LaTeX"),
    ],
)
def test_what_cannot_be_understood_is_one_line(capfd, run, given, said):
    code, out, err = floatbench(capfd, "report", *[run if word == "RUN" else word for word in given])
    assert (code, out) == (2, "") and said in err and len(err.splitlines()) == 2


def test_notes_speak_of_the_rows_that_are_shown(capfd, run):
    """A control without an interval is named under the table that has it, and only there."""
    scores = run / "scores.json"
    record = json.loads(scores.read_text())
    for cell in record["scores"]:
        if cell["method"] == "frozen":
            cell |= {"interval": None, "no_interval": "its 12 clips are alike"}
    scores.write_text(json.dumps(record))
    told = "No interval of frozen: its 12 clips are alike"
    assert told in floatbench(capfd, "report", run, "--table", 1)[1]
    alone = floatbench(capfd, "report", run, "--row", "--only", "one", "--format", "latex")
    assert "No interval" not in alone[1] + alone[2] and "256 x 256" not in alone[1] + alone[2]
    code, out, err = floatbench(capfd, "report", run, "--table", 1, "--only", "frozen", "--no-published")
    assert code == 0, err
    assert "No interval: its 12 clips are alike" in out


def test_a_table_of_all_scores_says_nothing_of_published_rows_that_it_does_not_have(run):
    assert not any("published" in note for note in build_table(None, [load_run(run)]).notes)
    assert any("published" in note for note in build_table(1, [load_run(run)]).notes)


def test_a_row_has_the_metrics_that_were_named(capfd, run):
    code, out, err = floatbench(capfd, "report", run, "--row", "--metrics", "toy-csim", "--format", "html")
    assert code == 0, err
    assert [line.count("<td>") for line in out.splitlines() if line.startswith("<tr>")] == [1, 1, 1]
