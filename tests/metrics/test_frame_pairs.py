"""Measures that hold a video to its reference, on faces whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import EYES, features, mesh, pair

from floatbench.errors import ClipError
from floatbench.metrics import registry
from floatbench.metrics.frame_pairs import GAMMA, motion_beats, soft_dtw, sound_onsets, warped_distance

T = np.arange(100.0)


def value(variant, generated, reference=None):
    return registry.metric(variant).clip_value(pair(generated, reference))


def face(**known):
    return {"mp-landmarker": features(**known)}


def test_a_face_that_lies_elsewhere_is_that_far_in_eye_distances_and_not_at_all_when_aligned():
    found = value("lmd", face(pixels=mesh(60) + np.array([30, 40])), face())
    assert found.value == pytest.approx(50 / EYES, rel=1e-4)
    assert found.extra["aligned"] == pytest.approx(0, abs=1e-5)
    assert value("lmd", face()).value == 0


def test_a_copy_of_another_size_is_at_no_distance():
    assert value("lmd", face(pixels=2 * mesh(60), size=(400, 800)), face()).value == pytest.approx(0, abs=1e-6)


def test_only_the_lips_count_for_the_mouth_and_only_frames_with_a_face_on_both_sides():
    moved = mesh(60)
    moved[:, 0:60:3] += 8.0  # some points of the face, of the lips 0 and 39
    lips = value("lmd-mouth", face(pixels=moved, missing=slice(0, 5)), face(missing=slice(50, 60)))
    assert lips.value == pytest.approx(2 / 40 * 8 * np.sqrt(2) / EYES, rel=1e-4)
    assert (lips.pictures, lips.of_pictures) == (45, 60)


def test_coefficients_are_apart_by_the_mean_of_their_absolute_differences():
    shapes = {25: np.full(60, 0.52), 3: np.full(60, 0.26)}
    assert value("aed-mp52", face(shapes=shapes), face()).value == pytest.approx(0.78 / 52)
    turned = face(degrees=np.full((60, 3), (0.0, 6.0, -12.0)))
    assert value("apd-mp6", turned, face()).value == pytest.approx(np.radians(18) / 6, rel=1e-5)
    rows = np.zeros((40, 257), np.float32)
    other = rows.copy()
    other[:, 80:144] = 0.5
    name = registry.metric("aed").info.backbones[0]
    real, made = ({name: {"coefficients": part, "found": np.ones(40, bool)}} for part in (rows, other))
    assert value("aed", made, real).value == pytest.approx(0.5)


def stops(*frames: int) -> np.ndarray:
    """A face that moves to the side and slows down at these frames."""
    speed = 4.0 - 3.9 * np.sum([np.exp(-((T - at) ** 2) / 18) for at in frames], axis=0)
    return mesh(100) + np.stack([np.cumsum(speed) - speed[0], 0 * T], axis=1)[:, None]


def bursts(*frames: int) -> dict[str, np.ndarray]:
    """A sound that grows loud at these frames and dies away."""
    loud = sum(np.where(at <= T, np.exp(-(T - at).clip(0) / 4), 0.0) for at in frames)
    return {"rms": 1000.0 * np.asarray(loud) + 1}


def test_beats_are_where_the_face_slows_down_and_onsets_where_the_sound_begins():
    assert motion_beats(features(100, pixels=stops(30, 70))).tolist() == pytest.approx([29, 69], abs=1)
    assert sound_onsets(bursts(30, 70)["rms"]).tolist() == [30, 70]


def test_beats_that_miss_the_onsets_by_d_frames_count_exp_of_minus_d_squared_over_18():
    sides = {"mp-landmarker": features(100, pixels=stops(30, 70))}
    beats = motion_beats(sides["mp-landmarker"])
    for late in (0, 3, 6):
        found = value("beat-align", sides | {"audio-envelope": bursts(*(beats + late))})
        assert found.value == pytest.approx(np.exp(-(late**2) / 18))
    with pytest.raises(ClipError, match="no onset"):
        value("beat-align", sides | {"audio-envelope": {"rms": np.ones(100)}})


def test_beats_and_both_means_are_those_of_the_public_code_on_a_drawn_motion():
    """Golden: lisiyao21/Bailando at cc90b98b by tests/golden/make_beats.py, whose own mean is over the sound."""
    aside = np.cumsum(np.random.default_rng(5).integers(1, 9, 100).astype(float))
    drawn = features(100, pixels=mesh(100) + np.stack([aside, 0 * aside], axis=1)[:, None])
    assert motion_beats(drawn).tolist() == [14, 47, 74]
    found = value("beat-align", {"mp-landmarker": drawn, "audio-envelope": bursts(12, 20, 50, 90)})
    assert found.extra["onsets"] == 4
    assert found.value == pytest.approx(0.4690895761551961, rel=1e-12)
    assert found.extra["over_onsets"] == pytest.approx(0.38565100292555027, rel=1e-12)


def test_soft_dtw_is_the_soft_minimum_over_all_paths():
    """Every monotone path of a 3 x 3 table, written out."""
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[0.5], [1.0], [2.0]])
    costs = (x - y.T) ** 2

    def paths(i: int, j: int) -> list[float]:
        if (i, j) == (0, 0):
            return [costs[0, 0]]
        before = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
        return [total + costs[i, j] for a, b in before if a >= 0 and b >= 0 for total in paths(a, b)]

    totals = np.array(paths(2, 2))
    assert len(totals) == 13
    assert soft_dtw(x, y) == pytest.approx(-GAMMA * np.log(np.exp(-totals / GAMMA).sum()))


def test_a_curve_that_only_runs_late_is_near_and_another_curve_is_not():
    wave = np.sin(2 * np.pi * T / 25)[:, None] * np.sqrt(2)
    late, other = np.sin(2 * np.pi * (T - 3) / 25)[:, None] * np.sqrt(2), np.random.default_rng(0).normal(size=(100, 1))
    assert warped_distance(wave, wave) == 0
    assert warped_distance(wave, late) < 0.1 * np.square(wave - late).mean()
    assert warped_distance(wave, other) > 5 * warped_distance(wave, late)


def test_a_head_that_turns_as_the_reference_does_is_at_no_warped_distance_and_a_still_reference_is_refused():
    degrees = np.stack([5 * np.sin(T / 5), 9 * np.cos(T / 7), 2 * np.sin(T / 3)], axis=1)
    head = face(frames=100, degrees=degrees)
    assert value("dtw-head", head).value == 0
    still = value("dtw-head", face(frames=100, degrees=0 * degrees), head)
    assert still.value is not None and still.value > 0.1
    with pytest.raises(ClipError, match="does not vary"):
        value("dtw-head", head, face(frames=100))
