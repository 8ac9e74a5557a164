"""Reading videos of every kind: which picture and which samples a clip shows."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import ClipError
from floatbench.media import clip, probe, read_audio, read_clip, read_video, write_wav
from floatbench.media.clip import put_on_time_line, scan, timed_frames
from floatbench.media.frames import iterate

Film = Callable[..., Path]
Greys = Callable[[np.ndarray], list[int]]


def tone(seconds: float, rate: int = 16_000, level: float = 0.5, channels: int = 1) -> np.ndarray:
    wave = level * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None], channels, axis=0)


def test_a_25_fps_clip_comes_back_picture_by_picture_and_sample_by_sample(film: Film, greys: Greys) -> None:
    sound = tone(1.2)
    clip = read_clip(film(frames=30, sound=sound))
    assert greys(clip.frames) == list(range(30))
    assert clip.audio is not None
    np.testing.assert_array_equal(clip.audio, np.rint(sound[0] * 32768).astype(np.int16)[: 30 * 640])


def test_30_fps_is_retimed_by_nearest_stamp(film: Film, greys: Greys) -> None:
    clip = read_clip(film(frames=60, rate=Fraction(30)))
    assert greys(clip.frames) == [round(n * 1.2) for n in range(50)]


def test_variable_rate_shows_the_picture_that_is_nearest_in_time(film: Film, greys: Greys) -> None:
    stamps = np.cumsum([0.05] + [0.04, 0.08, 0.02, 0.06] * 10)
    path = film(frames=len(stamps), stamps=stamps.tolist())
    clip = read_clip(path)
    times = 0.05 + np.arange(clip.n_frames) / 25
    assert greys(clip.frames) == [int(np.argmin(np.abs(stamps - time).round(6))) for time in times]
    frames, _ = read_video(path)
    assert greys(frames) == list(range(len(stamps)))  # not retimed


def test_a_window_selects_source_time(film: Film, greys: Greys) -> None:
    sound = tone(4) * np.linspace(0, 1, 64_000)
    path = film(frames=100, sound=sound)
    whole, part = read_clip(path), read_clip(path, start=1.0, end=3.0)
    assert greys(part.frames) == list(range(25, 75))
    assert whole.audio is not None and part.audio is not None
    np.testing.assert_array_equal(part.audio, whole.audio[16_000:48_000])


def test_a_window_of_resampled_sound_equals_the_cut_of_the_whole(film: Film) -> None:
    path = film(frames=200, sound=tone(8, rate=44_100), sound_rate=44_100)
    whole, part = read_clip(path), read_clip(path, start=5.0, end=7.0)
    assert whole.audio is not None and part.audio is not None
    difference = part.audio.astype(int) - whole.audio[80_000:112_000]
    assert np.abs(difference).max() <= 1


def test_sound_from_a_second_file_replaces_the_videos_own(film: Film, tmp_path: Path) -> None:
    pcm = np.random.default_rng(0).integers(-9000, 9000, 20_000).astype(np.int16)
    write_wav(tmp_path / "other.wav", pcm)
    clip = read_clip(film(frames=32, sound=tone(1.28)), tmp_path / "other.wav")
    assert clip.n_frames == 32  # 20,000 samples are 1.25 s: within one frame of 32 pictures
    assert clip.audio is not None
    np.testing.assert_array_equal(clip.audio[:20_000], pcm)
    assert not clip.audio[20_000:].any()


def test_stereo_is_mixed_by_the_mean(film: Film) -> None:
    left, right = tone(1.2, level=0.5)[0], tone(1.2, level=0.1)[0]
    clip = read_clip(film(frames=30, sound=np.stack([left, right])))
    assert clip.audio is not None
    # not 1.414 times as loud, as libswresample's float downmix is
    np.testing.assert_allclose(clip.audio / 32768, (left + right)[: 30 * 640] / 2, atol=2 / 32768)


@pytest.mark.parametrize("rate", [8_000, 22_050, 24_000, 44_100, 48_000])
def test_every_rate_gives_640_samples_a_frame_in_place(film: Film, rate: int) -> None:
    clip = read_clip(film(frames=30, sound=tone(1.2, rate=rate), sound_rate=rate))
    assert clip.audio is not None and len(clip.audio) == 640 * 30
    middle = slice(2_000, 17_000)
    np.testing.assert_allclose(clip.audio[middle] / 32768, tone(1.2)[0][middle], atol=2e-3)


def test_late_sound_sets_the_origin_and_keeps_both_in_step(film: Film, greys: Greys) -> None:
    clip = read_clip(film(frames=60, sound=tone(3), sound_start=0.4))
    assert greys(clip.frames)[0] == 10
    assert clip.audio is not None
    np.testing.assert_array_equal(clip.audio[:640], np.rint(tone(3)[0][:640] * 32768).astype(np.int16))


def test_no_sound_and_silence_are_told_apart_and_give_no_audio(film: Film) -> None:
    silent = film("silent.mkv", sound=np.zeros((1, 20_000)))
    mute = film("mute.mkv")
    assert put_on_time_line(silent).flags == ("silent",)
    assert put_on_time_line(mute).flags == ("no_audio",)
    assert read_clip(silent).audio is None and read_clip(mute).audio is None


@pytest.mark.parametrize(("level", "silent"), [(0.0013, True), (0.0015, False)])
def test_silence_is_below_minus_60_dbfs(film: Film, level: float, silent: bool) -> None:
    assert ("silent" in put_on_time_line(film(sound=tone(1.2, level=level))).flags) is silent  # a sine of 0.001414


@pytest.mark.parametrize(("angle", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-90, (0, -1))])
def test_display_rotation_is_applied(film: Film, angle: int, corner: tuple[int, int]) -> None:
    path = film("clip.mp4", codec="libx264", pix_fmt="yuv420p", format="mp4", rotation=angle, size=(64, 32))
    frame = read_clip(path).frames[0]
    assert frame.shape[:2] == ((32, 64) if angle % 180 == 0 else (64, 32))
    corners = {(y, x): int(frame[y, x, 0]) for y in (0, -1) for x in (0, -1)}
    assert max(corners, key=lambda key: corners[key]) == corner
    info = probe(path).video
    assert info is not None and (info.height, info.width) == frame.shape[:2]


@pytest.mark.parametrize(("aspect", "width"), [(Fraction(2), 64), (Fraction(1, 2), 16), (Fraction(16, 15), 34)])
def test_pixels_become_square(film: Film, aspect: Fraction, width: int) -> None:
    path = film("clip.mp4", codec="libx264", pix_fmt="yuv420p", format="mp4", aspect=aspect, size=(32, 32))
    assert read_clip(path).frames.shape[1:3] == (32, width)


@pytest.mark.parametrize(
    ("pix_fmt", "size"), [("yuv420p10le", (64, 32)), ("yuvj420p", (64, 32)), ("yuv444p", (33, 47))]
)
def test_depths_and_formats_decode_to_8_bit_rgb(film: Film, greys: Greys, pix_fmt: str, size: tuple[int, int]) -> None:
    path = film("clip.mp4", codec="libx264", pix_fmt=pix_fmt, format="mp4", size=size)
    clip = read_clip(path)
    assert clip.frames.dtype == np.uint8 and clip.frames.shape[1:3] == size[::-1]
    assert np.abs(np.array(greys(clip.frames)) - np.arange(30)).max() <= 3


def test_a_short_file_is_decoded_once_and_a_long_one_held_in_part_by_nobody(film: Film, monkeypatch) -> None:
    """The frames are the same; what is held stops at the bound."""
    path = film("clip.mp4", codec="libx264", pix_fmt="yuv420p", format="mp4", aspect=Fraction(2), frames=60, rate=30)
    decoded: list[Path] = []
    monkeypatch.setattr(clip, "iterate", lambda path, rule: decoded.append(path) or iterate(path, rule))
    once = read_clip(path, start=0.2, end=1.6).frames
    assert not decoded
    picture = next(iterate(path))[0].frame
    monkeypatch.setattr(clip, "KEPT_BYTES", 10 * sum(plane.buffer_size for plane in picture.planes))
    assert np.array_equal(read_clip(path, start=0.2, end=1.6).frames, once) and decoded == [path]
    assert scan(path, keep=True).pictures is None and scan(path).pictures is None
    assert len(scan(path, end=-0.8, keep=True).pictures or ()) < 10  # a second more than asked for


@pytest.mark.parametrize("size", [(3840, 2160), (720, 1280)])
def test_4k_and_portrait_pictures_are_read(film: Film, size: tuple[int, int]) -> None:
    path = film("clip.mp4", codec="mpeg4", pix_fmt="yuv420p", format="mp4", size=size, frames=25)
    timed = put_on_time_line(path)
    assert timed.line.n_frames == 25
    assert next(timed_frames(timed)).shape == (size[1], size[0], 3)


@pytest.mark.parametrize(
    "name", ["-dash.mkv", 'a b\'s "c".mkv', "new\nline.mkv", "ünï 漢字.mkv", "%03d.mkv", "a:b.mkv", "x.txt", "noending"]
)
def test_any_file_name_is_read(film: Film, name: str) -> None:
    path = film(name, sound=tone(1.2))
    assert read_clip(path).n_frames == 30
    assert len(read_audio(path)) >= 19_200
    assert probe(path).video is not None


def test_the_content_counts_and_not_the_ending(film: Film, tmp_path: Path) -> None:
    mp3 = film("sound.mkv", frames=1, format="matroska", sound=tone(2), sound_codec="libmp3lame")
    (tmp_path / "speech.wav").write_bytes(mp3.read_bytes())  # Matroska with MP3 under the name of a WAV file
    assert len(read_audio(tmp_path / "speech.wav")) >= 31_000


def test_reading_is_repeatable_bit_by_bit(film: Film) -> None:
    path = film("c.mp4", codec="libx264", pix_fmt="yuv420p", format="mp4", sound=tone(2), sound_codec="aac", frames=50)
    first, second = read_clip(path), read_clip(path)
    assert (first.pixels_sha256, first.pcm_sha256) == (second.pixels_sha256, second.pcm_sha256)


def test_an_empty_window_is_refused(film: Film) -> None:
    with pytest.raises(ClipError, match="too_short"):
        read_clip(film(), start=2.0, end=1.0)
