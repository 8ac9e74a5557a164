"""THEval's board is what its repository publishes: its final score is the mean of its eight."""

from __future__ import annotations

import csv

import pytest

from floatbench.metrics import sets
from floatbench.paths import shipped

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
