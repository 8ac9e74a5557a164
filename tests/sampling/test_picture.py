"""Pictures: which face, which crop, which filter, and pixels back to 8 bits."""

import warnings

import cv2
import numpy as np
import pytest
import torch

from floatbench.errors import ClipError
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection
from floatbench.sampling.picture import choose_face, crop_face, to_pixels, to_tensor, whole_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (400, 600, 3), dtype=np.uint8)


class Fixed(BoxBackend):
    """Finds the boxes it was given."""

    name = "fixed"
    start_score = 0.5

    def __init__(self, *boxes: Box, score: float = 1.0) -> None:
        self._found = [Detection(box, score) for box in boxes]

    def info(self) -> BackendInfo:
        return BackendInfo(self.name, "1")

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        return self._found


SMALL, LARGE, CENTRAL = Box(0, 0, 50, 50), Box(400, 200, 520, 320), Box(240, 150, 350, 260)


def test_the_largest_face_wins_and_among_similar_ones_the_most_central():
    found = [Detection(b) for b in (SMALL, LARGE, CENTRAL)]
    assert choose_face(found[:2], 400, 600, 0.5) == LARGE
    assert choose_face(found, 400, 600, 0.5) == CENTRAL  # 84 % of the largest area
    assert choose_face(found, 400, 600, 0.5, "first") == SMALL


def test_no_face_is_an_error_that_names_the_way_out():
    for found in ([], [Detection(LARGE, 0.4)], [Detection(Box(5, 5, 5, 5))]):
        with pytest.raises(ClipError, match=r"no_face.*--no-crop"):
            choose_face(found, 400, 600, 0.5)


def test_the_crop_is_1_6_half_boxes_around_the_face():
    face, notes = crop_face(PICTURE, Fixed(Box(250, 150, 350, 250)), 160)
    assert notes == []
    assert np.array_equal(face, PICTURE[120:280, 220:380])  # centre (300, 200), half side int(1.6 * 50) = 80


def test_several_faces_padding_and_enlargement_are_told():
    _, notes = crop_face(PICTURE, Fixed(Box(0, 0, 100, 100), SMALL), 256)
    assert any("2 faces" in note for note in notes)
    assert any("outside the picture" in note for note in notes)
    assert any("enlarged to 256" in note for note in notes)


def test_the_official_filter_is_area_above_360_pixels_even_when_enlarging():
    box = Box(250, 150, 350, 250)
    square = PICTURE[120:280, 220:380]
    official, _ = crop_face(PICTURE, Fixed(box), 256, filters="official")
    assert np.array_equal(official, cv2.resize(square, (256, 256), interpolation=cv2.INTER_AREA))
    cubic = cv2.resize(square, (256, 256), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(crop_face(PICTURE, Fixed(box), 256)[0], cubic)
    low = np.ascontiguousarray(PICTURE[:360])
    assert np.array_equal(crop_face(low, Fixed(box), 256, filters="official")[0], cubic)


def test_a_tiny_crop_or_picture_is_refused():
    with pytest.raises(ClipError, match=r"too_small.*at least 256"):
        crop_face(PICTURE, Fixed(Box(250, 150, 290, 190)), 512)
    with pytest.raises(ClipError, match="too_small"):
        whole_picture(PICTURE[:200], 512)


def test_a_whole_picture_of_the_right_size_is_not_touched():
    square = np.ascontiguousarray(PICTURE[:256, :256])
    result, notes = whole_picture(square, 256)
    assert np.array_equal(result, square) and notes == []
    squeezed, notes = whole_picture(PICTURE, 256)
    assert squeezed.shape == (256, 256, 3) and "squeezed" in notes[0]


def test_values_run_from_minus_one_to_one():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0] = 255
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 2, 2)
    assert (float(tensor.min()), float(tensor.max())) == (-1.0, 1.0)


def test_rounding_brings_every_pixel_back_and_truncation_does_not():
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(to_pixels(to_tensor(values))[0].numpy(), values)
    shifted = to_tensor(values) + 0.9 / 127.5
    truncated = to_pixels(shifted, "truncate")[0].numpy()
    assert np.array_equal(truncated.ravel()[:-3], values.ravel()[:-3])
    rounded = to_pixels(shifted)[0].numpy()
    assert np.array_equal(rounded.ravel()[:-3], values.ravel()[:-3] + 1)


def test_values_beyond_the_range_are_clamped():
    image = torch.tensor([-7.0, 7.0, 0.0]).reshape(1, 3, 1, 1)
    assert to_pixels(image).flatten().tolist() == [0, 255, 128]
    assert to_pixels(image, "truncate").flatten().tolist() == [0, 255, 127]


def test_a_read_only_picture_is_taken_without_a_warning():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_tensor(picture).shape == (1, 3, 2, 2)
