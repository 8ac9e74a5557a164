"""The time line rule of pp1 as closed forms on time stamps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatbench.errors import ClipError
from floatbench.media.timeline import nearest, plan


def stamps(n: int, rate: float, first: float = 0.0) -> np.ndarray:
    return first + np.arange(n) / rate


def test_25_fps_is_the_identity() -> None:
    line = plan(stamps(100, 25))
    assert line.n_frames == 100
    assert line.source_index.tolist() == list(range(100))
    assert line.n_samples == 64_000


def test_50_fps_takes_every_second_picture() -> None:
    assert plan(stamps(100, 50)).source_index.tolist() == list(range(0, 100, 2))


def test_12_5_fps_shows_each_picture_twice_with_ties_to_the_earlier() -> None:
    assert plan(stamps(20, 12.5)).source_index.tolist() == [n // 2 for n in range(40)]


def test_30_fps_picks_the_nearest_picture() -> None:
    line = plan(stamps(354, 30))
    assert line.n_frames == 295
    assert line.source_index[:6].tolist() == [0, 1, 2, 4, 5, 6]  # 1.2, 2.4, 3.6, 4.8, 6.0 rounded


def test_video_ends_a_median_gap_after_its_last_picture() -> None:
    gaps = np.array([0.04] * 40 + [0.08] * 5)
    assert plan(np.concatenate([[0.0], np.cumsum(gaps)])).n_frames == 51  # 2.00 s to the last stamp, and 0.04 s


@pytest.mark.parametrize(
    ("audio", "window", "t0", "n"),
    [
        ((0.0, 4.0), (None, None), 0.0, 100),
        ((0.0, 3.96), (None, None), 0.0, 100),  # one frame of missing sound is filled with zeros
        ((0.0, 3.95), (None, None), 0.0, 99),
        ((0.5, 9.0), (None, None), 0.5, 87),
        ((0.0, 9.0), (1.0, 3.0), 1.0, 50),
        ((0.0, 9.0), (1.01, 3.0), 1.01, 49),
        (None, (None, 2.0), 0.0, 50),
        (None, (3.0, None), 3.0, 25),
    ],
)
def test_the_clip_lies_where_picture_sound_and_window_all_are(
    audio: tuple[float, float] | None, window: tuple[float | None, float | None], t0: float, n: int
) -> None:
    line = plan(stamps(100, 25), audio, *window)
    assert (line.t0, line.n_frames) == (t0, n)


def test_a_video_that_starts_late_sets_the_origin() -> None:
    line = plan(stamps(50, 25, first=0.033), audio=(0.0, 5.0))
    assert line.t0 == pytest.approx(0.033)
    assert line.source_index.tolist() == list(range(50))


@pytest.mark.parametrize(
    ("count", "reason"), [(0, "empty"), (1, "too_short"), (24, "too_short"), (25, None), (90_001, "too_long")]
)
def test_lengths_outside_one_second_to_one_hour_are_refused(count: int, reason: str | None) -> None:
    if reason is None:
        assert plan(stamps(count, 25)).n_frames == count
        return
    with pytest.raises(ClipError) as caught:
        plan(stamps(count, 25))
    assert caught.value.reason == reason


def test_one_absurd_stamp_is_refused_without_using_memory() -> None:
    with pytest.raises(ClipError, match="too_long"):
        plan(np.array([0.0, 0.04, 1e12]))


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=40).map(sorted),
    st.lists(st.integers(-20, 420), min_size=1, max_size=20),
)
def test_nearest_equals_the_definition(ticks: list[int], times: list[int]) -> None:
    found = nearest(np.array(ticks) / 100, np.array(times) / 100)
    for time, index in zip(times, found, strict=True):
        distances = [abs(tick - time) for tick in ticks]
        assert index == distances.index(min(distances))  # the first of the smallest: the earlier picture
