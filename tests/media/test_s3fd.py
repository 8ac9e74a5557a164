"""The S3FD back end with seeded random weights: what reaches the network, and that all of it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from floatbench.media import prepare_clip, write_lossless
from floatbench.media.boxes_s3fd import S3fdBoxes, fabricate_s3fd

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


@pytest.mark.slow
def test_a_clip_is_prepared_end_to_end_or_rejected_with_a_reason(boxes: S3fdBoxes, tmp_path: Path) -> None:
    from floatbench.errors import ClipError

    frames = np.random.default_rng(0).integers(0, 256, (25, 360, 480, 3), dtype=np.uint8)
    write_lossless(tmp_path / "raw.mkv", frames)
    names = {"dataset": "d", "clip_id": "c", "identity": "i", "split": "s"}
    try:
        row = prepare_clip(tmp_path / "raw.mkv", tmp_path / "out", boxes=boxes, size=64, **names)
        assert row.label == "pp1" and len(row.boxes) == 25
    except ClipError as error:  # random boxes may well lie at the border
        assert error.reason in {"padding", "face_lost", "moved"}
