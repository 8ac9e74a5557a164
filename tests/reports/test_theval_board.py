"""THEval's board is what its repository publishes: its final score is the mean of its eight."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from report_toys import METRICS, _variant, toy_protocol, write_run

from floatbench.errors import UsageError
from floatbench.metrics import registry, sets
from floatbench.paths import shipped
from floatbench.reports.layout import build_table
from floatbench.reports.loading import load_run
from floatbench.reports.render import render
from floatbench.reports.theval_total import NOTE, TITLE, theval_total

FOLDER = shipped("results") / "theval"


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_final_score_is_the_mean_of_the_eight_and_gives_the_rank():
    board, measures = rows("board.csv"), [row["measure"] for row in rows("truth.csv")]
    assert len(board) == 17 and len(measures) == 8
    for row in board:
        # each of the nine numbers is rounded to 1e-4
        assert float(row["final"]) == pytest.approx(sum(float(row[name]) for name in measures) / 8, abs=1.01e-4)
    finals = [float(row["final"]) for row in board]
    assert finals == sorted(finals, reverse=True) and [int(row["rank"]) for row in board] == list(range(1, 18))


def test_the_measures_are_called_as_ours_are():
    named = {row["measure"] for row in rows("truth.csv")}
    ours = {name.removesuffix("-mp") for name in sets.members("theval")}
    assert ours < named


def test_what_is_left_out_of_the_eight_says_why_when_it_is_asked_for():
    eight = {row["measure"] for row in rows("truth.csv")}
    assert eight - set(sets.members("theval")) == set(registry.LEFT_OUT)
    with pytest.raises(UsageError, match=r"theval-mouth-quality is left out \(MUSIQ: .* not be used commercially\)"):
        registry.metric("theval-mouth-quality")
    assert "left out: aesthetics, mouth and face quality" in NOTE


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Each measure is |distance| of a clip: the real videos have 2, `near` 1.5, `far` 5 with a spread over people."""
    names, known = sets.members("theval"), registry._catalogue("metrics")
    for name in names:
        factory = _variant(name, name, True, 1.0)
        monkeypatch.setitem(METRICS, name, factory)
        monkeypatch.setitem(known, name, factory)
    spread = np.linspace(-1, 1, 12)
    methods = {"near": 1.5, "far": 5 + spread, "reference": 2.0}
    return load_run(write_run(tmp_path / "run", methods, metrics=names, protocol=toy_protocol(n=12, metrics=names)))


def test_the_total_is_the_mean_closeness_to_the_real_videos(run):
    assert theval_total(run, "reference").value == 1
    assert theval_total(run, "near").value == pytest.approx(0.75)
    far = theval_total(run, "far")
    assert far.value == pytest.approx(1 - 3 / 2), "unbounded below"
    assert far.low < far.value < far.high
    # a mean of twelve people: half of the interval is near 1.96 standard errors, on the scale of the truth
    error = np.linspace(-1, 1, 12).std() / 12**0.5 / 2
    assert (far.high - far.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_the_total_stands_after_the_measures_and_says_what_it_is(run):
    table = build_table(None, [run])
    assert [column.title for column in table.ours.columns][-1] == TITLE == "THEval total (5 of 8)"
    text = render(table, "md")
    assert "| near |" in text and "its" not in TITLE and "the published board has eight measures" in text
    part = build_table(None, [run], ["theval-brows"])
    assert [column.title for column in part.ours.columns] == ["theval-brows"]


def test_a_measure_without_a_value_leaves_no_total(run):
    cells = [cell for cell in run.scores.scores if cell.metric != "theval-silent-lips"]
    run.scores.scores[:] = cells
    assert theval_total(run, "near").why == "no theval-silent-lips"
