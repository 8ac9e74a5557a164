"""What a media file declares about itself, without decoding more than one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from av.container import InputContainer

from floatbench.errors import ClipError
from floatbench.media.container import audio_stream, opened, video_stream
from floatbench.media.frames import aspect_ratio, quarter_turns
from floatbench.media.rules import PP1, Rule


@dataclass(frozen=True)
class VideoInfo:
    """Declared facts of a video stream; `width` and `height` are as shown (rotation and aspect ratio applied)."""

    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rate: float
    pix_fmt: str
    color_range: int
    colorspace: int
    color_primaries: int
    color_trc: int
    quarter_turns: int
    declared_frames: int


@dataclass(frozen=True)
class AudioInfo:
    """Declared facts of a sound stream."""

    codec: str
    rate: int
    channels: int


@dataclass(frozen=True)
class MediaInfo:
    """Declared facts of a file: container, size in bytes, seconds (None when unknown), streams and tags."""

    container: str
    size_bytes: int
    duration_s: float | None
    video: VideoInfo | None
    audio: AudioInfo | None
    metadata: dict[str, str] = field(default_factory=dict)


def probe(path: Path, rule: Rule = PP1) -> MediaInfo:
    """Reads a file's headers, and its first picture for rotation and pixel format.

    Args:
        rule: decides which of several tracks is meant.

    Raises:
        ClipError: `missing`, `empty`, `unreadable`.
    """
    path = Path(path)
    with opened(path) as container:
        sound = audio_stream(container, path, rule.default_track)
        duration = container.duration
        return MediaInfo(
            container=container.format.name,
            size_bytes=path.stat().st_size,
            duration_s=None if duration is None else duration / 1_000_000,
            video=_video_info(container, path, rule),
            audio=sound and AudioInfo(sound.codec_context.name, sound.rate or 0, sound.channels or 0),
            metadata=_tags(container),
        )


def _tags(container: InputContainer) -> dict[str, str]:
    """The tags of a file; Matroska holds their names in capitals."""
    capitals = "matroska" in container.format.name
    return {name.lower() if capitals else name: text for name, text in container.metadata.items()}


def _video_info(container: InputContainer, path: Path, rule: Rule) -> VideoInfo | None:
    try:
        stream = video_stream(container, path, rule.default_track)
    except ClipError as error:
        if error.reason == "no_video":
            return None
        raise
    first = next(container.decode(stream), None)
    if first is None:
        raise ClipError("empty", f"{path.name} holds no picture")
    turns, _ = quarter_turns(first)
    width, height = max(1, round(first.width * aspect_ratio(stream))), first.height
    if turns % 2:
        width, height = height, width
    rate = stream.average_rate or stream.guessed_rate
    return VideoInfo(
        codec=stream.codec_context.name,
        width=width,
        height=height,
        coded_width=first.width,
        coded_height=first.height,
        rate=round(float(rate), 4) if rate else 0.0,
        pix_fmt=first.format.name,
        color_range=int(first.color_range),
        colorspace=int(first.colorspace),
        color_primaries=int(first.color_primaries),
        color_trc=int(first.color_trc),
        quarter_turns=turns,
        declared_frames=stream.frames,
    )
