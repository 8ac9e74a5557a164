"""The published numbers are those of the paper, and what is unknown stays unknown."""

from __future__ import annotations

import math

from floatbench.metrics import registry
from floatbench.paths import shipped
from floatbench.protocol.tables import read_table
from floatbench.reports.paper_rows import paper_block
from floatbench.reports.published import figure9, readings, table_cells
from floatbench.reports.table_parts import COLUMNS


def _value(table, row, dataset, column):
    (found,) = [c for c in table_cells(table) if (c.row, c.dataset, c.column) == (row, dataset, column)]
    return found.value


def test_every_table_is_complete():
    for number, rows, datasets in ((1, 6, 2), (2, 4, 2), (3, 4, 1)):
        assert len(table_cells(number)) == rows * datasets * len(COLUMNS[number])


def test_corners_are_what_the_paper_prints():
    assert _value(1, "float", "hdtf", "FID") == 21.100
    assert _value(1, "sadtalker", "ravdess", "LSE-C") == 4.748
    assert _value(2, "D", "hdtf", "FID") == 21.528
    assert _value(3, "diffusion-epsilon", "hdtf", "LSE-D") == 9.922


def test_the_float_row_is_the_same_in_every_table():
    for column in ("FID", "FVD", "E-FID", "LSE-D"):
        values = {
            _value(1, "float", "hdtf", column),
            _value(2, "A", "hdtf", column),
            _value(3, "float", "hdtf", column),
        }
        assert len(values) == 1


def test_unknown_cells_stay_unknown_and_second_hand_ones_are_marked():
    assert [c.dataset for c in table_cells(2) if c.value is None] == ["hdtf", "ravdess"]
    assert {c.row for c in table_cells(2) if c.status == "second-hand"} == {"B"}


def test_figure_9_says_that_most_of_the_frame_time_is_not_the_solver():
    speeds = {s.system: s for s in figure9()}
    ten, fifty = speeds["FLOAT"], speeds["FLOAT with diffusion, epsilon prediction"]
    step_ms = (1000 / fifty.fps - 1000 / ten.fps) / (fifty.steps - ten.steps)
    assert math.isclose(step_ms, 0.218, abs_tol=0.001)


def test_ten_evaluations_of_the_supplement_round_to_table_1():
    rows = read_table(shipped("results") / "paper" / "supplement_nfe.csv")
    for row in rows:
        if row.values["nfe"] == "10" and row.values["column"] != "FPS":
            assert math.isclose(
                float(row.values["value"]), _value(1, "float", "hdtf", row.values["column"]), abs_tol=0.06
            )
    assert len(rows) == 20
    assert len(read_table(shipped("results") / "paper" / "supplement_guidance.csv")) == 16


def test_every_reading_names_a_metric_variant_that_exists():
    assert set(readings()) == set(COLUMNS[1])
    for reading in readings().values():
        for variant in reading.variants:
            assert registry.metric(variant).info.column == reading.column


def test_best_and_second_best_of_the_paper_are_found():
    block = paper_block(1)
    marks = {line.name: [parts[0].mark for parts in line.cells] for line in block.lines}
    assert marks["FLOAT"] == ["best", "best", "second", "second", "second", "best", "best"]
    assert marks["Hallo"][2:4] == ["best", "best"]
    assert [line.name for line in block.lines if line.dagger] == ["SadTalker", "EDTalk", "AniTalker"]
