"""How one picture lies in another of the same scene is found without weights, on drawn heads of known truth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from floatbench.errors import ClipError
from floatbench.media.alignment import align
from floatbench.media.crop import Crop, Cut, cut, cut_alike
from floatbench.synthetic.clip import SyntheticClip

SCALE_ERROR, SHIFT_ERROR = 0.01, 0.005
"""A point may miss by a hundredth of the width; tens of points agree, spread over the picture."""


def head(identity: int, number: int = 0) -> np.ndarray:
    return SyntheticClip(identity, number, 0.04).media(256).frames[0]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return head(90000)


@pytest.mark.parametrize("side", [512, 256, 96])
def test_a_crop_is_found_at_any_size_of_its_pictures(picture: np.ndarray, side: int) -> None:
    # the square of side 160 about (128, 120): things are 256 / 160 times larger, and 8 of 160 pixels lower
    found = align(cut(picture, Crop(128, 120, 80), side), picture)
    assert found is not None
    assert found.scale == pytest.approx(256 / 160, rel=SCALE_ERROR)
    assert (found.x, found.y) == pytest.approx((0, 8 / 160), abs=SHIFT_ERROR)


def test_a_move_to_the_side_is_found(picture: np.ndarray) -> None:
    found = align(np.roll(picture, 26, axis=1), picture)
    assert found is not None
    assert (found.scale, found.x, found.y) == pytest.approx((1, 26 / 256, 0), abs=SHIFT_ERROR)


def test_another_encoding_and_another_size_are_the_same_framing(picture: np.ndarray) -> None:
    small = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA)
    coded = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    found = align(np.asarray(coded), picture)
    assert found is not None
    assert found.scale == pytest.approx(1, abs=SCALE_ERROR)
    assert found.shift < SHIFT_ERROR


def test_a_stretched_picture_is_the_same_framing(picture: np.ndarray) -> None:
    found = align(cv2.resize(picture, (96, 64), interpolation=cv2.INTER_AREA), picture)
    assert found is not None
    assert found.scale == pytest.approx(1, abs=SCALE_ERROR)
    assert found.shift < SHIFT_ERROR


def test_of_unlike_pictures_nothing_is_said(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    assert align(noise, picture) is None
    assert align(np.zeros_like(picture), picture) is None


def test_a_picture_of_the_original_gets_the_crop_of_the_reference_pixel_for_pixel(picture: np.ndarray) -> None:
    how = Cut(Crop(128, 120, 80), 256, 256, 128)
    np.testing.assert_array_equal(cut_alike(picture, how), cut(picture, how.crop, 128))


def test_a_smaller_picture_gets_the_same_section(picture: np.ndarray) -> None:
    how = Cut(Crop(128, 120, 80), 256, 256, 128)
    small = cut_alike(cv2.resize(picture, (192, 192), interpolation=cv2.INTER_AREA), how)
    found = align(small, cut_alike(picture, how))
    assert small.shape == (128, 128, 3)
    assert found is not None
    assert found.scale == pytest.approx(1, abs=SCALE_ERROR)
    assert found.shift < SHIFT_ERROR


def test_a_picture_of_another_aspect_is_not_cropped(picture: np.ndarray) -> None:
    with pytest.raises(ClipError, match="256x192 is not cropped as the reference, whose original has 256x256") as error:
        cut_alike(picture[:192], Cut(Crop(128, 120, 80), 256, 256, 128))
    assert error.value.reason == "size_mismatch"
