"""Opens media files safely: by content, local files only, every failure a ClipError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import psutil
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import MemoryError as AvMemoryError
from av.stream import Disposition
from av.video.stream import VideoStream

from floatbench.errors import ClipError
from floatbench.text import printable

MAX_PIXELS = 8192 * 4608
"""Largest picture of a video (8K); a damaged header must not make the decoder ask for gigabytes."""

_Stream = AudioStream | VideoStream
_S = TypeVar("_S", AudioStream, VideoStream)

# Demuxers that read one local file. Playlists (hls, concat, dash), devices and text renderers stay out: a file's
# content must never make the reader open another file or an address.
_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,nut,mxf,wtv,ivf,h264,hevc,m4v,"
    "wav,w64,mp3,flac,aac,aiff,caf,au,ac3,eac3,amr,ape,wv,dv,rm"
)


def check_file(path: Path) -> Path:
    """The path when it names a file with bytes in it; raises ClipError `missing`, `unreadable` or `empty`."""
    path = Path(path)
    try:
        if not path.exists():
            raise ClipError("missing", f"{printable(path)} does not exist")
        if not path.is_file():
            raise ClipError("unreadable", f"{printable(path)} is not a regular file")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:  # no permission, a name with a zero byte, a name too long
        raise ClipError("unreadable", f"{printable(path)}: {error}") from error
    if size == 0:
        raise ClipError("empty", f"{printable(path)} holds no bytes")
    return path


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turns what PyAV raises on damaged data into ClipError `unreadable` (`out_of_memory` when memory ran out)."""
    try:
        yield
    except (MemoryError, AvMemoryError) as error:
        raise ClipError("out_of_memory", f"{printable(path)}: not enough memory to decode it") from error
    except (av.FFmpegError, ValueError, OverflowError, ZeroDivisionError) as error:
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ClipError("unreadable", f"{printable(path)}: {detail}") from error


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """Opens a media file by its content (the name's ending is ignored) and closes it again."""
    path = check_file(path)
    with decoding(path):
        container = av.open(
            f"file:{path.absolute()}",
            metadata_errors="replace",
            container_options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
        )
    try:
        with decoding(path):
            yield container
    finally:
        container.close()


def video_stream(container: InputContainer, path: Path, default_track: bool = False) -> VideoStream:
    """The first video stream that is not a cover picture; raises ClipError `no_video`.

    Args:
        default_track: prefer the one that the file marks as default.
    """
    films = [s for s in container.streams.video if not int(s.disposition) & int(Disposition.attached_pic)]
    if not films:
        raise ClipError("no_video", f"{printable(path)} holds no video stream")
    stream = _preferred(films) if default_track else films[0]
    context = _decoder(stream, path)
    if context.width * context.height > MAX_PIXELS:
        raise ClipError("too_large", f"{printable(path)}: {context.width}x{context.height} pixels")
    stream.thread_type = "AUTO"
    context.thread_count = 2  # more threads hold more decoded pictures in memory
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def audio_stream(container: InputContainer, path: Path, default_track: bool = False) -> AudioStream | None:
    """The first audio stream, or None; raises ClipError `unreadable` when nothing here decodes it.

    Args:
        default_track: prefer the one that the file marks as default.
    """
    if not container.streams.audio:
        return None
    stream = _preferred(container.streams.audio) if default_track else container.streams.audio[0]
    _decoder(stream, path)
    return stream


def _preferred(streams: Sequence[_S]) -> _S:
    """The stream marked as default, else the first."""
    return next((s for s in streams if int(s.disposition) & int(Disposition.default)), streams[0])


def _decoder(stream: _Stream, path: Path) -> Any:
    if stream.codec_context is None:  # a codec that this FFmpeg does not know, or a damaged name of one
        raise ClipError("unreadable", f"{printable(path)}: the {stream.type} stream has an unknown codec")
    return stream.codec_context


def check_whole(container: InputContainer, stream: _Stream, reached: float, path: Path) -> None:
    """Raises ClipError `truncated` when a stream ends well before the length its own header declares.

    Args:
        reached: presentation time of the end of what was decoded, in seconds.
    """
    declared = _declared_seconds(container, stream, path)
    if declared is not None and reached < declared - max(0.5, 0.02 * declared):
        raise ClipError("truncated", f"{printable(path)}: {max(reached, 0):.2f} s of {declared:.2f} s can be decoded")


def _declared_seconds(container: InputContainer, stream: _Stream, path: Path) -> float | None:
    """The length in the stream's own header; None for containers where FFmpeg only estimates it."""
    names = container.format.name.split(",")
    if "wav" in names:
        return _wav_seconds(path)
    if "mov" in names and stream.duration is not None and stream.time_base:
        return float(stream.duration * stream.time_base)
    text = stream.metadata.get("DURATION", "")  # Matroska writes HH:MM:SS.nnnnnnnnn for each track
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def _wav_seconds(path: Path) -> float | None:
    """Size of the data chunk over the byte rate; FFmpeg itself takes what is left of a file that was cut off."""
    with path.open("rb") as stream:
        head = stream.read(65_536)
    at, byte_rate = 12, 0
    while at + 8 <= len(head):
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"fmt ":
            byte_rate = int.from_bytes(head[at + 16 : at + 20], "little")
        if name == b"data":
            return None if _is_placeholder(size) or not byte_rate else size / byte_rate
        at += 8 + size + size % 2
    return None


def _is_placeholder(size: int) -> bool:
    """True for what programs declare that write into a pipe and cannot go back.

    That is 0, or the most a signed or unsigned 32-bit number holds, less a header or rounded down: sox and espeak
    write 0x7ffff000, FFmpeg 0xffffffff.
    """
    return size == 0 or 0x7FFF_0000 <= size <= 0x8000_0000 or size >= 0xFFFF_0000


def require_memory(array_shape: tuple[int, ...], path: Path) -> None:
    """Raises ClipError `out_of_memory` when a uint8 array of this shape would not fit into free memory."""
    needed, free = int(np.prod(array_shape, dtype=np.float64)), psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise ClipError(
            "out_of_memory",
            f"{printable(path)}: {array_shape[0]} pictures need {needed / 2**30:.1f} GB, "
            f"{free / 2**30:.1f} GB are free; give a shorter window",
        )
