"""Decoded pictures with their time stamps, upright and with square pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream

from floatbench.errors import ClipError
from floatbench.media.container import check_whole, opened, require_memory, video_stream
from floatbench.media.rules import PP1, Rule, rule_of
from floatbench.text import printable

_LARGEST_ASPECT = 8
_MOST_REORDERED = 16  # pictures that H.264 and HEVC may decode ahead of one that is shown earlier


@dataclass(frozen=True)
class Stamped:
    """One decoded picture: its number in the order of showing, its time stamp in seconds, PyAV's frame.

    Where a file stamps its pictures in the order of decoding, the stamps are those of near neighbours; sorted they are
    right.
    """

    index: int
    stamp: float
    frame: av.VideoFrame


class Stamper:
    """Numbers the pictures of one stream and checks what pp1 relies on: order, one size, no damage."""

    def __init__(self, stream: VideoStream, path: Path) -> None:
        self._path = path
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._gap = 1 / float(rate) if rate > 0 else 0.04
        self._last: Stamped | None = None
        self._latest = -np.inf
        self._decoding_times_only = False

    def __call__(self, frame: av.VideoFrame) -> Stamped:
        last = self._last
        index = last.index + 1 if last else 0
        stamp = frame.time  # some AVI streams have no stamps: then the declared rate counts
        if stamp is None:
            stamp = last.stamp + self._gap if last else 0.0
        if frame.is_corrupt:
            raise ClipError("unreadable", f"{printable(self._path)}: picture {index} ({stamp:.2f} s) is damaged")
        if last and stamp < last.stamp and not self._in_decoding_order(stamp, frame.dts, last.frame.dts):
            raise ClipError("unreadable", f"{printable(self._path)}: time stamps run backwards at picture {index}")
        if last and (frame.width, frame.height) != (last.frame.width, last.frame.height):
            raise ClipError("unreadable", f"{printable(self._path)}: the picture size changes at picture {index}")
        self._last, self._latest = Stamped(index, float(stamp), frame), max(self._latest, stamp)
        return self._last

    def _in_decoding_order(self, stamp: float, dts: int | None, last_dts: int | None) -> bool:
        """True where the container has decoding times only (AVI), as FFmpeg's own choice of a time stamp assumes."""
        if dts is not None and last_dts is not None:  # the last pictures, which the decoder held back, have none
            self._decoding_times_only = dts > last_dts
        return self._decoding_times_only and self._latest - stamp <= _MOST_REORDERED * self._gap


def quarter_turns(frame: av.VideoFrame) -> tuple[int, bool]:
    """(quarter turns counter-clockwise, mirrored first) of the picture's display matrix; (0, False) without one."""
    side_data: Any = frame.side_data  # PyAV's annotations say that its keys are strings; they are types
    matrix = side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return 0, False
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    scale = max(abs(a), abs(b), abs(c), abs(d), 1)
    turn = tuple(round(v / scale) for v in (a, b, c, d))
    if turn not in _TURNS:
        raise ClipError("unreadable", "the display rotation is not a multiple of 90 degrees")
    return _TURNS[turn]


# x' = a x + c y, y' = b x + d y with y pointing down
_TURNS: dict[tuple[int, ...], tuple[int, bool]] = {
    (1, 0, 0, 1): (0, False),
    (0, -1, 1, 0): (1, False),
    (-1, 0, 0, -1): (2, False),
    (0, 1, -1, 0): (3, False),
    (-1, 0, 0, 1): (0, True),
    (0, -1, -1, 0): (1, True),
    (1, 0, 0, -1): (2, True),
    (0, 1, 1, 0): (3, True),
}


def aspect_ratio(stream: VideoStream) -> Fraction:
    """Sample aspect ratio (pixel width / height), 1 where undefined; raises ClipError when absurd."""
    ratio = stream.sample_aspect_ratio
    if ratio is None or ratio <= 0:
        return Fraction(1)
    if not Fraction(1, _LARGEST_ASPECT) <= ratio <= _LARGEST_ASPECT:
        raise ClipError("unreadable", f"sample aspect ratio {ratio}")
    return Fraction(ratio)


def upright_rgb(frame: av.VideoFrame, aspect: Fraction, rule: Rule = PP1) -> np.ndarray:
    """(H, W, 3) uint8 RGB as a player shows it: square pixels (the width is scaled), then the display rotation."""
    rgb = frame.to_ndarray(format="rgb24", interpolation=rule.interpolation)
    if aspect != 1:
        width = max(1, round(rgb.shape[1] * aspect))
        method = cv2.INTER_AREA if width < rgb.shape[1] else cv2.INTER_CUBIC
        rgb = cv2.resize(rgb, (width, rgb.shape[0]), interpolation=method)
    turns, mirrored = quarter_turns(frame)
    if mirrored:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(np.rot90(rgb, turns))


def iterate(path: Path, rule: Rule = PP1) -> Iterator[tuple[Stamped, Fraction]]:
    """Every picture of a file in presentation order, with the stream's sample aspect ratio; sound is not decoded."""
    with opened(path) as container:
        stream = video_stream(container, path, rule.default_track)
        aspect, stamper = aspect_ratio(stream), Stamper(stream, path)
        for frame in container.decode(stream):
            yield stamper(frame), aspect


def read_pictures(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """(N, H, W, 3) uint8 RGB: some pictures of a file as `LosslessWriter` writes it, in the order asked for.

    Every picture of such a file is a key frame and rates are constant, so that only those asked for are decoded.

    Raises:
        ClipError: as `read_video`; `unreadable` also when the file ends before a picture, or is of another kind.
    """
    frames: list[np.ndarray] = []
    with opened(Path(path)) as container:
        stream = video_stream(container, path)
        stream.thread_type = "SLICE"  # threads of whole pictures would decode those that follow, too
        if not stream.average_rate or not stream.time_base:
            raise ClipError("unreadable", f"{printable(path)} has no constant rate")
        gap = float(1 / (stream.average_rate * stream.time_base))
        aspect = aspect_ratio(stream)
        for number in numbers:
            container.seek(round(number * gap), stream=stream)
            frame = next(container.decode(stream), None)
            if frame is None or frame.pts is None or abs(frame.pts - number * gap) > gap / 2 or frame.is_corrupt:
                raise ClipError("unreadable", f"{printable(path)}: picture {number} is missing or damaged")
            frames.append(upright_rgb(frame, aspect))
    return np.stack(frames)


def read_video(path: Path, spec: str = "pp1") -> tuple[np.ndarray, float]:
    """Decodes every picture of a file, without retiming.

    Args:
        spec: the protocol's `preprocessing.spec`: what is compared must be decoded in one way.

    Returns:
        frames (T, H, W, 3) uint8 RGB, upright and with square pixels, and the mean rate in frames a second from the
        time stamps (four decimals; the declared rate for a single picture).

    Raises:
        ClipError: `missing`, `empty`, `unreadable`, `truncated`, `no_video`, `too_large`, `out_of_memory`.
    """
    path, rule = Path(path), rule_of(spec)
    frames: list[np.ndarray] = []
    stamps: list[float] = []
    with opened(path) as container:
        stream = video_stream(container, path, rule.default_track)
        aspect, stamper = aspect_ratio(stream), Stamper(stream, path)
        for frame in container.decode(stream):
            stamps.append(stamper(frame).stamp)
            frames.append(upright_rgb(frame, aspect, rule))
            if len(frames) % 64 == 1:
                require_memory((64, *frames[-1].shape), path)
        declared = float(stream.average_rate or 0)
        stamps.sort()
        check_whole(container, stream, end_of(stamps), path)
    if not frames:
        raise ClipError("empty", f"{printable(path)} holds no picture")
    out = np.empty((len(frames), *frames[0].shape), np.uint8)
    for i in reversed(range(len(frames))):
        out[i] = frames.pop()  # gives each picture back at once: two copies of a clip never exist
    span = stamps[-1] - stamps[0]
    return out, round((len(stamps) - 1) / span, 4) if span > 0 else declared


def first_picture(path: Path, spec: str = "pp1") -> np.ndarray:
    """(H, W, 3) uint8 RGB: the picture of a file that is shown first, as `read_video` gives it; the rest is left."""
    path, rule = Path(path), rule_of(spec)
    for picture, aspect in iterate(path, rule):
        return upright_rgb(picture.frame, aspect, rule)
    raise ClipError("empty", f"{printable(path)} holds no picture")


def end_of(stamps: list[float]) -> float:
    """When the last picture ends: its stamp and the mean gap; 0 without a picture."""
    return stamps[-1] + (stamps[-1] - stamps[0]) / max(len(stamps) - 1, 1) if stamps else 0.0
