"""A stream of frames as a video file that says what it is and how it was made."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from floatbench.media import Encoder, LosslessWriter, Mp4Writer
from floatbench.progress import NullProgress, Progress
from floatbench.sampling.ahead import ahead, in_turn
from floatbench.sampling.animator import Stream

SYNTHETIC_MARK = "synthetic media: this portrait was animated by a machine and shows no real event"
AHEAD = 32
"""Frames that may wait for the encoder when it runs beside the networks."""
WRITERS = 4
"""Videos that are written at once."""
Begun = TypeVar("Begun")
Made = TypeVar("Made")


def write_stream(
    stream: Stream,
    out: Path,
    pcm: np.ndarray | None = None,
    settings: dict[str, Any] | None = None,
    progress: Progress | None = None,
    overlap: bool | None = None,
    turn: threading.Lock | None = None,
    encoder: Encoder = "x264",
) -> None:
    """Encodes a stream while it is made, `.mkv` lossless and without sound; the stage `mux` counts encoding.

    Args:
        overlap: make frames in a thread while the last ones are encoded: the same frames, counted as one stage. None
            does so on CUDA, where frames for `.mp4` also come as yuv420 planes (not yet measured on CUDA).
        turn: shared by streams of one model that are written at once.
        encoder: of `.mp4`.
    """
    cuda = stream.device.type == "cuda"
    overlap = cuda if overlap is None else overlap
    lossless = out.suffix.lower() == ".mkv"
    with stream.clock.overlapped() if overlap else stream.clock("mux"):
        marks = tags(settings) if settings else None
        if lossless:
            writer: LosslessWriter | Mp4Writer = LosslessWriter(out, stream.size, stream.size, metadata=marks)
        else:
            writer = Mp4Writer(out, stream.size, stream.size, audio=pcm, metadata=marks, encoder=encoder)
        frames = stream.frames("yuv420" if cuda and not lossless else "rgb")
        if turn is not None:
            frames = in_turn(frames, turn)
        with (
            closing(ahead(frames, AHEAD) if overlap else frames) as made,
            writer,
            (progress or NullProgress()).task(out.name, stream.n_frames, unit="frame") as task,
        ):
            for frame in made:
                writer.write(frame)
                task.advance()


def written(
    write: Callable[[Begun, threading.Lock | None], Made], videos: Sequence[Begun], side_by_side: bool
) -> list[Made]:
    """What `write` makes of each video, in order.

    Args:
        write: given a video and the `turn` of `write_stream`.
        side_by_side: in threads, since an encoder makes fewer frames a second than a GPU.
    """
    if not side_by_side:
        return [write(video, None) for video in videos]
    turn = threading.Lock()
    with ThreadPoolExecutor(min(len(videos), WRITERS)) as pool:
        return list(pool.map(lambda video: write(video, turn), videos))


def tags(settings: dict[str, Any]) -> dict[str, str]:
    """Metadata of a video: all settings as JSON, and the mark that it is synthetic."""
    model = settings["model"]
    comment = f"{SYNTHETIC_MARK}; made by floatbench {settings['floatbench']} with {model['name']}"
    if model["fabricated"]:
        comment += " and random weights"
    return {"comment": comment, "synthetic_media": "yes", "floatbench": json.dumps(settings, sort_keys=True)}
