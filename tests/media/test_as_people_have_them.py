"""Sound and pictures as people have them: separate sound, several tracks, odd channels, piped files, HDR, AVI, AVIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from floatbench.errors import ClipError
from floatbench.media import prepare_clip, probe, read_audio, read_clip, read_image, read_video
from floatbench.media.boxes_given import NoBoxes
from floatbench.media.clip import put_on_time_line
from floatbench.media.rules import PP1, PP2
from floatbench.media.verify import verify_prepared

Film = Callable[..., Path]
Greys = Callable[[np.ndarray], list[int]]
RATE = 48_000
NAMES: dict[str, Any] = {"dataset": "toy", "clip_id": "c", "identity": "i", "split": "s"}


def click(seconds: float, at: float, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """(channels, samples): silence with a burst of 2 ms at the time `at`."""
    sound = np.zeros((channels, round(seconds * rate)), np.float32)
    first = round(at * rate)
    sound[:, first : first + rate // 500] = 0.8
    return sound


def write_sound(
    path: Path,
    tracks: Sequence[np.ndarray],
    codec: str,
    layout: str = "mono",
    first: float = 0.0,
    default: int | None = None,
    rate: int = RATE,
) -> Path:
    """A sound file with a stream for each track, their stamps from `first` seconds on."""
    with av.open(f"file:{path}", "w") as out:
        streams = [out.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        if default is not None:
            for number, stream in enumerate(streams):
                stream.disposition = Disposition.default if number == default else Disposition(0)
        for stream, samples in zip(streams, tracks, strict=True):
            size = stream.codec_context.frame_size or 1024
            for at in range(0, samples.shape[1], size):
                piece = np.ascontiguousarray(samples[:, at : at + size].T).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(piece, format="flt", layout=layout)
                frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), at + round(first * rate)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


# A separate sound file


@pytest.mark.parametrize(
    ("name", "codec", "first", "slack"),
    [
        ("s.mp3", "libmp3lame", 0.0, 16),
        ("s.m4a", "aac", 0.0, 32),
        ("s.mka", "pcm_s16le", 1.4, 1),
        ("s.ts", "libmp3lame", 0.0, 16 + 1105 * 16 // 48),  # MPEG-TS has no place for the encoder's delay
    ],
)
def test_the_first_sample_of_a_separate_sound_belongs_to_time_0_of_the_video(
    film: Film, greys: Greys, tmp_path: Path, name: str, codec: str, first: float, slack: int
) -> None:
    video = film(frames=50)
    sound = write_sound(tmp_path / name, [click(3, 1.0)], codec, first=first)
    clip = read_clip(video, audio_path=sound)
    assert greys(clip.frames) == list(range(50))
    assert clip.audio is not None
    loud = np.flatnonzero(np.abs(clip.audio.astype(int)) > 8000)
    assert abs(loud[0] - 16_000) <= slack
    window = read_clip(video, audio_path=sound, start=0.4, end=1.6)
    assert window.audio is not None
    assert np.abs(window.audio.astype(int) - clip.audio[6400 : 6400 + 30 * 640]).max() <= 1


# The default track


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_sound_track_is_heard_and_not_the_first(tmp_path: Path, default: int) -> None:
    tracks = [click(2, 0.5), click(2, 1.5)]
    path = write_sound(tmp_path / "two.mka", tracks, "pcm_s16le", default=default)
    assert abs(int(np.abs(read_audio(path).astype(int)).argmax()) - (8000 if default == 0 else 24_000)) < 40


def two_films(path: Path, default: int) -> Path:
    with av.open(f"file:{path}", "w") as out:
        streams = [out.add_stream("ffv1", rate=25) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 32, 16 + 16 * number, "bgr0"
            stream.disposition = Disposition.default if number == default else Disposition(0)
        for k in range(30):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(np.full((stream.height, 32, 3), k, np.uint8), format="rgb24")
                frame.pts, frame.time_base = k, Fraction(1, 25)
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    return path


def test_pp2_shows_the_default_film_and_pp1_the_first(tmp_path: Path) -> None:
    path = two_films(tmp_path / "two.mkv", default=1)
    assert [read_clip(path, spec=spec).frames.shape[1] for spec in ("pp1", "pp2")] == [16, 32]
    assert [read_video(path, spec)[0].shape[1] for spec in ("pp1", "pp2")] == [16, 32]
    heights = [info.height for rule in (PP1, PP2) if (info := probe(path, rule).video)]
    assert heights == [16, 32]


# Channels


def tone(seconds: float = 2.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 300 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def channels_of(kind: str) -> tuple[np.ndarray, str]:
    if kind == "phase-opposed":
        return np.stack([tone(), -tone()]), "stereo"
    quiet = np.zeros((6, 2 * RATE), np.float32)
    quiet[2] = tone(level=0.0035)  # -52 dBFS in the centre, -68 dBFS in the mean of six
    return quiet, "5.1"


@pytest.mark.parametrize(("kind", "dbfs"), [("phase-opposed", -13.5), ("quiet centre", -52.1)])
def test_sound_that_the_mean_of_the_channels_hides_is_heard(film: Film, tmp_path: Path, kind: str, dbfs: float) -> None:
    samples, layout = channels_of(kind)
    path = write_sound(tmp_path / "s.mka", [samples], "pcm_s16le", layout)
    heard = read_audio(path).astype(np.float64) / 32768
    assert 10 * np.log10(np.mean(heard**2)) == pytest.approx(dbfs, abs=0.2)
    timed = put_on_time_line(film(frames=40), path, rule=PP2)
    assert "one_channel" in timed.flags and "silent" not in timed.flags
    assert read_clip(film(frames=40), audio_path=path, spec="pp2").audio is not None
    assert "silent" in put_on_time_line(film(frames=40), path, rule=PP1).flags


def test_silence_on_every_channel_stays_silence(film: Film, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "s.mka", [np.zeros((2, 2 * RATE), np.float32)], "pcm_s16le", "stereo")
    assert put_on_time_line(film(frames=40), path, rule=PP2).flags == ("silent",)


def test_stereo_that_can_be_heard_is_still_the_mean(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "s.mka", [np.stack([tone(), 0 * tone()])], "pcm_s16le", "stereo", rate=16_000)
    assert np.abs(read_audio(path)).max() == pytest.approx(0.15 * 32768, abs=2)


@pytest.mark.parametrize(("layout", "count"), [("5.1", 6), ("7.1", 8), ("hexadecagonal", 16)])
def test_sound_of_many_channels_is_read_whole(tmp_path: Path, layout: str, count: int) -> None:
    """PyAV's own reading of planes crashes from 8 of them on, and takes the process along."""
    samples = np.stack([tone(level=0.3 if at == count - 1 else 0.0) for at in range(count)])
    path = write_sound(tmp_path / "s.mka", [samples], "aac", layout)
    heard = read_audio(path).astype(np.float64) / 32768
    assert np.sqrt(2 * np.mean(heard**2)) == pytest.approx(0.3 / count, rel=0.05)


@pytest.mark.parametrize("codec", [f"pcm_{kind}" for kind in ("u8", "s16le", "s32le", "s64le", "f32le", "f64le")])
def test_samples_of_every_type_have_the_same_full_scale(tmp_path: Path, codec: str) -> None:
    path = write_sound(tmp_path / "s.mka", [tone(level=0.5)[None]], codec, rate=16_000)
    step = 256 if codec == "pcm_u8" else 1
    assert np.abs(read_audio(path) - np.rint(32768 * tone(level=0.5))).max() <= step


# Files written into a pipe


@pytest.mark.parametrize("declared", [0, 0x7FFF_F000, 0x7FFF_EFDC, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFD8])
def test_a_wav_that_was_piped_is_read_to_its_end(tmp_path: Path, declared: int) -> None:
    path = write_sound(tmp_path / "s.wav", [tone()[None]], "pcm_s16le", rate=16_000)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = declared.to_bytes(4, "little")
    path.write_bytes(data)
    assert len(read_audio(path)) == 2 * RATE  # 16,000 a second, six seconds of tone


def test_a_wav_whose_size_was_known_and_is_not_there_is_truncated(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "s.wav", [tone()[None]], "pcm_s16le", rate=16_000)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ClipError, match="truncated"):
        read_audio(path)


# Variable frame rate


def test_a_picture_is_shown_until_the_next_ones_time(film: Film, greys: Greys) -> None:
    stamps = [0.0, 0.4, 0.41, 0.45, 1.0, 1.2]
    path = film(frames=6, stamps=stamps)
    shown = greys(read_clip(path, spec="pp2").frames)
    times = np.arange(len(shown)) / 25
    assert shown == [max(k for k, stamp in enumerate(stamps) if stamp <= time + 1e-3) for time in times]
    assert shown[9] == 0 and greys(read_clip(path).frames)[9] == 1  # 0.36 s: 0.4 s is nearest, but has not come


def test_stamps_rounded_to_milliseconds_do_not_show_a_picture_late(film: Film, greys: Greys) -> None:
    rng = np.random.default_rng(0)
    stamps = [round(k / 25 + float(rng.uniform(-5e-4, 5e-4)), 3) for k in range(50)]
    assert greys(read_clip(film(stamps=stamps, frames=50), spec="pp2").frames)[:49] == list(range(49))


@pytest.mark.parametrize(
    ("stamps", "flagged"),
    [
        ([k / 30 for k in range(45)], False),
        ([k / 30 for k in range(45) if k % 7], False),  # single pictures were dropped
        ([k / 30 for k in range(60) if not 20 < k < 24], True),
        ([round(k / 30, 3) for k in range(60) if not 20 < k < 23], True),
    ],
)
def test_a_gap_of_more_than_two_pictures_is_a_flag(film: Film, stamps: list[float], flagged: bool) -> None:
    path = film(frames=len(stamps), stamps=stamps)
    assert ("gap" in put_on_time_line(path, rule=PP2).flags) == flagged
    assert "gap" not in put_on_time_line(path, rule=PP1).flags


def test_a_gap_outside_the_window_is_no_flag(film: Film) -> None:
    stamps = [k / 25 for k in range(40)] + [3 + k / 25 for k in range(40)]
    path = film(frames=80, stamps=stamps)
    assert "gap" not in put_on_time_line(path, start=0.1, end=1.3, rule=PP2).flags
    assert "gap" in put_on_time_line(path, start=0.1, end=3.3, rule=PP2).flags


# Colour


def planes(luma: int, cb: int, cr: int, chroma: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = chroma
    return np.full((64, 64), luma), np.full((rows, columns), cb), np.full((rows, columns), cr)


@pytest.mark.parametrize(("pix_fmt", "chroma"), [("yuv420p", (32, 32)), ("yuv422p", (64, 32)), ("yuv444p", (64, 64))])
def test_pp2_is_within_half_a_level_of_the_colour_and_pp1_is_darker(
    tmp_path: Path, pix_fmt: str, chroma: tuple[int, int]
) -> None:
    """BT.601: R = 1.164 (Y - 16) + 1.596 (Cr - 128) and so on, rounded to the nearest level."""
    rng = np.random.default_rng(1)
    errors = {"pp1": [], "pp2": []}
    colours = [(int(rng.integers(60, 200)), *(int(c) for c in rng.integers(110, 146, 2))) for _ in range(30)]
    path = tmp_path / "c.mkv"
    with av.open(f"file:{path}", "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pix_fmt
        for k, colour in enumerate(colours):
            frame = av.VideoFrame(64, 64, pix_fmt)
            for plane, values in zip(frame.planes, planes(*colour, chroma), strict=True):
                padded = np.zeros((plane.height, plane.line_size), np.uint8)
                padded[:, : plane.width] = values
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    for spec in errors:
        frames, _ = read_video(path, spec)
        for (luma, cb, cr), frame in zip(colours, frames, strict=True):
            y, b, r = (luma - 16) * 255 / 219, (cb - 128) * 255 / 224, (cr - 128) * 255 / 224
            true = [y + 1.402 * r, y - (0.114 * 1.772 * b + 0.299 * 1.402 * r) / 0.587, y + 1.772 * b]
            errors[spec].append(frame[32, 32] - np.clip(true, 0, 255))
    # libswscale counts in 1/2^14 of a level or so: half a level of rounding and a little
    assert np.abs(errors["pp2"]).max() <= 0.52 and abs(np.mean(errors["pp2"])) < 0.1
    if pix_fmt == "yuv420p":
        assert np.mean(errors["pp1"]) < -0.8


def test_lossless_pictures_are_the_same_under_both_rules(film: Film) -> None:
    path = film(frames=30, size=(34, 18))
    assert read_clip(path, spec="pp1").pixels_sha256 == read_clip(path, spec="pp2").pixels_sha256


@pytest.mark.parametrize(("transfer", "flagged"), [(1, False), (16, True), (18, True)])
def test_high_dynamic_range_is_a_flag(tmp_path: Path, transfer: int, flagged: bool) -> None:
    path = tmp_path / "hdr.mkv"
    with av.open(f"file:{path}", "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p10le"
        stream.codec_context.color_trc = transfer
        for k in range(30):
            frame = av.VideoFrame.from_ndarray(np.full((48, 32), 400, np.uint16), format="yuv420p10le")
            frame.pts, frame.time_base, frame.color_trc = k, Fraction(1, 25), transfer
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert ("hdr" in put_on_time_line(path, rule=PP2).flags) == flagged
    assert "hdr" not in put_on_time_line(path, rule=PP1).flags


# Time stamps in the order of decoding


@pytest.mark.parametrize("spec", ["pp1", "pp2"])
def test_an_avi_with_reordered_pictures_is_read(tmp_path: Path, spec: str) -> None:
    path = tmp_path / "b.avi"
    with av.open(f"file:{path}", "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.options = {"bf": "3", "b-adapt": "0", "crf": "4"}
        for k in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 5 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    frames, rate = read_video(path, spec)
    assert rate == 25 and np.abs(frames[:, 32, 32, 0] - (20 + 5 * np.arange(40.0))).max() < 3
    assert (read_clip(path, spec=spec).frames[:39] == frames[:39]).all()


# The whole way


def test_a_clip_prepared_by_pp2_says_so_and_is_verified_by_pp2(film: Film, tmp_path: Path) -> None:
    stamps = [k / 25 for k in range(30)] + [1.5 + k / 25 for k in range(30)]
    video = film(frames=60, stamps=stamps, size=(64, 64))
    rows = {
        spec: prepare_clip(video, tmp_path / spec, boxes=NoBoxes(), size=64, spec=spec, **NAMES)
        for spec in ("pp1", "pp2")
    }
    assert {spec: (row.spec, row.label) for spec, row in rows.items()} == {
        "pp1": ("pp1", "pp1-none"),
        "pp2": ("pp2", "pp2-none"),
    }
    assert rows["pp2"].flags == ("gap", "no_audio") and rows["pp1"].flags == ("no_audio",)
    assert rows["pp1"].source_index != rows["pp2"].source_index
    for spec, row in rows.items():
        assert verify_prepared(tmp_path / spec, video=video).state == "exact"
        again = prepare_clip(video, tmp_path / "again", boxes=None, manifest_row=row, **NAMES)
        assert again.pixels_sha256 == row.pixels_sha256 and again.spec == spec
    assert verify_prepared(tmp_path / "pp1", rows["pp2"]).detail == "spec is pp1, the manifest has pp2"


# Portraits

COLOUR = (200, 60, 30)


def portrait(folder: Path, kind: str) -> Path:
    """A picture of one colour, 48 wide and 32 high as it is meant to be seen."""
    image = Image.new("RGB", (48, 32), COLOUR)
    if kind == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned a quarter clockwise
        image.rotate(90, expand=True).save(folder / kind, exif=exif, quality=95)
    elif kind == "grey16.png":
        Image.fromarray(np.full((32, 48), 200 * 257, np.uint16)).save(folder / kind)
    elif kind == "palette.png":
        image.quantize(16).save(folder / kind)
    elif kind == "cmyk.jpg":
        image.convert("CMYK").save(folder / kind, quality=95)
    else:
        image.save(folder / kind)
    return folder / kind


@pytest.mark.parametrize("kind", ["a.avif", "cmyk.jpg", "grey16.png", "palette.png", "turned.jpg", "p.webp"])
def test_portraits_of_every_kind_are_read_as_they_are_meant_to_be_seen(tmp_path: Path, kind: str) -> None:
    rgb = read_image(portrait(tmp_path, kind))
    assert rgb.shape == (32, 48, 3)
    wanted = (200, 200, 200) if kind == "grey16.png" else COLOUR
    assert np.abs(rgb.reshape(-1, 3).astype(int) - wanted).max() <= 4  # what the lossy formats cost
