"""Progress: no time left is told before it can be known, and then roughly."""

from __future__ import annotations

import pytest

from floatbench.cli import bars
from floatbench.cli.bars import Estimate, LineProgress, in_time


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(total: int | None, times: list[float], amount: int = 1) -> list[str]:
    """What is left after each step, done at these times in seconds."""
    clock = Clock()
    estimate, said = Estimate(total, clock), []
    for clock.now in times:
        estimate.advance(amount)
        said.append(estimate.left())
    return said


def test_the_first_steps_say_nothing_of_the_rest() -> None:
    assert told(100, [0.01, 0.02, 0.03, 0.04]) == [""] * 4  # too early, however fast
    assert told(100, [30.0, 31.0]) == [""] * 2  # workers start: two steps are no pace
    assert told(1000, [float(k) for k in range(1, 20)]) == [""] * 19  # less than 2 % done


def test_a_steady_pace_is_told_as_it_is() -> None:
    assert told(60, [2.0 * k for k in range(1, 5)])[2:] == ["about 2 min left"] * 2
    assert told(10, [2.0 * k for k in range(1, 11)])[-2:] == ["about 2 s left", ""]
    assert told(None, [10.0, 20.0, 30.0, 40.0]) == [""] * 4


def test_bytes_are_counted_in_steps_too() -> None:
    assert told(1000, [3.0, 6.0, 9.0], amount=100) == ["", "", "about 21 s left"]


@pytest.mark.parametrize(("seconds", "words"), [(8.4, "8 s"), (99, "99 s"), (100, "2 min"), (9000, "2.5 h")])
def test_a_length_of_time_is_told_as_roughly_as_it_is_known(seconds: float, words: str) -> None:
    assert in_time(seconds) == words


def test_lines_of_a_short_task_hold_no_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(bars.time, "monotonic", clock)
    with LineProgress().task("clips", 4) as task:
        for clock.now in (10.0, 12.0, 14.0, 16.0):
            task.advance(note="a")
    assert capsys.readouterr().err.splitlines() == [
        "clips: 1/4 (0.10 clip/s) a",
        "clips: 2/4 (0.17 clip/s) a",
        "clips: 3/4 (0.21 clip/s, about 5 s left) a",
        "clips: 4/4 (0.25 clip/s) a",
    ]
