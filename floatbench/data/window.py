"""Cuts a window out of a video without decoding it: packets are copied, time stamps stay those of the original.

The target is a NUT file because it keeps every codec and every time base exactly; Matroska rounds stamps to a
millisecond and MP4 rounds the start, and either may choose another frame on the 25 fps time line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av

from floatbench.errors import ClipError
from floatbench.files import atomic_path

MARGIN = 1.0  # seconds kept on both sides beyond the key frame


def cut_window(sources: Sequence[Any], start: float | None, end: float | None, target: Path) -> None:
    """Copies the first video and the first sound stream of `sources` around [start, end) into `target`.

    Args:
        sources: paths or readable, seekable files: one with both streams, or the picture and then the sound.
        start, end: seconds in the original's time; None is its begin or end.

    Raises:
        ClipError: `unreadable`, `no_video`, or `too_short` when the video ends before the window does.
    """
    opened: list[Any] = []
    try:
        for source in sources:
            opened.append(av.open(source if hasattr(source, "read") else str(source)))
        picture = next((s for c in opened for s in c.streams.video), None)
        if picture is None:
            raise ClipError("no_video", "the file holds no video stream")
        sound = next((s for c in opened for s in c.streams.audio), None)
        with atomic_path(target) as partial:
            last = _copy([s for s in (picture, sound) if s is not None], start, end, partial)
            if end is not None and last < end - 0.5:
                raise ClipError("too_short", f"the video ends at {last:.2f} s, the window at {end:.2f} s")
    except av.FFmpegError as error:
        raise ClipError("unreadable", f"{type(error).__name__}: {error.strerror}") from error
    finally:
        for container in opened:
            container.close()


def _copy(streams: Sequence[Any], start: float | None, end: float | None, partial: Path) -> float:
    """Copies packets; returns the end of the last picture in seconds."""
    last = 0.0
    with av.open(str(partial), "w", format="nut") as out:
        targets = [out.add_stream_from_template(stream) for stream in streams]
        for stream, target in zip(streams, targets, strict=True):
            target.time_base = stream.time_base
        for stream, target in zip(streams, targets, strict=True):
            container = stream.container
            container.seek(int(max((start or 0.0) - MARGIN, 0.0) * 1_000_000), backward=True)
            for packet in container.demux(stream):
                if packet.dts is None or packet.pts is None:
                    continue
                if end is not None and packet.dts * packet.time_base > end + MARGIN:
                    break
                if stream.type == "video":
                    last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                packet.stream = target
                out.mux(packet)
    return last
