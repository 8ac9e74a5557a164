"""What was not measured is counted: pictures inside a clip, numbers that are none, distances over a handful of rows."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.metrics import base, registry
from floatbench.metrics.base import MetricInfo, Pair, Side
from floatbench.metrics.corpus import FrechetMetric
from floatbench.metrics.csim import CSIM
from floatbench.metrics.fvd import FVD
from floatbench.types import Features


def _pairs(clips: dict[str, dict[tuple[str, str], Features]]) -> list[Pair]:
    def load(name: str):
        return lambda side, backbone: clips[name][side, backbone]

    return [Pair(name, name, load(name)) for name in clips]


def _mouth(frames: int, lost: int, seed: int) -> dict[tuple[str, str], Features]:
    """A mouth that follows the sound; in the first `lost` pictures there is no face."""
    rng = np.random.default_rng(seed)
    loudness = rng.random(frames).astype(np.float32)
    blend = np.zeros((frames, 52), np.float32)
    blend[:, 25] = loudness + 0.5 * rng.random(frames)
    found = np.arange(frames) >= lost
    face = {"blendshapes": blend, "found": found, "faces": found.astype(np.int32), "mouth": blend[:, 25]}
    return {("generated", "mp-landmarker"): face, ("generated", "audio-envelope"): {"rms": loudness}}


@pytest.mark.parametrize("variant", ["avcorr", "avcorr-excess"])
def test_a_clip_with_half_of_its_pictures_measured_has_no_value(variant):
    clips = {"half": _mouth(100, 50, 1), "most": _mouth(100, 20, 2), "whole": _mouth(100, 0, 3)}
    score = registry.metric(variant).reduce(_pairs(clips))
    assert list(score.failures) == ["half"]
    assert score.failures["half"] == "few_pictures: 50 of 100 pictures could be measured, 75% are needed"
    assert (score.n, score.pictures, score.of_pictures) == (2, 180, 200)
    assert score.measured_share == pytest.approx(0.9)


def test_the_floor_itself_is_enough():
    at = round(100 * (1 - base.MEASURED_FLOOR))
    below = at + 1
    score = registry.metric("avcorr").reduce(_pairs({"at": _mouth(100, at, 1), "below": _mouth(100, below, 1)}))
    assert list(score.failures) == ["below"]


def _identity(rows: int, bad: dict[int, float]) -> dict[tuple[str, str], Features]:
    values = np.ones((rows, 4), np.float32)
    for row, value in bad.items():
        values[row, 1] = value
    ones = np.ones(rows, np.uint8)
    good = {"embeddings": np.ones((rows, 4), np.float32), "found": ones, "faces": ones}
    features = {"embeddings": values, "found": ones, "faces": ones}
    return {("generated", "arcface"): features, ("reference", "arcface"): good, ("source", "arcface"): good}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_number_that_is_none_fails_its_clip_and_leaves_the_others(value):
    score = CSIM().reduce(_pairs({"bad": _identity(20, {3: value}), "good": _identity(20, {})}))
    assert score.failures["bad"].startswith("not_finite: csim-source: value is")
    assert (score.value, score.n) == (pytest.approx(1), 1)


@pytest.mark.parametrize(("place", "variant"), [("mp-landmarker", "avcorr"), ("audio-envelope", "avcorr-excess")])
def test_a_mouth_or_sound_that_is_no_number_is_said_to_be_none(place, variant):
    clip = _mouth(100, 0, 1)
    features = clip["generated", place]
    (features["rms"] if place == "audio-envelope" else features["blendshapes"][:, 25])[7] = np.nan
    score = registry.metric(variant).reduce(_pairs({"bad": clip}))
    assert score.failures["bad"].startswith("not_finite")


def _rows(seed: int, rows: int, dimension: int, lost: int = 0) -> dict[tuple[str, str], Features]:
    rng = np.random.default_rng(seed)
    sides: tuple[Side, Side] = ("generated", "reference")
    made = {(side, "b"): {"features": rng.standard_normal((rows, dimension))} for side in sides}
    made["generated", "b"]["features"][:lost] = np.nan
    return made


def _frechet() -> FrechetMetric:
    info = MetricInfo(
        id="f", column="FID", title="t", higher_is_better=False, level="corpus", backbones=("b",),
        sides=("generated", "reference")
    )  # fmt: skip
    return FrechetMetric(info)


def test_a_distance_over_no_more_rows_than_numbers_is_marked():
    few = _frechet().reduce(_pairs({"a": _rows(1, 2, 8)}))
    assert few.marks == ("few rows: 2 rows of 8 numbers, more than 8 are needed; mostly bias",)
    assert few.value is not None
    assert _frechet().reduce(_pairs({"a": _rows(1, 4, 8), "b": _rows(2, 4, 8)})).marks != ()
    assert _frechet().reduce(_pairs({"a": _rows(1, 5, 8), "b": _rows(2, 4, 8)})).marks == ()


def test_rows_that_failed_are_counted_and_too_many_fail_the_clip():
    score = _frechet().reduce(_pairs({"a": _rows(1, 20, 2, lost=5), "b": _rows(2, 20, 2, lost=6)}))
    assert score.failures == {"b": "few_pictures: 14 of 20 pictures could be measured, 75% are needed"}
    assert (score.n, score.pictures, score.of_pictures) == (1, 15, 20)


def test_the_remainder_behind_the_last_window_is_no_loss():
    window = {"features": np.random.default_rng(0).standard_normal((2, 400)), "frames": np.array([47])}
    score = FVD().reduce(_pairs({"a": {("generated", "i3d"): window, ("reference", "i3d"): window}}))
    assert (score.pictures, score.of_pictures, score.failures) == (2, 2, {})


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_features_too_large_for_a_distance_fail_and_do_not_end_the_run():
    huge = _rows(1, 5, 2)
    huge["generated", "b"]["features"] *= 1e200
    score = _frechet().reduce(_pairs({"a": huge}))
    assert (score.value, score.n) == (None, 0)
    assert score.failures["a"].startswith("not_finite: means or covariances")
