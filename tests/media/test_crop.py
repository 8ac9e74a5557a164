"""The pp1 crop: FLOAT's own numbers, borders, filters, and following one face."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatbench.errors import ClipError, DataError
from floatbench.media import crop as cropping
from floatbench.media import crop_still, read_image
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection, FaceFollower, iou
from floatbench.media.boxes_given import GivenBoxes, NoBoxes
from floatbench.media.boxes_mediapipe import square_box
from floatbench.media.crop import Crop


class FixedBoxes(BoxBackend):
    name = "given"

    def __init__(self, *boxes: Box) -> None:
        self._boxes = boxes

    def info(self) -> BackendInfo:
        return BackendInfo("given", "test")

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        return [Detection(box) for box in self._boxes]


def float_rule(left: int, top: int, right: int, bottom: int) -> tuple[int, int, int]:
    """FLOAT's still crop in the words of the data specification: halves truncated, 1.6 times the larger one."""
    half = max(int((bottom - top) / 2), int((right - left) / 2))
    return int((left + right) / 2), int((top + bottom) / 2), int(half * 1.6)


corner = st.integers(-300, 3000)


@given(corner, corner, st.integers(10, 1500), st.integers(10, 1500))
def test_a_still_gives_floats_own_box(left: int, top: int, width: int, height: int) -> None:
    box = Box(left, top, left + width, top + height)
    assert cropping.from_boxes([box]) == float_rule(*box)


def test_the_golden_box_gives_the_published_crop_numbers() -> None:
    # S3FD's side was 380 or 381 on that picture (half side 304); centre (489, 339)
    assert cropping.from_boxes([Box(299, 149, 679, 529)]) == Crop(489, 339, 304)
    assert cropping.from_boxes([Box(299, 149, 680, 530)]) == Crop(489, 339, 304)


def test_golden_crop_of_the_published_picture(shared: Path) -> None:
    folder = shared / "data/real/portrait/float"
    ours = crop_still(read_image(folder / "sam_altman.webp"), FixedBoxes(Box(299, 149, 679, 529))).astype(float)
    theirs = read_image(folder / "sam_altman_512x512.jpg").astype(float)
    psnr = 10 * np.log10(255**2 / np.mean((ours - theirs) ** 2))
    assert psnr >= 45


def test_median_side_and_union_decide_together() -> None:
    still = [Box(100, 100, 200, 200)] * 9
    assert cropping.from_boxes([*still, Box(110, 100, 230, 220)]) == Crop(165, 160, 80)  # 1.6 x 50 against 0.6 x 130
    travel = [Box(100 + x, 100, 200 + x, 200) for x in range(0, 201, 10)]
    assert cropping.from_boxes(travel) == Crop(250, 150, 180)  # 0.6 x 300 wins
    assert cropping.from_boxes([None, *travel, None]) == Crop(250, 150, 180)


def test_outside_the_picture_it_is_black_and_the_share_is_exact() -> None:
    picture = np.full((100, 80, 3), 200, np.uint8)
    crop = Crop(40, 50, 64)
    out = cropping.cut(picture, crop, 128)
    assert out.shape == (128, 128, 3)
    assert (out == 200).all(axis=-1).sum() == 100 * 80
    assert (out[14:114, 24:104] == 200).all() and not out[:14].any() and not out[:, :24].any()
    assert cropping.padded_share(crop, 100, 80) == pytest.approx(1 - 8000 / 128**2)


def test_a_crop_beside_the_picture_is_all_padding() -> None:
    assert cropping.padded_share(Crop(500, 500, 50), 100, 100) == 1
    assert not cropping.cut(np.full((100, 100, 3), 9, np.uint8), Crop(500, -500, 50), 100).any()


@pytest.mark.parametrize(("half", "method"), [(100, cv2.INTER_CUBIC), (200, cv2.INTER_AREA), (128, None)])
def test_area_shrinks_cubic_enlarges_and_equal_size_is_copied(half: int, method: int | None) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    square = picture[256 - half : 256 + half, 256 - half : 256 + half]
    expected = square if method is None else cv2.resize(square, (256, 256), interpolation=method)
    np.testing.assert_array_equal(cropping.cut(picture, Crop(256, 256, half), 256), expected)


@pytest.mark.parametrize(
    ("half", "names"), [(127, "too_small"), (128, ("upscaled",)), (255, ("upscaled",)), (256, ()), (400, ())]
)
def test_small_crops_are_rejected_or_flagged(half: int, names: str | tuple[str, ...]) -> None:
    if isinstance(names, str):
        with pytest.raises(ClipError, match=names):
            cropping.flags(Crop(500, 500, half), 1000, 1000)
    else:
        assert cropping.flags(Crop(500, 500, half), 1000, 1000) == names


def test_padding_is_flagged_and_above_a_quarter_rejected() -> None:
    assert cropping.flags(Crop(300, 300, 300), 600, 450) == ("padded",)  # exactly a quarter
    with pytest.raises(ClipError, match="padding"):
        cropping.flags(Crop(300, 300, 300), 600, 449)


def test_whole_picture_of_a_square_video_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    np.testing.assert_array_equal(crop_still(picture, NoBoxes()), picture)
    assert cropping.whole_picture(480, 640) == Crop(320, 240, 240)


def test_mediapipe_box_follows_the_measured_ratios() -> None:
    # landmark box 276.1 x 342.5 around (497.1, 359.8): side 1.11 x 342.5, centre 0.061 x 342.5 higher
    points = np.array([(497.1 - 138.05, 359.8 - 171.25), (497.1 + 138.05, 359.8 + 171.25)])
    box = square_box(points)
    assert box == Box(int(497.1 - 190.0875), int(338.9075 - 190.0875), int(497.1 + 190.0875), int(338.9075 + 190.0875))


# --- following one face


def run(track: FaceFollower, frames: Sequence[Sequence[Box]]) -> list[Box | None]:
    for boxes in frames:
        track.add([Detection(box) for box in boxes])
    return track.boxes


BIG, SMALL = Box(100, 100, 300, 300), Box(500, 100, 600, 200)


def test_the_largest_face_of_frame_0_is_followed_even_when_another_grows() -> None:
    huge = Box(400, 0, 900, 500)
    assert run(FaceFollower(3), [[SMALL, BIG], [huge, BIG], [BIG, huge]]) == [BIG, BIG, BIG]


def test_scores_decide_who_may_start_and_who_may_go_on() -> None:
    track = FaceFollower(2, start_score=0.95, follow_score=0.5)
    track.add([Detection(BIG, 0.9), Detection(SMALL, 0.96)])
    track.add([Detection(SMALL, 0.6)])
    assert track.boxes == [SMALL, SMALL]
    with pytest.raises(ClipError, match="no_face"):
        FaceFollower(2, start_score=0.95).add([Detection(BIG, 0.9)])


def test_five_percent_may_be_missing_and_not_one_frame_more() -> None:
    frames = [[BIG]] * 95 + [[]] * 5
    assert run(FaceFollower(100), frames).count(None) == 5
    with pytest.raises(ClipError, match="face_lost"):
        run(FaceFollower(100), [[BIG]] * 94 + [[]] * 6)


def test_twelve_missing_in_a_row_are_borne_and_thirteen_are_not() -> None:
    assert run(FaceFollower(1000), [[BIG]] + [[]] * 12 + [[BIG]]).count(None) == 12
    with pytest.raises(ClipError, match="face_lost"):
        run(FaceFollower(1000), [[BIG]] + [[]] * 13)


def test_a_face_that_drifts_away_from_its_first_box_has_moved() -> None:
    steps = [[Box(100 + x, 100, 300 + x, 300)] for x in range(0, 200, 20)]
    assert len(run(FaceFollower(100), steps[:6])) == 6  # overlap with the first box 100 of 300
    with pytest.raises(ClipError, match="moved"):
        run(FaceFollower(100), steps[:7])  # 80 of 320 is exactly 0.25


def test_a_jump_to_another_face_is_a_missing_frame() -> None:
    assert run(FaceFollower(100), [[BIG], [SMALL], [BIG]]) == [BIG, None, BIG]


@given(st.tuples(corner, corner, corner, corner), st.tuples(corner, corner, corner, corner))
def test_iou_is_a_symmetric_share(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> None:
    first, second = Box(*a), Box(*b)
    assert 0 <= iou(first, second) <= 1
    assert iou(first, second) == iou(second, first)
    assert iou(first, first) in (0.0, 1.0)


# --- boxes of one's own


def test_own_boxes_from_csv_and_json_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text(
        "\ufeffclip_id,frame,left,top,right,bottom\na,0,1,2,11,12.9\na,1,2,2,12,12\nb,,0,0,9,9\n", encoding="utf-8"
    )
    (tmp_path / "b.json").write_text('{"a": [[0, 1, 2, 11, 12.9], [1, 2, 2, 12, 12]], "b": [0, 0, 9, 9]}')
    for name in ("b.csv", "b.json"):
        boxes, picture = GivenBoxes(tmp_path / name), np.zeros((20, 20, 3), np.uint8)
        boxes.begin("a")
        assert [boxes.detect(picture, n) for n in range(3)] == [
            [Detection(Box(1, 2, 11, 12))],
            [Detection(Box(2, 2, 12, 12))],
            [],
        ]
        boxes.begin("b")
        assert boxes.detect(picture, 7) == [Detection(Box(0, 0, 9, 9))]
        with pytest.raises(DataError, match="'c'"):
            boxes.begin("c")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "left,top,right\n1,2,3\n",
        "left,top,right,bottom,colour\n1,2,3,4,5\n",
        "left,top,right,bottom\n1,2,x,4\n",
        "left,top,right,bottom\n1,2,nan,4\n",
        "left,top,right,bottom\n5,2,1,4\n",
        "left,top,right,bottom\n",
        "left,top,right,bottom\n1,2\n",
        "frame,left,top,right,bottom\n-1,1,2,3,4\n-1,1,2,3,4\n",
        "frame,left,top,right,bottom\n0,1,2,3,4\n0,1,2,3,4\n",
        "{",
        '{"a": [1, 2, 3]}',
        '{"a": 7}',
        "{}",
    ],
)
def test_boxes_that_cannot_be_understood_are_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes").write_text(text)
    with pytest.raises(DataError, match="face boxes in"):
        GivenBoxes(tmp_path / "boxes")
