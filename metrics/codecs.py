"""The lossy picture steps of the SyncNet pipeline, in memory: AVI and JPEG of the frames, AVI and JPEG of the crops.

The pipeline runs FFmpeg's program and OpenCV over files; here the same encoders run through PyAV, so bytes depend on
its FFmpeg version, and the input is R-G-B instead of the video's own planes. Sound is not re-encoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from floatbench.types import FPS

GENERATIONS = "frames: mpeg4 q2, mjpeg q2; crops: mpeg4 1.25 Mbit/s, mjpeg 200 kbit/s; sound untouched"
_LAMBDA = 118
"""FFmpeg's quality unit: -qscale:v 2 is global_quality 236."""
_FIXED = {"flags": "+qscale", "global_quality": str(2 * _LAMBDA)}


def dump_frames(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB through `ffmpeg -qscale:v 2 X.avi` and a JPEG dump at quality 2; same shape."""
    return _through(frames, _FIXED, _FIXED, None)


def dump_crops(crops: np.ndarray) -> np.ndarray:
    """(T, 224, 224, 3) through OpenCV's XVID writer (width x height x rate bits a second) and a default JPEG dump."""
    rate = FPS * crops.shape[1] * crops.shape[2]
    return _through(crops, {"b": str(rate), "g": "12"}, {}, "XVID")


def _through(frames: np.ndarray, video: dict[str, str], picture: dict[str, str], tag: str | None) -> np.ndarray:
    data = _encode_avi(frames, video, tag)
    pictures = []
    for jpeg in _jpegs(_decode(data), picture):
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if decoded is not None:
            pictures.append(decoded)
    if len(pictures) != len(frames):
        raise RuntimeError(f"{len(frames)} frames went into the encoder, {len(pictures)} came out")
    return np.stack(pictures)[..., ::-1].copy()


def _encode_avi(frames: np.ndarray, options: dict[str, str], tag: str | None) -> io.BytesIO:
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if tag:
            stream.codec_context.codec_tag = tag
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    data.seek(0)
    return data


def _decode(data: io.BytesIO) -> Iterator[Any]:
    import av

    with av.open(data, "r") as container:
        yield from container.decode(video=0)


def _jpegs(frames: Iterable, options: dict[str, str]) -> Iterator[bytes]:
    """One JPEG file per decoded frame from one MJPEG encoder, whose rate control looks back as FFmpeg's does."""
    import av

    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.options = options
    encoder.time_base = Fraction(1, FPS)
    encoder.framerate = Fraction(FPS)
    encoder.pix_fmt = "yuvj420p"
    for number, frame in enumerate(frames):
        if number == 0:
            encoder.width, encoder.height = frame.width, frame.height
        picture = frame.reformat(format="yuvj420p")
        picture.pts, picture.time_base = number, Fraction(1, FPS)
        yield from (bytes(packet) for packet in encoder.encode(picture))
    yield from (bytes(packet) for packet in encoder.encode(None))
