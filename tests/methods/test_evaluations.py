"""Network evaluations are counted a window, as papers count them, in records of every age."""

from __future__ import annotations

from typing import Any

import pytest

from floatbench.methods.evaluations import evaluations_a_window

FLOAT = {"options": {"nfe": 10}}


@pytest.mark.parametrize(
    ("details", "described", "frames", "expected"),
    [
        ({"nfe": 20, "windows": 2}, FLOAT, 60, 10.0),
        ({"nfe": 33, "windows": 2}, FLOAT, 60, 16.5),  # a solver that chooses its own steps
        ({"nfe": 20}, FLOAT, 60, 10.0),  # of before windows were counted
        ({"nfe": 40}, {"kind": "system"}, 250, 40.0),  # a method that makes a clip in one go
        ({"evaluations": 9}, {"kind": "system"}, 250, 9.0),  # a driver that counts a window itself
        ({}, FLOAT, 60, None),
        ({"nfe": True}, FLOAT, 60, None),
        ({"nfe": 0, "windows": 0}, FLOAT, 0, None),
    ],
)
def test_a_clips_count_becomes_that_of_a_window(
    details: dict[str, Any], described: dict[str, Any], frames: int, expected: float | None
):
    assert evaluations_a_window(details, described, frames) == expected
