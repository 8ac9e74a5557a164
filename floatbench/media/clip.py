"""Reads a clip on the pp1 time line: 25 frames and 16,000 samples a second."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from floatbench.errors import ClipError
from floatbench.media.container import audio_stream, check_whole, opened, require_memory, video_stream
from floatbench.media.frames import Stamper, end_of, iterate, upright_rgb
from floatbench.media.sound import SILENCE_DBFS, Sound, SoundCollector, cut, decode_sound, loudness_dbfs
from floatbench.media.timeline import MIN_FRAMES, TimeLine, plan
from floatbench.text import printable
from floatbench.types import ClipMedia


@dataclass(frozen=True)
class Scan:
    """What one pass over a file learns: stamps of the pictures, the sound, whether any picture is interlaced."""

    stamps: np.ndarray
    sound: Sound | None
    interlaced: bool


@dataclass(frozen=True)
class Timed:
    """A file on the pp1 time line.

    Attributes:
        path: the video.
        line: the time line.
        pcm: (640 N,) int16, None without a sound stream; silent sound is kept here.
        flags: of `no_audio`, `silent`, `interlaced`.
    """

    path: Path
    line: TimeLine
    pcm: np.ndarray | None
    flags: tuple[str, ...]


def scan(path: Path, end: float | None = None, start: float | None = None, with_sound: bool = True) -> Scan:
    """Decodes a file once, up to a second after `end`, and keeps stamps and sound but no picture."""
    stamps: list[float] = []
    interlaced, whole = False, True
    with opened(path) as container:
        video = video_stream(container, path)
        sound = audio_stream(container, path) if with_sound else None
        stamper, collector = Stamper(video, path), SoundCollector(path, start, end)
        for frame in container.decode(*([video] if sound is None else [video, sound])):
            if isinstance(frame, av.VideoFrame):
                if end is None or not stamps or stamps[-1] <= end + 1:
                    stamps.append(stamper(frame).stamp)
                    interlaced |= bool(frame.interlaced_frame)
            else:
                collector.add(frame)
            if end is not None and stamps and stamps[-1] > end + 1 and (sound is None or collector.reached > end + 1):
                whole = False
                break
        if whole:
            check_whole(container, video, end_of(stamps), path)
            if sound is not None:
                check_whole(container, sound, collector.reached, path)
    return Scan(np.array(stamps), collector.finish(), interlaced)


def put_on_time_line(
    path: Path,
    audio_path: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    min_frames: int = MIN_FRAMES,
) -> Timed:
    """Plans the clip of a file and decodes its sound (see `read_clip`); no picture is kept."""
    path = Path(path)
    if start is not None and end is not None and end <= start:
        raise ClipError("too_short", f"the window {start} to {end} s is empty")
    found = scan(path, end, start, with_sound=audio_path is None)
    sound = found.sound
    if audio_path is not None:
        sound = decode_sound(Path(audio_path), start, end)
        if sound is None:
            raise ClipError("no_audio", f"{printable(audio_path)} holds no sound")
    line = plan(found.stamps, (sound.start, sound.end) if sound else None, start, end, min_frames)
    flags = ["interlaced"] if found.interlaced else []
    if sound is None:
        return Timed(path, line, None, ("no_audio", *flags))
    pcm = cut(sound, line.t0, line.n_samples)
    if loudness_dbfs(pcm) < SILENCE_DBFS:
        flags.insert(0, "silent")
    return Timed(path, line, pcm, tuple(flags))


def timed_frames(timed: Timed) -> Iterator[np.ndarray]:
    """The N pictures of a time line in order, each (H, W, 3) uint8 RGB, decoded as they are asked for."""
    wanted, n = timed.line.source_index, 0
    for picture, aspect in iterate(timed.path):
        if n == len(wanted):
            return
        if picture.index != wanted[n]:
            continue
        rgb = upright_rgb(picture.frame, aspect)
        while n < len(wanted) and wanted[n] == picture.index:
            yield rgb
            n += 1
    if n < len(wanted):
        raise ClipError(
            "unreadable", f"{printable(timed.path)}: picture {wanted[n]} was there once and is not any more"
        )


def read_clip(
    path: Path,
    audio_path: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    min_frames: int = MIN_FRAMES,
) -> ClipMedia:
    """Reads a talking video at 25 frames a second with its sound, by presentation time.

    Args:
        path: any video PyAV decodes; rotation and sample aspect ratio are applied.
        audio_path: a file whose sound replaces the video's own.
        start, end: a window in source time, in seconds.
        min_frames: fewer are refused; pp1 says 25.

    Returns:
        (N, H, W, 3) frames and (640 N,) sound; `audio` is None when there is no sound or it is below -60 dBFS.

    Raises:
        ClipError: what cannot be read, is too short or does not fit into memory.
    """
    timed = put_on_time_line(path, audio_path, start, end, max(1, min_frames))
    frames: np.ndarray | None = None
    for n, rgb in enumerate(timed_frames(timed)):
        if frames is None:
            require_memory((timed.line.n_frames, *rgb.shape), timed.path)
            frames = np.empty((timed.line.n_frames, *rgb.shape), np.uint8)
        frames[n] = rgb
    assert frames is not None  # a time line has at least one frame
    return ClipMedia(frames, None if "silent" in timed.flags else timed.pcm)
