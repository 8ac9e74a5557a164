"""The stage clock."""

import pytest

from floatbench.sampling.clock import StageClock


def test_an_inner_stage_interrupts_the_outer_one(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    clock = StageClock()
    with clock("solve"):
        now += 1
        with clock("speech"):
            now += 10
        now += 2
    now += 100
    with clock("solve"):
        now += 4
    assert clock.seconds == {"solve": 7.0, "speech": 10.0}
    assert clock.total == 17.0


def test_a_failing_stage_is_counted_and_closed(monkeypatch: pytest.MonkeyPatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    clock = StageClock()
    with pytest.raises(ValueError), clock("decode"):
        now += 3
        raise ValueError
    now += 50
    with clock("mux"):
        now += 1
    assert clock.seconds == {"decode": 3.0, "mux": 1.0}


def test_another_timer_takes_the_place_of_the_wall_clock():
    ticks = iter((3.0, 5.0))
    clock = StageClock(timer=lambda: next(ticks))
    with clock("decode"):
        pass
    assert clock.seconds == {"decode": 2.0}
