"""What the writers write is what the readers read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import ClipError
from floatbench.media import (
    LosslessWriter,
    Mp4Writer,
    probe,
    read_audio,
    read_image,
    read_video,
    write_image,
    write_lossless,
    write_mp4,
    write_wav,
)
from floatbench.media.frames import read_pictures
from floatbench.media.sound import loudness_dbfs, to_int16


def noise(frames: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def smooth(frames: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [np.stack([x * 255 // width, y * 255 // height, (x + 5 * t) % 200], axis=-1) for t in range(frames)]
    return np.stack(planes).astype(np.uint8)


def tone(samples: int, hertz: float = 440.0) -> np.ndarray:
    return np.rint(9000 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16000)).astype(np.int16)


@pytest.mark.parametrize("size", [(64, 64), (33, 47), (1, 1)])
def test_lossless_round_trip_is_exact_for_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = noise(7, *size)
    write_lossless(tmp_path / "clip.mkv", frames)
    read, rate = read_video(tmp_path / "clip.mkv")
    assert rate == 25.0
    np.testing.assert_array_equal(read, frames)
    info = probe(tmp_path / "clip.mkv").video
    assert info is not None and (info.codec, info.pix_fmt) == ("ffv1", "bgr0")


def test_mp4_keeps_length_rate_sound_and_every_tag(tmp_path: Path) -> None:
    frames, sound = smooth(30, 64, 96), tone(30 * 640)
    tags = {"title": "hé", "floatbench run": '{"seed": 1}\nsecond line', "long": "v" * 5000}
    write_mp4(tmp_path / "clip.mp4", frames, sound, tags)
    read, rate = read_video(tmp_path / "clip.mp4")
    assert (read.shape, rate) == (frames.shape, 25.0)
    assert np.abs(read.astype(int) - frames).mean() < 3
    assert tags.items() <= probe(tmp_path / "clip.mp4").metadata.items()
    heard = read_audio(tmp_path / "clip.mp4").astype(float)
    lags = [np.dot(heard[1000 + lag : 15000 + lag], sound[1000:15000]) for lag in range(-18, 19)]
    assert int(np.argmax(lags)) - 18 == 0  # the encoder's priming is taken off again


def test_mp4_of_odd_size_gets_the_last_row_and_column_twice(tmp_path: Path) -> None:
    frames = smooth(3, 33, 47)
    write_mp4(tmp_path / "clip.mp4", frames)
    read, _ = read_video(tmp_path / "clip.mp4")
    assert read.shape == (3, 34, 48, 3)
    assert np.abs(read[:, :33, :47].astype(int) - frames).mean() < 4


def test_mp4_cuts_the_sound_at_the_last_picture(tmp_path: Path) -> None:
    write_mp4(tmp_path / "clip.mp4", smooth(25, 32, 32), tone(64000))
    assert 16000 <= len(read_audio(tmp_path / "clip.mp4")) <= 16000 + 1024  # AAC works in blocks of 1024


def test_mp4_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(tmp_path / name, smooth(30, 64, 64), tone(30 * 640), {"k": "v"})
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_mp4_bytes_do_not_depend_on_what_the_memory_held_before(tmp_path: Path) -> None:
    """x264 on AVX-512 gave up to six files of six for these pictures."""
    rng = np.random.default_rng(0)
    frames = noise(30, 25, 25).repeat(8, axis=1).repeat(8, axis=2)
    made = set()
    for _ in range(6):
        junk = [np.full(size, 255, np.uint8) for size in rng.integers(1, 3_000_000, 8)]
        del junk
        write_mp4(tmp_path / "a.mp4", frames)
        made.add((tmp_path / "a.mp4").read_bytes())
    assert len(made) == 1


def test_wav_round_trip_is_exact(tmp_path: Path) -> None:
    pcm = np.random.default_rng(0).integers(-32768, 32768, 1777).astype(np.int16)
    write_wav(tmp_path / "a.wav", pcm)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), pcm)


def test_png_round_trip_is_exact(tmp_path: Path) -> None:
    picture = noise(1, 17, 19)[0]
    write_image(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("writer", [LosslessWriter, Mp4Writer])
def test_a_writer_that_fails_leaves_no_file(tmp_path: Path, writer: type[LosslessWriter | Mp4Writer]) -> None:
    with pytest.raises(RuntimeError, match="stop"), writer(tmp_path / "clip.mkv", 32, 32) as out:
        out.write(noise(1, 32, 32)[0])
        raise RuntimeError("stop")
    with pytest.raises(ValueError, match="no picture"), writer(tmp_path / "clip.mkv", 32, 32):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_writer_refuses_a_picture_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected"), LosslessWriter(tmp_path / "clip.mkv", 32, 32) as out:
        out.write(noise(1, 32, 31)[0])


def test_single_pictures_of_a_lossless_file_are_read_without_the_others(tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (40, 48, 64, 3), np.uint8)
    file = tmp_path / "a.mkv"
    write_lossless(file, frames)
    for numbers in ([39, 0, 7, 7, 8], range(3, 40, 12)):
        assert np.array_equal(read_pictures(file, numbers), frames[list(numbers)])
    with pytest.raises(ClipError, match="picture 40 is missing"):
        read_pictures(file, [2, 40])
    write_mp4(tmp_path / "a.mp4", frames)
    with pytest.raises(ClipError, match="picture 7 is missing"):
        read_pictures(tmp_path / "a.mp4", [7])


def test_ten_minutes_of_sound_are_converted_and_heard_without_a_wider_copy_of_them():
    """Full-scale-1 samples are 38 MB; int16 of them 19 MB, which is what must come out."""
    sound = np.zeros(10 * 60 * 16000, np.float32)
    sound[::100] = 0.5
    tracemalloc.start()
    try:
        pcm = to_int16(sound)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * pcm.nbytes
        tracemalloc.reset_peak()
        assert loudness_dbfs(pcm) == pytest.approx(20 * np.log10(0.5 / 10), abs=1e-12)
        assert tracemalloc.get_traced_memory()[1] < 1.5 * pcm.nbytes
    finally:
        tracemalloc.stop()
