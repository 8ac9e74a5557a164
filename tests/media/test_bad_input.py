"""Damaged and foreign files: one line with a reason, never a crash, never another file opened."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floatbench.errors import REASONS, ClipError, FloatbenchError
from floatbench.media import frames as frames_module
from floatbench.media import (
    load_prepared,
    prepare_clip,
    probe,
    read_audio,
    read_clip,
    read_image,
    read_video,
    write_image,
    write_lossless,
    write_mp4,
    write_wav,
)
from floatbench.media.boxes_given import NoBoxes

Film = Callable[..., Path]
H264 = {"codec": "libx264", "pix_fmt": "yuv420p", "format": "mp4", "size": (64, 64)}


def tone(seconds: float, rate: int = 16_000) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)[None]


def reason_of(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(ClipError) as caught:
        read(path)
    assert caught.value.reason in REASONS
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.reason


READERS = [read_clip, read_video, read_audio, read_image]


@pytest.mark.parametrize("read", READERS)
def test_what_is_not_a_media_file_gives_a_reason(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello\n" * 1000)
    (tmp_path / "zeros.mp4").write_bytes(bytes(10_000))
    (tmp_path / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    assert reason_of(read, tmp_path / "empty.mp4") == "empty"
    for name in ("text", "zeros", "folder", "pipe"):
        assert reason_of(read, tmp_path / f"{name}.mp4") == "unreadable"
    for name in ("absent.mp4", "dangling.mp4", "-rf", "a\nb"):
        assert reason_of(read, tmp_path / name) == "missing"
    for name in ("zero\0byte", "x" * 5000):
        assert reason_of(read, tmp_path / name) in {"missing", "unreadable"}


@pytest.mark.parametrize("keep", [0.8, 0.5, 0.1])
@pytest.mark.parametrize("kind", ["mkv", "faststart", "mp4"])
def test_a_truncated_video_is_refused(film: Film, tmp_path: Path, kind: str, keep: float) -> None:
    if kind == "faststart":  # the index comes first: the file opens and only its end is missing
        path = tmp_path / "clip.mp4"
        pictures = np.random.default_rng(0).integers(0, 256, (75, 64, 64, 3), dtype=np.uint8)
        write_mp4(path, pictures, np.zeros(75 * 640, np.int16))
    elif kind == "mp4":
        path = film("clip.mp4", frames=75, sound=tone(3), sound_codec="aac", **H264)
    else:
        path = film("clip.mkv", frames=75, size=(64, 64), sound=tone(3))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    if kind != "mkv" or keep < 0.5:  # else only sound is missing: in this file it lies behind the pictures
        assert reason_of(read_video, path) in {"truncated", "unreadable"}
    assert reason_of(read_clip, path) in {"truncated", "unreadable"}


@pytest.mark.parametrize("keep", [0.8, 0.3])
def test_a_truncated_sound_file_is_refused(tmp_path: Path, keep: float) -> None:
    write_wav(tmp_path / "a.wav", np.ones(64_000, np.int16))
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: int(len(whole) * keep)])
    assert reason_of(read_audio, tmp_path / "a.wav") == "truncated"


def test_a_wav_file_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.ones(64_000, np.int16))
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[40:44] = data[4:8] = b"\xff" * 4  # as a recorder writes that cannot go back to the header
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav")) == 64_000


def test_a_video_without_a_picture_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "bgr0"
        sound = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        out.start_encoding()
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        out.mux(sound.encode(frame))
    for read in (read_clip, read_video, probe):
        assert reason_of(read, path) in {"empty", "unreadable"}


def test_sound_alone_is_no_video_and_pictures_alone_are_no_audio(film: Film, tmp_path: Path) -> None:
    write_wav(tmp_path / "sound.mp4", np.zeros(32_000, np.int16))
    assert reason_of(read_clip, tmp_path / "sound.mp4") == "no_video"
    assert reason_of(read_video, tmp_path / "sound.mp4") == "no_video"
    assert probe(tmp_path / "sound.mp4").video is None
    video = film()
    assert reason_of(read_audio, video) == "no_audio"
    with pytest.raises(ClipError, match="no_audio"):
        read_clip(video, audio_path=video)


def test_a_cover_picture_is_no_video(film: Film, tmp_path: Path) -> None:
    write_image(tmp_path / "cover.png", np.zeros((8, 8, 3), np.uint8))
    with av.open(str(tmp_path / "song.mp4"), "w") as out, av.open(str(tmp_path / "cover.png")) as cover:
        sound = out.add_stream("aac", rate=16_000, layout="mono")
        picture = out.add_stream_from_template(cover.streams.video[0])
        picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(tone(1).astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        for packet in cover.demux(video=0):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    assert reason_of(read_video, tmp_path / "song.mp4") == "no_video"
    assert len(read_audio(tmp_path / "song.mp4")) >= 16_000


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mkv\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.mkv\n",
        "#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n",
    ],
)
def test_a_playlist_never_opens_another_file(film: Film, tmp_path: Path, text: str) -> None:
    film("secret.mkv")
    (tmp_path / "list.mp4").write_text(text)
    for read in (read_clip, read_video, read_audio, probe):
        assert reason_of(read, tmp_path / "list.mp4") == "unreadable"


def test_a_declared_size_beyond_8k_is_refused_before_decoding(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("floatbench.media.container.MAX_PIXELS", 32 * 16 - 1)
    assert reason_of(read_video, film()) == "too_large"


def test_what_does_not_fit_into_memory_is_refused(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        available = 1000

    monkeypatch.setattr("floatbench.media.container.psutil.virtual_memory", Full)
    assert reason_of(read_clip, film()) == "out_of_memory"
    assert reason_of(read_video, film()) == "out_of_memory"


@pytest.mark.parametrize("frames", [1, 24])
def test_less_than_a_second_is_too_short_for_a_clip_and_still_a_video(film: Film, frames: int) -> None:
    path = film(frames=frames)
    assert reason_of(read_clip, path) == "too_short"
    assert len(read_video(path)[0]) == frames


def test_time_stamps_that_run_backwards_are_refused(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(frames=30)
    real = frames_module.Stamper.__call__

    class Shuffled:
        width, height, is_corrupt, dts = 32, 16, False, None

        def __init__(self, time: float) -> None:
            self.time = time

    with av.open(str(path)) as container:
        stamper = frames_module.Stamper(container.streams.video[0], path)
        real(stamper, Shuffled(1.0))  # type: ignore[arg-type]
        with pytest.raises(ClipError, match="backwards"):
            real(stamper, Shuffled(0.9))  # type: ignore[arg-type]


def test_absurd_pixel_shapes_are_refused(film: Film) -> None:
    path = film("c.mp4", aspect=Fraction(1, 20), **H264)
    assert reason_of(read_video, path) == "unreadable"


# --- mutated files


def _reads(path: Path) -> None:
    for read in (*READERS, probe, lambda p: read_clip(p, audio_path=p, start=0.1, end=1.5)):
        try:
            read(path)
        except FloatbenchError as error:
            assert getattr(error, "reason", "") in REASONS


class Seeds(list[bytes]):
    def __repr__(self) -> str:  # a failing example must not print the files
        return "seeds"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    folder = tmp_path_factory.mktemp("seeds")
    y, x = np.mgrid[:48, :64]
    pictures = np.stack([np.stack([x * 4, y * 5, (x + y + 3 * t) % 200], -1) for t in range(30)]).astype(np.uint8)
    pcm = np.rint(tone(1.2)[0] * 20_000).astype(np.int16)
    write_mp4(folder / "a", pictures, pcm, {"k": "v"})
    write_lossless(folder / "b", pictures[:3])
    write_wav(folder / "c", pcm[:4000])
    write_image(folder / "d", pictures[0])
    return Seeds((folder / name).read_bytes() for name in "abcd")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 3), seed=st.integers(0, 2**32), cut=st.booleans())
def test_a_mutated_file_is_read_or_refused(seeds: Seeds, tmp_path: Path, which: int, seed: int, cut: bool) -> None:
    rng = random.Random(seed)
    data = bytearray(seeds[which])
    for _ in range(rng.choice([1, 2, 5, 20, 100])):
        # headers are short and full of lengths: half of all changes hit them
        at = rng.randrange(min(len(data), 1500)) if rng.random() < 0.5 else rng.randrange(len(data))
        data[at] = rng.choice([0, 255, 127, 128, rng.randrange(256)])
    if cut:
        del data[rng.randrange(len(data)) :]
    (tmp_path / "mutated").write_bytes(data)
    _reads(tmp_path / "mutated")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=300))
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "bytes").write_bytes(data)
    _reads(tmp_path / "bytes")


def test_a_damaged_prepared_clip_is_one_error(film: Film, tmp_path: Path) -> None:
    names = {"dataset": "d", "clip_id": "c", "identity": "i", "split": "s"}
    prepare_clip(film(size=(64, 64), sound=tone(1.2)), tmp_path / "out", boxes=NoBoxes(), size=64, **names)
    rng = random.Random(0)
    for file in sorted((tmp_path / "out").iterdir()):
        whole = file.read_bytes()
        for _ in range(5):
            data = bytearray(whole)
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(data)
            try:
                load_prepared(tmp_path / "out")
            except FloatbenchError as error:
                assert len(str(error).splitlines()) <= 2
        file.write_bytes(whole)
    assert load_prepared(tmp_path / "out")[2].flags == ()
