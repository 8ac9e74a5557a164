"""What goes into a baseline's worker and what comes out: staged inputs, raw frames, another rate."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from floatbench.errors import ClipError
from floatbench.files import write_bytes
from floatbench.media.sound import write_wav
from floatbench.types import FPS


def stage(folder: Path, source: np.ndarray, audio: np.ndarray, video: np.ndarray | None = None) -> dict[str, Any]:
    """Writes the (H, W, 3) picture and the 16 kHz sound as `<hash>.png` and `<hash>.wav`; the hash is the content's.

    A source video (T, H, W, 3) becomes the lossless `<hash>.mkv`, named in the request's `extra`. Several systems keep
    results by the stem of a name, some of them cut at its first dot.
    """
    content = hashlib.sha256(source.tobytes() + np.ascontiguousarray(audio).tobytes())
    for frame in () if video is None else video:
        content.update(frame.tobytes())
    digest = content.hexdigest()[:16]
    image, sound = folder / f"{digest}.png", folder / f"{digest}.wav"
    done, data = cv2.imencode(".png", np.ascontiguousarray(source[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise ClipError("unreadable", f"a picture of shape {source.shape} cannot be written as PNG")
    write_bytes(image, data.tobytes())
    write_wav(sound, audio)
    staged: dict[str, Any] = {"image": str(image), "audio": str(sound)}
    if video is not None:
        from floatbench.media import write_lossless

        write_lossless(folder / f"{digest}.mkv", video)
        staged["extra"] = {"source_video": str(folder / f"{digest}.mkv")}
    return staged


def read_raw(out: Path) -> np.ndarray:
    """(T, H, W, 3) uint8 frames that the driver library wrote; ClipError `no_output` when they are not all there."""
    try:
        header = json.loads((out / "frames.json").read_text("utf-8"))
        shape = (int(header["n_frames"]), int(header["height"]), int(header["width"]), 3)
        return np.memmap(out / "frames.raw", np.uint8, "r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClipError(
            "no_output", f"the system answered, but left no whole frames ({type(error).__name__})"
        ) from None


def check_frames(frames: np.ndarray) -> None:
    """Refuses a clip of which every frame is one colour: what NaN becomes when it is cast to bytes."""
    if all(frame.min() == frame.max() for frame in frames):
        raise ClipError("blank", f"each of the {len(frames)} frames is one colour")


def resample_index(n_frames: int, fps: float) -> np.ndarray:
    """For each frame at 25 a second the frame that is shown at its time, by the rule of pp1: the nearest in time."""
    count = max(1, round(n_frames * FPS / fps))
    return np.minimum((np.arange(count) * fps / FPS + 0.5).astype(np.int64), n_frames - 1)
