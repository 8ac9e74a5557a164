"""Face tracks and crops: planted tracks, gaps, two faces, and the padded cut spelled out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from floatbench.metrics.facetrack import FaceTrack, crop, crop_boxes, crop_track, find_tracks, longest


def _box(x: float, y: float = 50, side: float = 120) -> np.ndarray:
    return np.array([x, y, x + side, y + side, 0.99])


def test_two_faces_make_two_tracks_and_the_longer_one_counts():
    faces = [[_box(10 + t), _box(300 - t)] if t < 20 else [_box(300 - t)] for t in range(30)]
    tracks = find_tracks(faces)
    assert [len(track.frames) for track in tracks] == [20, 30]
    chosen = longest(tracks, 100)
    assert chosen is tracks[1]


def test_of_equally_long_tracks_the_larger_face_counts():
    faces = [[_box(10, side=110), _box(300, side=130)] for _ in range(5)]
    chosen = longest(find_tracks(faces), 100)
    assert chosen is not None and chosen.size() == 130


def test_small_faces_do_not_count():
    assert longest(find_tracks([[_box(10, side=100)]] * 3), 100) is None


def test_a_gap_of_25_frames_is_bridged_and_26_ends_the_track():
    for gap, expected in ((25, 1), (26, 2)):
        faces: list[list[np.ndarray]] = [[] for _ in range(40)]
        faces[3] = [_box(10)]
        faces[3 + gap] = [_box(20)]
        assert len(find_tracks(faces)) == expected


def test_a_jump_ends_the_track_at_overlap_one_half():
    # boxes of side 120 shifted by d overlap by (120 - d) / (120 + d): above 0.5 below d = 40
    assert len(find_tracks([[_box(0)], [_box(39.9)]])) == 1
    assert len(find_tracks([[_box(0)], [_box(40)]])) == 2


def test_boxes_are_linear_between_detections():
    track = FaceTrack(np.array([2, 6]), np.array([[0, 0, 10, 10], [8, 4, 18, 14.0]]))
    assert (track.start, track.length) == (2, 5)
    assert track.filled()[1].tolist() == [2, 1, 12, 11]


def test_boxes_are_smoothed_by_a_median_that_sees_zeros_beyond_the_ends():
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.random((30, 4)) * 200, axis=1)
    found = crop_boxes(FaceTrack(np.arange(30), boxes))
    half = np.maximum(boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]) / 2
    for column, values in enumerate((half, boxes[:, [0, 2]].mean(1), boxes[:, [1, 3]].mean(1))):
        np.testing.assert_array_equal(found[:, column], signal.medfilt(values, 13))


def test_a_crop_is_the_padded_cut_of_the_pipeline():
    frame = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    half, x, y = 33.3, 20.7, 70.2  # reaches over the left and lower border
    border = int(half * 1.8)
    padded = np.pad(frame, ((border, border), (border, border), (0, 0)), constant_values=110)
    top, left = y + border - half, x + border - half * 1.4
    cut = padded[int(top) : int(y + border + half * 1.8), int(left) : int(x + border + half * 1.4)]
    np.testing.assert_array_equal(crop(frame, half, x, y), cv2.resize(cut, (224, 224)))
    assert (crop(frame, half, x, y)[-1, 0] == 110).all()


def test_crops_start_at_the_tracks_first_frame():
    frames = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 200, 200, 3), np.uint8)
    track = FaceTrack(np.array([5, 30]), np.array([[40, 40, 150, 150]] * 2, float))
    crops = crop_track(frames, track)
    assert len(crops) == 26
    assert (crops[13] == 18).any()
