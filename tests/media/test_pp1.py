"""Preparing a clip: what is stored, what is hashed, what is rejected, and doing it again."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from floatbench.errors import ClipError, DataError, FloatbenchError
from floatbench.media import (
    ManifestRow,
    box_backend,
    load_prepared,
    prepare_clip,
    probe,
    read_clip,
    read_image,
    read_manifest,
    read_video,
    verify_prepared,
    write_lossless,
    write_manifest,
    write_wav,
)
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection
from floatbench.media.boxes_given import NoBoxes

Film = Callable[..., Path]
NAMES: dict[str, Any] = {"dataset": "test", "clip_id": "c/1", "identity": "p", "split": "s"}


class Drifting(BoxBackend):
    """A face that moves a pixel to the right every other frame; counts how often it was asked."""

    name = "given"

    def __init__(self, side: int = 40, missing: frozenset[int] = frozenset()) -> None:
        self.asked: list[int] = []
        self._side, self._missing = side, missing

    def info(self) -> BackendInfo:
        return BackendInfo("given", "test", {"boxes.csv": "0" * 64})

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        self.asked.append(frame)
        if frame in self._missing:
            return []
        left = 30 + frame // 2
        return [Detection(Box(left, 20, left + self._side, 20 + self._side))]


def tone(seconds: float) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * 16_000)) / 16_000)[None]


@pytest.fixture
def raw(film: Film) -> Path:
    return film("raw.mkv", frames=30, size=(160, 120), sound=tone(1.2))


def test_a_prepared_clip_holds_what_its_row_says(raw: Path, tmp_path: Path) -> None:
    row = prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=64, **NAMES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "audio.wav",
        "clip.json",
        "source.png",
        "video.mkv",
    ]
    media, source, read = load_prepared(tmp_path / "out")
    assert read == row
    assert media.frames.shape == (30, 64, 64, 3) and media.audio is not None and len(media.audio) == 30 * 640
    assert (media.pixels_sha256, media.pcm_sha256) == (row.pixels_sha256, row.pcm_sha256)
    np.testing.assert_array_equal(source, media.frames[0])
    info = probe(tmp_path / "out" / "video.mkv").video
    assert info is not None and (info.codec, info.pix_fmt, info.rate) == ("ffv1", "bgr0", 25.0)


def test_the_row_records_boxes_crop_indices_and_where_all_came_from(raw: Path, tmp_path: Path) -> None:
    row = prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=64, **NAMES)
    assert row.crop == (57, 40, 33)  # union 30..84 x 20..60: 1.6 x 20 = 32 against 0.6 x 54 = 32.4, rounded up
    assert len(row.boxes) == 30 and row.boxes[3] == (31, 20, 71, 60)
    assert row.source_index == tuple(range(30)) and row.t0_s == 0.0 and row.n_frames == 30
    assert (row.label, row.backend.name, row.backend.models) == ("pp1-given", "given", {"boxes.csv": "0" * 64})
    assert (row.source.width, row.source.height, row.source.pix_fmt) == (160, 120, "bgr0")
    assert {"av", "libavcodec", "opencv", "soxr", "numpy"} <= row.versions.keys()


def test_the_crop_is_cut_from_the_frame_that_the_time_line_names(film: Film, tmp_path: Path) -> None:
    raw = film("raw.mkv", frames=60, rate=30, size=(160, 120))
    row = prepare_clip(raw, tmp_path / "out", boxes=NoBoxes(), size=120, **NAMES)
    frames, rate = read_video(tmp_path / "out" / "video.mkv")
    assert rate == 25.0 and row.n_frames == 50
    np.testing.assert_array_equal(frames, read_clip(raw).frames[:, :, 20:140])
    assert list(row.source_index) == [round(1.2 * n) for n in range(50)]


def test_a_rerun_with_the_manifest_needs_no_detector_and_gives_the_same_hashes(raw: Path, tmp_path: Path) -> None:
    first = prepare_clip(raw, tmp_path / "a", boxes=Drifting(), size=64, start=0.1, **NAMES)
    again = prepare_clip(raw, tmp_path / "b", boxes=None, manifest_row=first, **NAMES)
    assert again == first
    assert (tmp_path / "a/clip.json").read_bytes() == (tmp_path / "b/clip.json").read_bytes()


def test_a_rerun_on_another_file_is_refused(raw: Path, film: Film, tmp_path: Path) -> None:
    row = prepare_clip(raw, tmp_path / "a", boxes=Drifting(), size=64, **NAMES)
    other = film("other.mkv", frames=31, size=(160, 120), sound=tone(1.2))
    with pytest.raises(ClipError, match="source_changed"):
        prepare_clip(other, tmp_path / "b", boxes=None, manifest_row=row, **NAMES)


def test_every_frame_is_looked_at_once(raw: Path, tmp_path: Path) -> None:
    boxes = Drifting(missing=frozenset({7}))
    row = prepare_clip(raw, tmp_path / "out", boxes=boxes, size=64, **NAMES)
    assert boxes.asked == list(range(30))
    assert row.boxes[7] is None and row.boxes.count(None) == 1


def test_a_lost_face_rejects_the_clip_and_writes_nothing(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="face_lost"):
        prepare_clip(raw, tmp_path / "out", boxes=Drifting(missing=frozenset({7, 9})), size=64, **NAMES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("size", "flags"), [(512, None), (100, ("upscaled",)), (64, ())])
def test_small_crops_are_rejected_or_flagged(raw: Path, tmp_path: Path, size: int, flags: tuple[str, ...]) -> None:
    if flags is None:
        with pytest.raises(ClipError, match="too_small"):
            prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=size, **NAMES)
        return
    row = prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=size, **NAMES)
    assert tuple(flag for flag in row.flags if flag == "upscaled") == flags


def test_no_sound_is_flagged_and_leaves_no_old_sound_behind(raw: Path, film: Film, tmp_path: Path) -> None:
    prepare_clip(raw, tmp_path / "out", boxes=NoBoxes(), size=64, **NAMES)
    row = prepare_clip(film("mute.mkv", size=(64, 64)), tmp_path / "out", boxes=NoBoxes(), size=64, **NAMES)
    assert row.flags == ("no_audio",) and row.pcm_sha256 == ""
    assert not (tmp_path / "out/audio.wav").exists()
    assert load_prepared(tmp_path / "out")[0].audio is None


def test_silence_is_stored_and_flagged_and_not_handed_to_metrics(film: Film, tmp_path: Path) -> None:
    raw = film(size=(64, 64), sound=np.zeros((1, 20_000)))
    row = prepare_clip(raw, tmp_path / "out", boxes=NoBoxes(), size=64, **NAMES)
    assert row.flags == ("silent",) and len(row.pcm_sha256) == 64
    assert load_prepared(tmp_path / "out")[0].audio is None


def test_memory_does_not_grow_with_the_clip(film: Film, tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        raw = film(f"{frames}.mp4", frames=frames, size=(640, 480), codec="mpeg4", pix_fmt="yuv420p", format="mp4")
        tracemalloc.start()
        prepare_clip(raw, tmp_path / "out", boxes=NoBoxes(), size=64, **NAMES)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(200) < peak(40) + 2 * 640 * 480 * 3  # 160 further pictures would be 147 MB


# --- verify


def test_verify_tells_exact_equivalent_and_different_apart(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    row = prepare_clip(raw, folder, boxes=Drifting(), size=64, **NAMES)
    assert verify_prepared(folder).state == "exact"
    assert verify_prepared(folder, video=raw).state == "exact"

    frames, _ = read_video(folder / "video.mkv")
    for step, state in ((1, "equivalent"), (2, "equivalent"), (3, "different")):
        changed = frames.copy()
        changed[5, 3, 4, 1] = changed[5, 3, 4, 1] + step if changed[5, 3, 4, 1] < 128 else changed[5, 3, 4, 1] - step
        write_lossless(folder / "video.mkv", changed)
        assert verify_prepared(folder).state == "different"  # hashes alone cannot tell how far
        result = verify_prepared(folder, video=raw)
        assert (result.state, result.max_pixel_difference, result.max_sample_difference) == (state, step, 0)
    write_lossless(folder / "video.mkv", frames)

    media, _, _ = load_prepared(folder)
    assert media.audio is not None
    for step, state in ((2, "equivalent"), (3, "different")):
        pcm = media.audio.copy()
        pcm[100] += step
        write_wav(folder / "audio.wav", pcm)
        result = verify_prepared(folder, video=raw)
        assert (result.state, result.max_sample_difference) == (state, step)
    write_wav(folder / "audio.wav", media.audio)

    moved = row.model_copy(update={"crop": (row.crop[0] + 1, *row.crop[1:])})
    assert verify_prepared(folder, published=moved).state == "different"
    shorter = row.model_copy(update={"n_frames": 29})
    assert "n_frames" in verify_prepared(folder, published=shorter).detail


def test_verify_with_another_raw_file_is_different(raw: Path, film: Film, tmp_path: Path) -> None:
    prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=64, **NAMES)
    other = film("other.mkv", frames=30, size=(160, 120))
    assert verify_prepared(tmp_path / "out", video=other).state == "different"


def test_a_stored_clip_that_was_changed_is_not_loaded(raw: Path, tmp_path: Path) -> None:
    prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=64, **NAMES)
    frames, _ = read_video(tmp_path / "out/video.mkv")
    frames[0, 0, 0, 0] ^= 1
    write_lossless(tmp_path / "out/video.mkv", frames)
    with pytest.raises(ClipError, match="damaged"):
        load_prepared(tmp_path / "out")


def test_a_folder_cut_off_while_it_was_written_is_not_prepared(raw: Path, tmp_path: Path) -> None:
    prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=64, **NAMES)
    text = (tmp_path / "out/clip.json").read_text()
    for broken in (
        "",
        text[: len(text) // 2],
        "[]",
        text.replace('"pp1"', '"pp3"', 1),
        text.replace('"pp1"', '"pp2"', 1),
    ):
        (tmp_path / "out/clip.json").write_text(broken)
        with pytest.raises(DataError):
            load_prepared(tmp_path / "out")
    (tmp_path / "out/clip.json").unlink()
    with pytest.raises(DataError, match="no prepared clip"):
        load_prepared(tmp_path / "out")
    (tmp_path / "out/clip.json").write_text(text)
    video = (tmp_path / "out/video.mkv").read_bytes()
    (tmp_path / "out/video.mkv").write_bytes(video[: len(video) // 2])
    with pytest.raises(ClipError):
        load_prepared(tmp_path / "out")


def test_the_manifest_is_json_lines_that_come_back(raw: Path, tmp_path: Path) -> None:
    row = prepare_clip(raw, tmp_path / "out", boxes=Drifting(), size=64, **NAMES)
    odd = row.model_copy(update={"clip_id": "a \u2028 'b'\n\"c\""})
    write_manifest(tmp_path / "manifest.jsonl", [row, odd])
    assert read_manifest(tmp_path / "manifest.jsonl") == [odd, row]
    assert [json.loads(line)["clip_id"] for line in (tmp_path / "manifest.jsonl").open(encoding="utf-8")][1] == "c/1"
    with (tmp_path / "manifest.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"spec": "pp1"}\n')
    with pytest.raises(DataError, match="line 3: label"):
        read_manifest(tmp_path / "manifest.jsonl")


def test_the_row_has_a_json_schema() -> None:
    assert {"crop", "boxes", "source_index", "pixels_sha256", "versions"} <= set(
        ManifestRow.model_json_schema()["properties"]
    )


def test_back_ends_are_found_by_name(tmp_path: Path) -> None:
    assert box_backend("none").name == "none"
    (tmp_path / "b.csv").write_text("left,top,right,bottom\n0,0,9,9\n")
    assert box_backend("given", file=tmp_path / "b.csv").name == "given"
    for name in ("s3fd", "mediapipe"):
        with pytest.raises(DataError, match="not on this machine"):
            box_backend(name)
    for name in ("given", "dlib"):
        with pytest.raises(FloatbenchError):
            box_backend(name)


def test_pictures_come_from_the_stored_source(raw: Path, tmp_path: Path) -> None:
    prepare_clip(raw, tmp_path / "out", boxes=NoBoxes(), size=120, **NAMES)
    np.testing.assert_array_equal(read_image(tmp_path / "out/source.png"), read_video(raw)[0][0][:, 20:140])


def test_the_lossless_store_is_ffv1_level_3(raw: Path, tmp_path: Path) -> None:
    prepare_clip(raw, tmp_path / "out", boxes=NoBoxes(), size=64, **NAMES)
    with av.open(str(tmp_path / "out/video.mkv")) as container:
        extradata = container.streams.video[0].codec_context.extradata
        assert extradata  # only version 3 and above has a configuration record
