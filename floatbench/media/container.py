"""Opens media files safely: by content, local files only, every failure a ClipError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import psutil
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import MemoryError as AvMemoryError
from av.stream import Disposition
from av.video.stream import VideoStream

from floatbench.errors import ClipError

MAX_PIXELS = 8192 * 4608
"""Largest picture of a video (8K); a damaged header must not make the decoder ask for gigabytes."""

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
            raise ClipError("missing", f"{shown(path)} does not exist")
        if not path.is_file():
            raise ClipError("unreadable", f"{shown(path)} is not a regular file")
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:  # no permission, a name with a zero byte, a name too long
        raise ClipError("unreadable", f"{shown(path)}: {error}") from error
    if size == 0:
        raise ClipError("empty", f"{shown(path)} holds no bytes")
    return path


def shown(path: Path | str) -> str:
    """A path as one printable line, whatever characters it holds."""
    text = str(path)
    return text if text.isprintable() else repr(text)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turns what PyAV raises on damaged data into ClipError `unreadable` (`out_of_memory` when memory ran out)."""
    try:
        yield
    except (MemoryError, AvMemoryError) as error:
        raise ClipError("out_of_memory", f"{shown(path)}: not enough memory to decode it") from error
    except (av.FFmpegError, ValueError, OverflowError, ZeroDivisionError) as error:
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ClipError("unreadable", f"{shown(path)}: {detail}") from error


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


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not a cover picture; raises ClipError `no_video`."""
    for stream in container.streams.video:
        if not int(stream.disposition) & int(Disposition.attached_pic):
            context = stream.codec_context
            if context.width * context.height > MAX_PIXELS:
                raise ClipError("too_large", f"{shown(path)}: {context.width}x{context.height} pixels")
            stream.thread_type = "AUTO"
            context.thread_count = 2  # more threads hold more decoded pictures in memory
            context.options = {"max_pixels": str(MAX_PIXELS)}
            return stream
    raise ClipError("no_video", f"{shown(path)} holds no video stream")


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The first audio stream, or None."""
    return container.streams.audio[0] if container.streams.audio else None


def require_memory(array_shape: tuple[int, ...], path: Path) -> None:
    """Raises ClipError `out_of_memory` when a uint8 array of this shape would not fit into free memory."""
    needed, free = int(np.prod(array_shape, dtype=np.float64)), psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise ClipError(
            "out_of_memory",
            f"{shown(path)}: {array_shape[0]} pictures need {needed / 2**30:.1f} GB, {free / 2**30:.1f} GB are free; "
            "give a shorter window",
        )
