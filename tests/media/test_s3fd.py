"""The S3FD back end with seeded random weights: what reaches the network, and that all of it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from floatbench.media import prepare_clip, write_lossless
from floatbench.media.boxes import Box, Detection
from floatbench.media.boxes_s3fd import S3fdBoxes, fabricate_s3fd
from floatbench.media.pp1 import load_prepared

pytest.importorskip("face_alignment")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> S3fdBoxes:
    file = tmp_path_factory.mktemp("s3fd") / "s3fd.pth"
    fabricate_s3fd(file, 0)
    return S3fdBoxes(weights_file=file)


@pytest.mark.slow
def test_the_network_sees_blue_green_red_at_height_360(boxes: S3fdBoxes) -> None:
    seen: list[tuple[int, ...]] = []
    handle = boxes._detector.face_detector.register_forward_pre_hook(
        lambda _, inputs: seen.append((*inputs[0].shape, *inputs[0][0, :, 0, 0].int().tolist()))
    )
    picture = np.zeros((720, 400, 3), np.uint8)
    picture[..., 0], picture[..., 2] = 200, 10  # red and blue
    found = boxes.detect(picture, 0)
    handle.remove()
    assert seen == [(1, 3, 360, 200, 10 - 104, 0 - 117, 200 - 123)]
    assert found and all(isinstance(value, int) for value in found[0].box)
    assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


class InnerBoxes(S3fdBoxes):
    """Random weights see faces everywhere: keeps those around the middle, so that the crop lies in the picture."""

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        height, width = rgb.shape[:2]
        return [d for d in super().detect(rgb, frame) if _central(d.box, width, height)]


def _central(box: Box, width: int, height: int) -> bool:
    off_centre = (abs(box.left + box.right - width), abs(box.top + box.bottom - height))
    return max(off_centre) < height / 4 and box.longer < height / 2


@pytest.mark.slow
def test_a_clip_is_prepared_end_to_end(tmp_path: Path) -> None:
    fabricate_s3fd(tmp_path / "s3fd.pth", 0)
    frames = np.random.default_rng(0).integers(0, 256, (25, 360, 480, 3), dtype=np.uint8)
    write_lossless(tmp_path / "raw.mkv", frames)
    names = {"dataset": "d", "clip_id": "c", "identity": "i", "split": "s"}
    with InnerBoxes(weights_file=tmp_path / "s3fd.pth") as boxes:
        row = prepare_clip(tmp_path / "raw.mkv", tmp_path / "out", boxes=boxes, size=64, **names)
    assert row.label == "pp1" and len(row.boxes) == 25 and row.backend.name == "s3fd"
    media, source, _ = load_prepared(tmp_path / "out")
    assert media.frames.shape == (25, 64, 64, 3) and source.shape == (64, 64, 3)
