"""Reads a clip on the pp1 time line: 25 frames and 16,000 samples a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from floatbench.errors import ClipError
from floatbench.media.container import audio_stream, check_whole, opened, require_memory, video_stream
from floatbench.media.frames import Stamper, aspect_ratio, end_of, iterate, upright_rgb
from floatbench.media.rules import PP1, Rule, rule_of
from floatbench.media.sound import SILENCE_DBFS, Sound, SoundCollector, cut, decode_sound, loudness_dbfs
from floatbench.media.timeline import MIN_FRAMES, TimeLine, has_gap, plan
from floatbench.text import printable
from floatbench.types import ClipMedia

HDR_TRANSFERS = {16, 18}
"""SMPTE ST 2084 (PQ) and ARIB STD-B67 (HLG) in ITU-T H.273: pictures that look flat where they are read as SDR."""
KEPT_BYTES = 1 << 28
"""Of decoded pictures, which wait for the time line to say which of them it shows; longer files are decoded again."""


class Kept:
    """The pictures of a file in the order of showing, as long as they are few; then none of them, so that memory stays
    bounded."""

    def __init__(self, keep: bool) -> None:
        self.frames: list[av.VideoFrame] | None = [] if keep else None
        self._left = KEPT_BYTES

    def add(self, frame: av.VideoFrame) -> None:
        if self.frames is None:
            return
        self._left -= sum(plane.buffer_size for plane in frame.planes)
        if self._left < 0:
            self.frames = None
        else:
            self.frames.append(frame)


@dataclass(frozen=True)
class Scan:
    """What one pass over a file learns: stamps of the pictures, the sound, the flags that pictures raise, the sample
    aspect ratio, and the pictures where they were kept."""

    stamps: np.ndarray
    sound: Sound | None
    flags: frozenset[str]
    aspect: Fraction
    pictures: Sequence[av.VideoFrame] | None


@dataclass(frozen=True)
class Timed:
    """A file on the pp1 time line.

    Attributes:
        path: the video.
        line: the time line.
        pcm: (640 N,) int16, None without a sound stream; silent sound is kept here.
        flags: of `no_audio`, `silent`, `interlaced`; under pp2 also `one_channel`, `gap`, `hdr`.
        rule: by which pictures are decoded.
        aspect, pictures: as `Scan` has them.
    """

    path: Path
    line: TimeLine
    pcm: np.ndarray | None
    flags: tuple[str, ...]
    rule: Rule
    aspect: Fraction
    pictures: Sequence[av.VideoFrame] | None


def scan(
    path: Path,
    end: float | None = None,
    start: float | None = None,
    with_sound: bool = True,
    rule: Rule = PP1,
    keep: bool = False,
) -> Scan:
    """Decodes a file once, up to a second after `end`, and keeps stamps and sound; pictures only with `keep`."""
    stamps: list[float] = []
    flags: set[str] = set()
    whole = True
    with opened(path) as container:
        video = video_stream(container, path, rule.default_track)
        sound = audio_stream(container, path, rule.default_track) if with_sound else None
        stamper, collector, kept = Stamper(video, path), SoundCollector(path, start, end), Kept(keep)
        for frame in container.decode(*([video] if sound is None else [video, sound])):
            if isinstance(frame, av.VideoFrame):
                if end is None or not stamps or stamps[-1] <= end + 1:
                    stamps.append(stamper(frame).stamp)
                    flags |= _picture_flags(frame, rule)
                    kept.add(frame)
            else:
                collector.add(frame)
            if end is not None and stamps and stamps[-1] > end + 1 and (sound is None or collector.reached > end + 1):
                whole = False
                break
        stamps.sort()
        if whole:
            check_whole(container, video, end_of(stamps), path)
            if sound is not None:
                check_whole(container, sound, collector.reached, path)
        return Scan(np.array(stamps), collector.finish(), frozenset(flags), aspect_ratio(video), kept.frames)


def _picture_flags(frame: av.VideoFrame, rule: Rule) -> set[str]:
    flags = {"interlaced"} if frame.interlaced_frame else set()
    return flags | {"hdr"} if rule.reports and int(frame.color_trc) in HDR_TRANSFERS else flags


def put_on_time_line(
    path: Path,
    audio_path: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    min_frames: int = MIN_FRAMES,
    rule: Rule = PP1,
    keep: bool = False,
) -> Timed:
    """Plans the clip of a file and decodes its sound (see `read_clip`).

    Args:
        keep: hold a short file's pictures, for `timed_frames` to decode them once.
    """
    path = Path(path)
    if start is not None and end is not None and end <= start:
        raise ClipError("too_short", f"the window {start} to {end} s is empty")
    found = scan(path, end, start, audio_path is None, rule, keep)
    sound, flags = found.sound, set(found.flags)
    if audio_path is not None:
        # its first sample belongs to the video's time 0: encoder delay and container give it a stamp without meaning
        sound = decode_sound(Path(audio_path), start, end, rule=rule, from_zero=True)
        if sound is None:
            raise ClipError("no_audio", f"{printable(audio_path)} holds no sound")
    line = plan(found.stamps, (sound.start, sound.end) if sound else None, start, end, min_frames, held=rule.held)
    if rule.reports and has_gap(found.stamps, line):
        flags.add("gap")
    if sound is None:
        return Timed(path, line, None, ("no_audio", *sorted(flags)), rule, found.aspect, found.pictures)
    pcm = cut(sound, line.t0, line.n_samples)
    if rule.any_channel and loudness_dbfs(pcm) < SILENCE_DBFS:
        file, apart = (path, False) if audio_path is None else (Path(audio_path), True)
        loudest = decode_sound(file, start, end, rule=rule, from_zero=apart, channel=sound.loudest)
        if loudest is not None and loudness_dbfs(alone := cut(loudest, line.t0, line.n_samples)) >= SILENCE_DBFS:
            pcm = alone
            flags.add("one_channel")
    silent = ("silent",) if loudness_dbfs(pcm) < SILENCE_DBFS else ()
    return Timed(path, line, pcm, (*silent, *sorted(flags)), rule, found.aspect, found.pictures)


def timed_frames(timed: Timed) -> Iterator[np.ndarray]:
    """The N pictures of a time line in order, each (H, W, 3) uint8 RGB, decoded as they are asked for."""
    wanted, n = timed.line.source_index, 0
    for index, frame in enumerate(_decoded_again(timed) if timed.pictures is None else timed.pictures):
        if n == len(wanted):
            return
        if index != wanted[n]:
            continue
        rgb = upright_rgb(frame, timed.aspect, timed.rule)
        while n < len(wanted) and wanted[n] == index:
            yield rgb
            n += 1
    if n < len(wanted):
        raise ClipError(
            "unreadable", f"{printable(timed.path)}: picture {wanted[n]} was there once and is not any more"
        )


def _decoded_again(timed: Timed) -> Iterator[av.VideoFrame]:
    for picture, _ in iterate(timed.path, timed.rule):
        yield picture.frame


def read_clip(
    path: Path,
    audio_path: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    min_frames: int = MIN_FRAMES,
    spec: str = "pp1",
) -> ClipMedia:
    """Reads a talking video at 25 frames a second with its sound, by presentation time.

    Args:
        path: any video PyAV decodes; rotation and sample aspect ratio are applied.
        audio_path: a file whose sound replaces the video's own; its first sample belongs to the video's time 0.
        start, end: a window in source time, in seconds.
        min_frames: fewer are refused; pp1 says 25.
        spec: `pp1` or `pp2`, see docs/media.md.

    Returns:
        (N, H, W, 3) frames and (640 N,) sound; `audio` is None when there is no sound or it is below -60 dBFS.

    Raises:
        ClipError: what cannot be read, is too short or does not fit into memory.
    """
    timed = put_on_time_line(path, audio_path, start, end, max(1, min_frames), rule_of(spec), True)
    frames: np.ndarray | None = None
    for n, rgb in enumerate(timed_frames(timed)):
        if frames is None:
            require_memory((timed.line.n_frames, *rgb.shape), timed.path)
            frames = np.empty((timed.line.n_frames, *rgb.shape), np.uint8)
        frames[n] = rgb
    assert frames is not None  # a time line has at least one frame
    return ClipMedia(frames, None if "silent" in timed.flags else timed.pcm)
