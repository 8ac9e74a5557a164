"""The lossy picture steps of the SyncNet pipeline, in memory: AVI and JPEG of the frames, AVI and JPEG of the crops.

The pipeline runs FFmpeg's program and OpenCV over files; here the same encoders run through PyAV and give the same
pictures bit for bit, where FFmpeg's program encodes with one thread (by itself it cuts one slice per core, so that its
bytes follow the machine). The input is R-G-B instead of the video's own planes. Sound is not re-encoded.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from floatbench.types import FPS

GENERATIONS = "frames: mpeg4 q2, mjpeg q2; crops: mpeg4 1.25 Mbit/s, mjpeg 200 kbit/s; one thread; sound untouched"
_LAMBDA = 118
"""FFmpeg's unit of quality: -qscale:v 2 is 236 of them."""
_Q2 = str(2 * _LAMBDA)
_FIXED_VIDEO = {"qmin": "2", "qmax": "2", "lmin": _Q2, "lmax": _Q2, "i_qfactor": "1"}
"""-qscale:v 2 for MPEG-4. The program also writes the quality into every frame, which PyAV cannot; these limits give
the same quantiser and the same weight of bits in the motion search."""
_FIXED_PICTURE = {"flags": "+qscale", "global_quality": _Q2}
_XVID = {"g": "12", "qmin": "3"}
"""What OpenCV's writer sets beside the bit rate."""


def dump_frames(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB through `ffmpeg -qscale:v 2 X.avi` and a JPEG dump at quality 2; same shape."""
    return _through(_encode_avi(frames, "rgb24", _FIXED_VIDEO), _FIXED_PICTURE, len(frames))


def dump_crops(crops: np.ndarray) -> np.ndarray:
    """(T, 224, 224, 3) through OpenCV's XVID writer (width x height x rate bits a second) and a default JPEG dump."""
    rate = FPS * crops.shape[1] * crops.shape[2]
    return _through(_encode_avi(crops, "bgr24", {**_XVID, "b": str(rate)}, "XVID"), {}, len(crops))


def _through(avi: io.BytesIO, picture: dict[str, str], count: int) -> np.ndarray:
    pictures = []
    for jpeg in _jpegs(_decode(avi), picture):
        decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if decoded is not None:
            pictures.append(decoded)
    if len(pictures) != count:
        raise RuntimeError(f"{count} frames went into the encoder, {len(pictures)} came out")
    return np.stack(pictures)[..., ::-1].copy()


def _encode_avi(frames: np.ndarray, order: str, options: dict[str, str], tag: str = "") -> io.BytesIO:
    """An AVI of RGB frames; `order` is the layout handed to the scaler, whose rounding differs between the two."""
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="avi") as container:
        stream: Any = container.add_stream("mpeg4", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = (
            1  # every thread cuts a slice of its own: the bytes would follow the machine
        )
        if tag:
            stream.codec_context.codec_tag = tag
        for number, pixels in enumerate(frames):
            ordered = pixels if order == "rgb24" else pixels[..., ::-1]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(ordered), format=order)
            container.mux(stream.encode(_planes(frame, "yuv420p", number)))
        container.mux(stream.encode())
    data.seek(0)
    return data


def _planes(frame: Any, layout: str, number: int) -> Any:
    """The frame in another pixel layout, by the bicubic filter that FFmpeg's program and OpenCV take."""
    planes = frame.reformat(format=layout, interpolation="BICUBIC")
    planes.pts, planes.time_base = number, Fraction(1, FPS)
    return planes


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
    encoder.thread_count = 1
    encoder.sample_aspect_ratio = Fraction(1)  # 18 bytes of each file's header, which the rate control counts
    for number, frame in enumerate(frames):
        if number == 0:
            encoder.width, encoder.height = frame.width, frame.height
        picture = _planes(frame, "yuvj420p", number)
        yield from (bytes(packet) for packet in encoder.encode(picture))
    yield from (bytes(packet) for packet in encoder.encode(None))
