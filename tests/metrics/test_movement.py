"""Motion measures on drawn faces whose motion is known, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import EYES, SIZE, features, mesh, pair

from floatbench.errors import ClipError
from floatbench.metrics import registry
from floatbench.metrics.movement import METRICS

T = np.arange(60.0)
TWINS = ("head-div", "blinks", "gaze", "smooth", "flicker", "flicker-face")


def faces(**known):
    return {"mp-landmarker": features(**known)}


def value(variant, generated, reference=None):
    return registry.metric(variant).clip_value(pair(generated, reference))


def swing(amplitude: float) -> np.ndarray:
    """(60, 3) degrees: the yaw swings in three whole periods, the rest is still."""
    return np.stack([0 * T, amplitude * np.sin(2 * np.pi * T / 20), 0 * T], axis=1)


def test_head_motion_is_the_mean_deviation_of_three_angles_in_degrees():
    found = value("head-div", faces(degrees=swing(9.0)), faces(degrees=swing(3.0)))
    assert found.extra["yaw"] == pytest.approx(9 / np.sqrt(2), rel=1e-5)
    assert found.value == pytest.approx(3 / np.sqrt(2), rel=1e-5)
    assert found.extra["ratio"] == pytest.approx(3, rel=1e-5)
    assert found.extra["reference"] == pytest.approx(1 / np.sqrt(2), rel=1e-5)


def test_speed_and_jerk_are_per_second_and_not_per_frame():
    cubic = np.stack([0.001 * T**3, 0 * T, 0 * T], axis=1)
    found = value("head-div", faces(degrees=cubic)).extra
    assert found["jerk"] == pytest.approx(0.006 * 25**3, rel=1e-2)  # float32 angles
    steady = np.stack([0.3 * T, 0.4 * T, 0 * T], axis=1)
    assert value("head-div", faces(degrees=steady)).extra["speed"] == pytest.approx(0.5 * 25, rel=1e-4)


def test_an_angle_that_passes_180_degrees_does_not_jump():
    past = np.stack([0 * T, 0 * T, 170 + 0.4 * T], axis=1)
    wrapped = (past + 180) % 360 - 180
    assert value("head-div", faces(degrees=wrapped)).value == pytest.approx((0.4 * T).std() / 3, rel=1e-4)


def test_differences_never_reach_over_a_lost_face():
    steady = np.stack([0.3 * T, 0 * T, 0 * T], axis=1)
    found = value("head-div", faces(degrees=steady, missing=slice(20, 30)))
    assert found.extra["speed"] == pytest.approx(0.3 * 25, rel=1e-4)
    assert (found.pictures, found.of_pictures) == (50, 60)


def lids(*centres: int, height: float = 0.8, half: int = 4, level: float = 0.1) -> dict[int, np.ndarray]:
    """Both lids: triangles around these frames, `half` frames to either side."""
    bumps = [np.clip(1 - np.abs(T - centre) / half, 0, 1) for centre in centres]
    closed = level + height * np.max([0 * T, *bumps], axis=0)
    return {9: closed, 10: closed}


def test_blinks_are_counted_and_timed_at_half_their_height():
    found = value("blinks", faces(shapes=lids(10, 30, 50)))
    assert found.extra["count"] == 3
    assert found.value == pytest.approx(3 / (60 / 25 / 60))
    assert found.extra["seconds"] == pytest.approx(4 / 25, rel=1e-5)  # a triangle is half as wide at half its height


@pytest.mark.parametrize(
    "shapes", [lids(30, height=0.2), lids(30, half=25), lids(level=0.7)], ids=["tremble", "long closed", "narrow eyes"]
)
def test_what_is_no_blink_is_not_counted(shapes):
    found = value("blinks", faces(shapes=shapes))
    assert found.value == 0
    assert "seconds" not in found.extra


def test_gaze_is_the_spread_of_two_directions_with_open_eyes():
    side = np.clip(np.sin(2 * np.pi * T / 20), 0, 1), np.clip(-np.sin(2 * np.pi * T / 20), 0, 1)
    looks = {15: side[0], 14: side[0], 13: side[1], 16: side[1]}
    found = value("gaze", faces(shapes=looks))
    assert found.value == pytest.approx(1 / np.sqrt(2), rel=1e-5)
    assert found.extra["upward"] == 0
    blinking = {**looks, 9: 0.9 * (T < 20), 10: 0.9 * (T < 20)}
    assert value("gaze", faces(shapes=blinking)).value == pytest.approx(1 / np.sqrt(2), rel=1e-5)
    assert value("gaze", faces(shapes=blinking)).extra["closed"] == pytest.approx(1 / 3)


def test_jerk_of_the_mesh_is_in_eye_distances_and_does_not_depend_on_the_size_of_the_picture():
    moved = mesh(60)
    moved[:, :, 0] += (0.001 * T**3)[:, None]
    expected = 0.006 / EYES * 25**3
    small = value("smooth", faces(pixels=moved))
    assert small.value == pytest.approx(expected, rel=2e-2)  # positions are float32 fractions, differenced three times
    assert small.extra["mouth"] == pytest.approx(expected, rel=2e-2)
    large = value("smooth", faces(pixels=4 * moved, size=(4 * SIZE[0], 4 * SIZE[1])))
    assert large.value == pytest.approx(small.value, rel=1e-9)


def drawn(frames: int = 10, level: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """A texture that walks two pixels a frame with the mesh on it; the ground goes up and down by `level`."""
    rng = np.random.default_rng(5)
    face = np.array([50, 64]) + rng.uniform(-20, 20, (478, 2))
    texture = rng.integers(0, 255, (128, 128), dtype=np.uint8)
    pixels = np.stack([face + np.array([2 * t, 0]) for t in range(frames)])
    grey = np.full((frames, 128, 128), 100, np.uint8)
    for t in range(frames):
        grey[t] += np.uint8(level * (t % 2))
        grey[t, 40:90, 26 + 2 * t : 76 + 2 * t] = texture[40:90, 26:76]
    return {"mp-landmarker": features(frames, pixels=pixels, size=(128, 128)), "pixels": {"grey": grey}}


def test_flicker_around_the_head_is_the_mean_change_of_the_ground():
    assert value("flicker", drawn()).value == 0
    assert value("flicker", drawn(level=7)).value == pytest.approx(7)
    assert 0.05 < value("flicker", drawn()).extra["area"] < 0.95


def test_a_texture_that_moves_with_the_face_does_not_flicker():
    assert value("flicker-face", drawn()).value == pytest.approx(0, abs=0.2)  # warped at 1/32 pixel
    trembling = drawn()
    noise = np.random.default_rng(1).integers(0, 40, trembling["pixels"]["grey"].shape)
    trembling["pixels"]["grey"] = np.clip(trembling["pixels"]["grey"].astype(int) + noise, 0, 255).astype(np.uint8)
    assert value("flicker-face", trembling).value > 5


def test_a_face_that_fills_the_picture_leaves_no_ground_to_judge():
    near = drawn()
    near["mp-landmarker"]["mesh"] = (near["mp-landmarker"]["mesh"] - 0.5) * 6 + 0.5
    with pytest.raises(ClipError, match="few_pictures"):
        value("flicker", near)


@pytest.mark.parametrize("name", TWINS)
def test_the_gap_is_0_for_equal_clips(name):
    side = {**drawn(), "mp-landmarker": drawn()["mp-landmarker"]}
    assert value(f"{name}-gap", side).value == 0


def test_the_gap_is_1_for_a_still_clip_and_the_same_from_both_sides():
    moving, still, less = faces(degrees=swing(9)), faces(degrees=swing(0)), faces(degrees=swing(3))
    assert value("head-div-gap", still, moving).value == pytest.approx(1)
    assert value("head-div-gap", less, moving).value == pytest.approx(0.5, rel=1e-5)
    assert value("head-div-gap", moving, less).value == value("head-div-gap", less, moving).value


def test_a_clip_without_a_face_is_a_named_failure_of_its_own_side_only():
    blind = faces(missing=slice(None))
    with pytest.raises(ClipError, match="no_face"):
        value("head-div", blind)
    assert "ratio" not in value("head-div", faces(degrees=swing(3)), blind).extra
    with pytest.raises(ClipError, match="few_pictures"):
        value("head-div", faces(missing=slice(0, 20)))


def test_leak_is_what_else_changed_in_units_of_its_own_spread():
    plain = swing(4.0)
    plain[:, 2] = 2 * np.cos(2 * np.pi * T / 20)
    turned = plain + np.array([0, 3 * 4, 2]) / np.sqrt(2)  # yaw by three spreads, roll by one
    found = value("control-leak", faces(degrees=turned), faces(degrees=plain))
    assert found.extra["aimed"] == pytest.approx(3, rel=1e-4)
    assert found.value == pytest.approx(1 / 54, rel=1e-4)
    assert found.extra["ratio"] == pytest.approx(1 / 162, rel=1e-4)
    told = registry.metric("control-leak", aimed="roll").clip_value(pair(faces(degrees=turned), faces(degrees=plain)))
    assert told.extra["aimed"] == pytest.approx(1, rel=1e-4)


def test_every_measure_has_a_twin_that_can_be_ranked():
    for name in TWINS:
        assert {name, f"{name}-gap"} <= set(METRICS)
        assert registry.metric(f"{name}-gap").info.higher_is_better is False
