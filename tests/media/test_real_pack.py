"""The sample pack: expected lengths of every clip, and crops of real faces."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floatbench.errors import ClipError
from floatbench.media import crop_still, prepare_clip, read_audio, read_image
from floatbench.media.boxes_mediapipe import MediapipeBoxes
from floatbench.media.clip import put_on_time_line


def test_every_clip_has_exactly_the_expected_frames_and_samples(shared: Path) -> None:
    root = shared / "data/real"
    with (root / "CHECKS.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 18
    found, expected, flagged = {}, {}, {}
    for row in rows:
        second = root / "audio/EDTalk/mouth_source.wav" if "mouth_source" in row["file"] else None
        timed = put_on_time_line(root / row["file"], second)
        found[row["file"]] = (timed.line.n_frames, None if timed.pcm is None else len(timed.pcm))
        expected[row["file"]] = (int(row["pp1_frames"]), int(row["pp1_pcm_samples"] or 0) or None)
        flagged[row["file"]] = timed.flags
    assert found == expected
    assert {name: flags for name, flags in flagged.items() if flags} == {
        "video/LivePortrait/d3.mp4": ("silent",),
        "video/LivePortrait/d0.mp4": ("no_audio",),
    }


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("AniTalker/speech4.wav", 31.44),  # MP3 inside
        ("EAMM/sample2.mov", 6.316),  # sound only
        ("SadTalker/deyu.wav", 9.343),  # 24 bit
        ("echomimic/echomimic_en.wav", 5.237),  # 24 kHz
        ("hallo/1.wav", 7.5),  # 44.1 kHz stereo
    ],
)
def test_odd_sound_files_are_read_whole(shared: Path, name: str, seconds: float) -> None:
    assert len(read_audio(shared / "data/real/audio" / name)) / 16_000 == pytest.approx(seconds, abs=0.001)


def test_a_film_without_pictures_is_no_video(shared: Path) -> None:
    with pytest.raises(ClipError, match="no_video"):
        put_on_time_line(shared / "data/real/audio/EAMM/sample2.mov")


@pytest.fixture(scope="module")
def landmarker(shared: Path) -> Iterator[MediapipeBoxes]:
    pytest.importorskip("mediapipe")
    with MediapipeBoxes(shared / "data/models/face_landmarker_v2_with_blendshapes.task") as boxes:
        yield boxes


def test_mediapipe_comes_close_to_the_published_crop(shared: Path, landmarker: MediapipeBoxes) -> None:
    detections = landmarker.detect(read_image(shared / "data/real/portrait/float/sam_altman.webp"), 0)
    assert len(detections) == 1
    left, top, right, bottom = detections[0].box
    assert (left + right) / 2 == pytest.approx(489, abs=9)  # no sideways shift is made: 0.024 x 342 to the right
    assert (top + bottom) / 2 == pytest.approx(339, abs=2)
    assert right - left == pytest.approx(380, abs=2)


def test_boxes_of_mediapipe_are_found_without_a_word(shared: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from floatbench.media.boxes_mediapipe import MediapipeBoxes\n"
        "with MediapipeBoxes(Path(sys.argv[1])) as boxes: print(boxes.detect(np.zeros((64, 64, 3), np.uint8), 0))"
    )
    model = shared / "data/models/face_landmarker_v2_with_blendshapes.task"
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_a_picture_without_a_face_is_refused(shared: Path, landmarker: MediapipeBoxes) -> None:
    with pytest.raises(ClipError, match="no_face"):
        crop_still(read_image(shared / "data/real/portrait/LivePortrait/s23.jpg"), landmarker)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("SadTalker/WDA_AlexandriaOcasioCortez_000.mp4", ("padded",)),
        ("LipNet/lwbsza.mpg", "too_small"),
        ("LivePortrait/d0.mp4", ("no_audio", "padded", "upscaled")),
    ],
)
def test_real_clips_are_prepared_flagged_or_rejected(
    shared: Path, landmarker: MediapipeBoxes, tmp_path: Path, name: str, outcome: str | tuple[str, ...]
) -> None:
    names = {"dataset": "real", "clip_id": name, "identity": name, "split": "all"}
    video = shared / "data/real/video" / name
    if isinstance(outcome, str):
        with pytest.raises(ClipError, match=outcome):
            prepare_clip(video, tmp_path / "out", boxes=landmarker, **names)
        return
    row = prepare_clip(video, tmp_path / "out", boxes=landmarker, **names)
    assert (row.label, row.flags) == ("pp1-mp", outcome)


@pytest.mark.parametrize("opened", ["MediapipeBoxes({!r})", "FaceLandmarker(Path({!r}))"])
def test_the_log_lines_of_mediapipe_are_never_seen(shared: Path, opened: str) -> None:
    pytest.importorskip("mediapipe")
    model = str(shared / "data/models/face_landmarker_v2_with_blendshapes.task")
    work = {
        "MediapipeBoxes({!r})": "seen.detect(frames[0], 0); seen.close()",
        "FaceLandmarker(Path({!r}))": "seen.load(); seen.extract(ClipMedia(frames))",
    }
    code = f"""
from pathlib import Path
import numpy as np
from floatbench.media.boxes_mediapipe import MediapipeBoxes
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.types import ClipMedia
frames = np.zeros((2, 64, 64, 3), np.uint8)
seen = {opened.format(model)}
{work[opened]}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
