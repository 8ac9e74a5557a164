"""`hdtf-long` from files of one's own to a score, on a made-up recording under the name of one of HDTF's videos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from floatbench.cli.app import main
from floatbench.media.writers import Mp4Writer
from floatbench.protocol.load import load_protocol
from floatbench.synthetic.clip import SyntheticClip

CLIP = "WRA_MarshaBlackburn0_000-60s"
HEIGHT, WIDTH = 180, 320


def record(folder: Path) -> None:
    """A drawn person of 63 s in the annotated square of the picture; the window is seconds 2 to 62."""
    clip = next(clip for clip in load_protocol("hdtf-long").clips if clip.id == CLIP)
    assert clip.face is not None and (clip.start_s, clip.end_s) == (2, 62)
    left, top, side = (round(length * HEIGHT) for length in clip.face[:3])
    drawn = SyntheticClip(90100, 0, 63.0)
    with Mp4Writer(folder / f"{clip.video}.mp4", WIDTH, HEIGHT, drawn.audio(), preset="ultrafast") as out:
        for frame in drawn.frames(64):
            picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            picture[top : top + side, left : left + side] = cv2.resize(frame, (side, side))
            out.write(picture)


def call(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--quiet"])
    assert ended.value.code in (0, 1)  # 1: the other 67 recordings are not here


@pytest.mark.slow
def test_a_minute_under_the_name_of_a_recording_is_fetched_prepared_and_scored(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / "home"))
    (tmp_path / "mine").mkdir()
    record(tmp_path / "mine")
    size = ("--boxes", "none", "--size", "128")
    call("protocol", "fetch", "hdtf-long", "--from", str(tmp_path / "mine"), "--clip", CLIP, "--offline")
    call("protocol", "prepare", "hdtf-long", *size)
    call(
        "run", "--protocol", "hdtf-long", *size, "--clips", CLIP, "--methods", "reference,fading", "--no-controls",
        "--metrics", "drift-sharpness-frame,drift-csim-tiny", "--workers", "0", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    cells = json.loads((tmp_path / "run" / "scores.json").read_text())["scores"]
    found = {(cell["method"], cell["metric"]): cell["value"] for cell in cells}
    assert found["fade:20", "drift-sharpness-frame"] > 0.2 > found["reference", "drift-sharpness-frame"]
    assert found["fade:20", "drift-csim-tiny"] > found["reference", "drift-csim-tiny"]
