"""Streaming video writers: lossless FFV1 for what is scored, H.264 with AAC for what people watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from floatbench.errors import DependencyError, UsageError
from floatbench.files import atomic_path
from floatbench.text import near
from floatbench.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

LOSSLESS: Final = "ffv1"
VIDEO: Final = "libx264"
SOUND: Final = "aac"
CODECS = {LOSSLESS: "lossless clips", VIDEO: "video files", SOUND: "sound in video files"}
"""The encoders that FFmpeg must have, and what each is for."""

Encoder = Literal["x264", "nvenc"]
ENCODERS: Final[dict[Encoder, str]] = {"x264": VIDEO, "nvenc": "h264_nvenc"}
"""How H.264 is made -> FFmpeg's name of it. Pictures alike give the same bytes with x264 alone."""

AVX_512F = 13
"""`CV_CPU_AVX_512F` of OpenCV's cvdef.h, which its Python module leaves out."""


class _Writer:
    """Opens a container under a temporary name; the file appears whole at the end of the `with` block or not at all."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise ValueError(f"a video needs a size, got {width}x{height}")
        self.path, self.width, self.height = Path(path), width, height
        self.n_frames = 0
        self._stack = ExitStack()
        self._container: OutputContainer | None = None
        self._video: VideoStream | None = None

    def _open(self, partial: Path) -> tuple[OutputContainer, VideoStream]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(_writing(self.path))
            partial = stack.enter_context(atomic_path(self.path))
            self._container, self._video = self._open(partial)
            stack.callback(self._container.close)
            self._stack = stack.pop_all()
        return self

    def write(self, frame: np.ndarray) -> None:
        """Adds one (H, W, 3) uint8 RGB picture."""
        if self._container is None or self._video is None:
            raise ValueError("the writer is not open: use it in a `with` block")
        if not self._fits(frame.shape) or frame.dtype != np.uint8:
            raise ValueError(f"expected ({self.height}, {self.width}, 3) uint8, got {frame.shape} {frame.dtype}")
        picture = self._picture(frame)
        picture.pts = self.n_frames
        with _writing(self.path):
            self._container.mux(self._video.encode(picture))
        self.n_frames += 1

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return shape == (self.height, self.width, 3)

    def _picture(self, frame: np.ndarray) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")

    def _finish(self) -> None:
        if self.n_frames == 0:
            raise ValueError(f"no picture was written to {self.path.name}")
        assert self._container is not None and self._video is not None
        self._container.mux(self._video.encode(None))

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._stack:
                if kind is not None and value is not None:
                    raise value
                self._finish()
        finally:
            self._container = self._video = None


class LosslessWriter(_Writer):
    """FFV1 level 3 (bgr0, 25/1) in Matroska: what is read back equals what was written, bit for bit.

    Args:
        path: target, usually `*.mkv`.
        width, height: of every picture, any size.
        fps: frames a second; another rate than 25 is for originals that are kept, never for what is scored.
        metadata: tags, lower-case keys and any text; `probe` gives them back.
    """

    def __init__(
        self, path: Path, width: int, height: int, fps: float = FPS, metadata: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(path, width, height)
        self._fps, self._metadata = Fraction(fps).limit_denominator(1001), dict(metadata or {})

    def _open(self, partial: Path) -> tuple[OutputContainer, VideoStream]:
        container = av.open(f"file:{partial.absolute()}", "w", format="matroska")
        container.metadata.update(self._metadata)
        stream = container.add_stream(LOSSLESS, rate=self._fps)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "bgr0"
        stream.codec_context.thread_count = 2
        stream.codec_context.thread_type = "SLICE"
        slices = "4" if min(self.width, self.height) >= 16 else "1"  # FFV1 refuses slices without a pixel
        stream.options = {"level": "3", "slices": slices, "slicecrc": "1", "g": "1"}
        return container, stream


class Mp4Writer(_Writer):
    """H.264 (yuv420p, BT.601 tagged, 25/1) with AAC sound in MP4, written as the pictures come.

    Odd sizes get one more row or column, a copy of the last: 4:2:0 needs even ones. The sound is cut at the end of the
    pictures. The encoder runs on one thread, because its output depends on their number.

    Args:
        path: target.
        width, height: of every picture.
        audio: (S,) int16 mono 16 kHz, or None.
        metadata: tags, any keys and any text; `probe` gives them back.
        crf: quality of H.264, smaller is better.
        preset: speed of x264.
        keyframes: frames from one key frame to the next, at most; few make seeking fast and files larger.
        encoder: `nvenc` encodes on an NVIDIA GPU (not yet measured); `crf` is its constant quality then.

    Raises:
        DependencyError: an encoder that does not open here, see `usable_encoder`.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        audio: np.ndarray | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        crf: float = 18,
        preset: str = "medium",
        keyframes: int = 250,
        encoder: Encoder = "x264",
    ) -> None:
        super().__init__(path, width, height)
        if audio is not None and (audio.ndim != 1 or audio.dtype != np.int16):
            raise ValueError(f"audio must be (samples,) int16, got {audio.shape} {audio.dtype}")
        self._audio, self._metadata = audio, dict(metadata or {})
        self._crf, self._preset, self._keyframes = crf, preset, keyframes
        self._encoder: Encoder = encoder
        self._sound: AudioStream | None = None

    def _open(self, partial: Path) -> tuple[OutputContainer, VideoStream]:
        container = av.open(
            f"file:{partial.absolute()}", "w", format="mp4", options={"movflags": "use_metadata_tags+faststart"}
        )
        container.metadata.update(self._metadata)
        stream = container.add_stream(ENCODERS[self._encoder], rate=FPS)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.color_range, context.colorspace = 1, 6  # limited range, SMPTE 170M (BT.601)
        context.color_primaries, context.color_trc = 6, 6
        stream.options = {"g": str(self._keyframes), **self._quality()}
        if self._audio is not None:
            self._sound = container.add_stream(SOUND, rate=SAMPLE_RATE, layout="mono")
            self._sound.bit_rate = 64_000
        return container, stream

    def _quality(self) -> dict[str, str]:
        if self._encoder == "nvenc":
            return {"rc": "vbr", "cq": f"{self._crf:g}", "b": "0", "preset": "p5"}
        return {"crf": str(self._crf), "preset": self._preset, **_repeatable()}

    def _fits(self, shape: tuple[int, ...]) -> bool:
        even = self.width % 2 == self.height % 2 == 0
        return super()._fits(shape) or (even and shape == (self.height * 3 // 2, self.width))

    def _picture(self, frame: np.ndarray) -> av.VideoFrame:
        if frame.ndim == 2:  # planes that are already BT.601 in limited range
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="yuv420p")
            picture.color_range, picture.colorspace = 1, 6
            return picture
        if self.width % 2 or self.height % 2:
            frame = np.pad(frame, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        return super()._picture(frame).reformat(format="yuv420p", dst_colorspace="SMPTE170M", dst_color_range="MPEG")

    def write(self, frame: np.ndarray) -> None:
        """Adds one picture and its 640 samples: (H, W, 3) uint8 RGB, or the planes of yuv420p as (3 H / 2, W) uint8."""
        first = self.n_frames * SAMPLES_PER_FRAME
        super().write(frame)
        if self._sound is None or self._audio is None or self._container is None:
            return
        piece = self._audio[first : first + SAMPLES_PER_FRAME]
        if len(piece):
            sound = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            sound.sample_rate, sound.pts = SAMPLE_RATE, first
            with _writing(self.path):
                self._container.mux(self._sound.encode(sound))

    def _finish(self) -> None:
        super()._finish()
        if self._sound is not None and self._container is not None:
            self._container.mux(self._sound.encode(None))


def _repeatable() -> dict[str, str]:
    """Options under which equal pictures always give equal bytes.

    Where x264 (as PyAV 18.1 brings it) uses AVX-512, its macroblock tree depends on what the memory held before. With
    AVX2 only, which every processor with AVX-512 has, it does not; without the tree neither, at 40 % more bytes.
    """
    if not cv2.checkHardwareSupport(AVX_512F):
        return {}
    return {"x264-params": "asm=AVX2,FMA3,BMI1,BMI2,LZCNT"}


def usable_encoder(wish: str) -> tuple[Encoder, str]:
    """The encoder that is wished for and "", or x264 and why not, where NVENC does not open.

    Raises:
        UsageError: no encoder that is known.
    """
    if wish == "x264":
        return "x264", ""
    if wish != "nvenc":
        raise UsageError(f"the encoder must be one of {', '.join(ENCODERS)}, not {wish!r}", fix=near(wish, [*ENCODERS]))
    reason = _refusal(ENCODERS["nvenc"])
    return ("x264", f"NVENC cannot be used ({reason}): x264 encodes") if reason else ("nvenc", "")


def _refusal(codec: str) -> str:
    """Why FFmpeg does not open an encoder; empty where it does. The list of codecs says only what was built in."""
    try:
        context = av.CodecContext.create(codec, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width = context.height = 256
        context.pix_fmt, context.framerate, context.time_base = "yuv420p", Fraction(FPS), Fraction(1, FPS)
        context.open()
    except (av.FFmpegError, ValueError) as error:  # an unknown codec is a ValueError
        return getattr(error, "strerror", None) or f"FFmpeg does not know {codec}"
    return ""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Leaves a full or read-only disk (an OSError) to the file layer and gives every other FFmpeg error a file name."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise DependencyError(f"{path.name} could not be encoded: {error}") from error


def write_lossless(path: Path, frames: Iterable[np.ndarray], fps: float = FPS) -> None:
    """Writes (T, H, W, 3) uint8 RGB frames, or any iterable of pictures, as lossless FFV1 at 25 frames a second.

    Another `fps` is for originals that are kept beside what is scored.
    """
    _write_all(lambda p, w, h: LosslessWriter(p, w, h, fps), path, frames)


def write_mp4(
    path: Path,
    frames: Iterable[np.ndarray],
    audio: np.ndarray | None = None,
    metadata: Mapping[str, str] | None = None,
    crf: float = 18,
) -> None:
    """Writes (T, H, W, 3) uint8 RGB frames, or any iterable of pictures, as H.264 + AAC; see `Mp4Writer`."""
    _write_all(lambda p, w, h: Mp4Writer(p, w, h, audio, metadata, crf=crf), path, frames)


def _write_all(make: Callable[[Path, int, int], _Writer], path: Path, frames: Iterable[np.ndarray]) -> None:
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"no picture to write to {Path(path).name}")
    with make(Path(path), first.shape[1], first.shape[0]) as writer:
        for picture in chain([first], pictures):
            writer.write(picture)
