"""Drift measures on curves whose slope is known, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import features, mesh
from numpy.typing import ArrayLike

from floatbench.errors import ClipError
from floatbench.metrics import registry, sets
from floatbench.metrics.base import Pair
from floatbench.metrics.drift import METRICS, STRETCH
from floatbench.metrics.tiles import EVERY, GRID, PictureTiles, shares
from floatbench.types import ClipMedia

FRAMES = 40 * 25
T = np.arange(FRAMES) / 25
MINUTES = T / 60
EYES = 80.0


def value(variant, generated, reference=None, source=None):
    sides = {"generated": generated, "reference": reference or generated, "source": source}
    return registry.metric(variant).clip_value(Pair("c", "p", lambda side, name: sides[side][name]))


def embeddings(angles, found=None):
    """Unit vectors at these angles (radians) from the source's."""
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return {"embeddings": rows, "found": np.ones(len(rows), bool) if found is None else found}


def tiles_of(laplacian: ArrayLike = 0.0, lab: ArrayLike = (50.0, 0.0, 0.0), frames: int = FRAMES):
    """Pictures whose tiles are all alike: variance of the Laplacian and L*a*b*, (n,) or (n, 3) or numbers."""
    n = -(-frames // EVERY)
    edges = np.zeros((n, GRID, GRID, 2))
    edges[..., 1] = np.broadcast_to(laplacian, n)[:, None, None]
    colours = np.broadcast_to(np.broadcast_to(lab, (n, 3))[:, None, None], (n, GRID, GRID, 3))
    return {"laplacian": edges, "lab": colours, "frames": np.array([frames])}


def test_identity_that_is_lost_in_a_straight_line_has_that_slope_per_minute():
    angles = np.arccos(0.9 - 0.3 * MINUTES)
    source = {"arcface": embeddings(np.zeros(1))}
    found = value("drift-csim", {"arcface": embeddings(angles)}, {"arcface": embeddings(0 * T)}, source)
    assert found.value == pytest.approx(0.3)
    assert found.extra["slope"] == pytest.approx(-0.3)
    assert found.extra["reference"] == pytest.approx(0, abs=1e-9)
    assert found.extra["first"] == pytest.approx(0.9 - 0.3 * MINUTES[:250].mean())
    assert found.extra["last_over_first"] == pytest.approx(found.extra["last"] / found.extra["first"])


def test_frames_without_a_face_do_not_bend_the_line():
    angles, seen = np.arccos(0.9 - 0.3 * MINUTES), np.arange(FRAMES) % 9 > 0
    lost = embeddings(np.where(seen, angles, 1.5), seen)
    found = value("drift-csim", {"arcface": lost}, None, {"arcface": embeddings(np.zeros(1))})
    assert found.value == pytest.approx(0.3)
    assert (found.pictures, found.of_pictures) == (int(seen.sum()), FRAMES)


@pytest.mark.parametrize("whole", [False, True])
def test_sharpness_drifts_as_a_share_of_itself(whole):
    minutes = np.arange(0, FRAMES, EVERY) / 25 / 60
    sides = {"picture-tiles": tiles_of(laplacian=80.0 * (1 - 0.5 * minutes)), "mp-landmarker": features(FRAMES)}
    found = value("drift-sharpness-frame" if whole else "drift-sharpness", sides)
    assert found.extra["slope"] == pytest.approx(-0.5 / (1 - 0.5 * minutes).mean())
    assert found.extra["reference_slope"] == found.extra["slope"]


def test_colour_drifts_by_the_length_of_its_way_through_lab():
    minutes = np.arange(0, FRAMES, EVERY) / 25 / 60
    lab = np.array([60.0, 5.0, 5.0]) + minutes[:, None] * np.array([2.0, -3.0, 6.0])
    sides = {"picture-tiles": tiles_of(lab=lab), "mp-landmarker": features(FRAMES)}
    found = value("drift-colour", sides)
    assert found.value == pytest.approx(7.0)
    assert found.extra["slope_green_red"] == pytest.approx(-3.0)
    assert found.extra["moved"] == pytest.approx(7.0 * 30 / 60)  # ten seconds begin 30 s apart


def test_only_the_tiles_under_the_face_count():
    sides = {"picture-tiles": tiles_of(), "mp-landmarker": features(FRAMES)}  # its box is x 140..260 of 400
    minutes = np.arange(0, FRAMES, EVERY) / 25 / 60
    lab = sides["picture-tiles"]["lab"].copy()
    lab[:, :, :4, 0] += 30 * minutes[:, None, None]  # the left quarter grows light
    sides["picture-tiles"]["lab"] = lab
    assert value("drift-colour", sides).value == pytest.approx(0, abs=1e-9)
    assert value("drift-colour-frame", sides).value == pytest.approx(30 / 4)


def test_a_face_that_wanders_is_seen_in_eye_distances_and_a_nod_is_not():
    away = mesh(FRAMES) + np.stack([EYES * 0.6 * MINUTES, -EYES * 0.8 * MINUTES], axis=1)[:, None]
    found = value("drift-place", {"mp-landmarker": features(FRAMES, pixels=away)})
    assert found.value == pytest.approx(1.0, rel=1e-3)  # a float32 mesh
    assert found.extra["slope_down"] == pytest.approx(-0.8, rel=1e-3)
    nod = mesh(FRAMES) + np.stack([0 * T, 8 * np.cos(2 * np.pi * (T + 0.02) / 4)], axis=1)[:, None]
    assert value("drift-place", {"mp-landmarker": features(FRAMES, pixels=nod)}).value == pytest.approx(0, abs=0.01)


def test_lips_that_move_less_and_less_are_seen():
    swing = np.where(np.arange(FRAMES) % 2, 1.0, -1.0) * (10 - 6 * MINUTES)
    face = mesh(FRAMES)
    for point in (191, 80, 81, 82, 13, 312, 311, 310):
        face[:, point, 1] = 100.0
    for point in (95, 88, 178, 87, 14, 317, 402, 318):
        face[:, point, 1] = 130.0 + swing
    slope = value("drift-lips", {"mp-landmarker": features(FRAMES, pixels=face)}).extra["slope"]
    assert slope == pytest.approx(-6 / (10 - 6 * MINUTES).mean(), rel=0.02)


def test_sync_that_is_lost_is_seen_stretch_by_stretch():
    """Lips equal the sound up to a growing step across, which is their distance."""
    rng = np.random.default_rng(0)
    sound = np.zeros((FRAMES - 5, 1024), np.float32)
    sound[:, :1000] = rng.normal(size=(FRAMES - 5, 1000))
    lips = np.zeros((FRAMES - 4, 1024), np.float32)
    lips[:-1] = sound
    stretch = np.minimum(np.arange(FRAMES - 4) // STRETCH, 12)
    lips[:, 1010] = 3 * (stretch * STRETCH + STRETCH / 2) / 25 / 60
    track = np.array([0, FRAMES, FRAMES, 200], np.float32)
    sides = {
        "syncnet-lip": {"lips": lips, "track": track, "tracks": track[None, 2:], "frames": np.array([FRAMES])},
        "syncnet-sound": {"sound": sound, "sound_cut": sound, "frames": np.array([FRAMES])},
    }
    found = value("drift-lse-d", sides)
    assert found.extra["slope"] == pytest.approx(3, rel=1e-3)
    assert value("drift-lse-c", sides).extra["slope"] < 0  # the others are as far as ever


def test_mouth_and_sound_that_part_are_seen():
    rng = np.random.default_rng(1)
    loud = rng.uniform(size=FRAMES)
    jaw = np.where(T < 20, loud, rng.uniform(size=FRAMES))
    sides = {"mp-landmarker": features(FRAMES, shapes={25: jaw}), "audio-envelope": {"rms": loud}}
    found = value("drift-avcorr", sides)
    assert found.extra["first"] == pytest.approx(1, abs=1e-3)
    assert found.extra["last"] < 0.3 and found.extra["slope"] < -0.7


def test_clips_below_30_seconds_are_refused_and_the_beginning_and_end_must_be_seen():
    short = {"picture-tiles": tiles_of(frames=29 * 25)}
    with pytest.raises(ClipError, match=r"too_short: 29\.0 s"):
        value("drift-colour-frame", short)
    lost = {"mp-landmarker": features(FRAMES, missing=slice(FRAMES - 250, FRAMES))}
    with pytest.raises(ClipError, match=r"few_pictures.*last ten seconds"):
        value("drift-place", lost)


def test_what_stands_still_drifts_by_nothing_in_every_measure_of_pictures():
    still = {"mp-landmarker": features(FRAMES), "picture-tiles": tiles_of(laplacian=50.0), "arcface": embeddings(0 * T)}
    for variant in ("drift-csim", "drift-sharpness", "drift-colour", "drift-place", "drift-lips"):
        found = value(variant, still, None, {"arcface": embeddings(np.zeros(1))})
        assert found.value == pytest.approx(0, abs=1e-6), variant


def test_tiles_are_the_means_of_the_picture_whatever_its_size():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (6, 100, 150, 3), dtype=np.uint8)
    found = PictureTiles().extract(ClipMedia(frames))
    assert found["lab"].shape == (2, GRID, GRID, 3) and found["frames"].tolist() == [6]
    grey = frames.astype(float) @ [0.299, 0.587, 0.114]
    inner = np.pad(grey.round(), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    edges = (
        inner[:, :-2, 1:-1] + inner[:, 2:, 1:-1] + inner[:, 1:-1, :-2] + inner[:, 1:-1, 2:] - 4 * inner[:, 1:-1, 1:-1]
    )
    np.testing.assert_allclose(found["laplacian"].mean((1, 2))[:, 1], (edges[::5] ** 2).mean((1, 2)), rtol=1e-3)
    red = np.full((1, 64, 64, 3), (255, 0, 0), np.uint8)  # CIE: L 53.24, a 80.09, b 67.20
    lab = PictureTiles().extract(ClipMedia(red))["lab"]
    np.testing.assert_allclose(lab[0, 3, 3], (53.24, 80.09, 67.20), atol=0.05)


def test_a_box_shares_its_tiles_by_their_area():
    box = shares(np.array([[0.5, 0.0, 0.5 + 1.5 / GRID, 1 / GRID], [1.2, 0.1, 1.4, 0.3]]))
    assert box[0, 0, 8] == pytest.approx(2 / 3) and box[0, 0, 9] == pytest.approx(1 / 3)
    assert box[0].sum() == pytest.approx(1) and box[1].sum() == 0


def test_the_set_is_every_measure_of_drift_that_is_neither_tiny_nor_of_the_whole_picture():
    assert set(sets.members("drift")) == {n for n in METRICS if "tiny" not in n and not n.endswith("-frame")}
