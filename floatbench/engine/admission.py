"""What is accepted from a method: 25 frames a second, at most two frames too many or too few, a usable size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from floatbench.errors import ClipError
from floatbench.methods.method import MAX_LENGTH_DIFFERENCE, Generated
from floatbench.types import FPS, SAMPLES_PER_FRAME, ClipMedia

MIN_SIDE, MAX_SIDE = 16, 4096


@dataclass(frozen=True)
class Admitted:
    """Generated and reference media of equal length, and what was cut."""

    generated: ClipMedia
    reference: ClipMedia
    native_frames: int
    cut_generated: int
    cut_reference: int


def admit(output: Generated, reference: ClipMedia, spec: str = "pp1") -> Admitted:
    """Decodes what the method made and applies the length, rate and size rules.

    Args:
        spec: the protocol's `preprocessing.spec`, by which the reference was decoded and the video has to be.

    The sound that is scored is the driving sound (or the one a control put in its place), never the video's own track.
    Raises ClipError: no_output, rate_mismatch, length_mismatch, size_mismatch, or what decoding raises.
    """
    media = output.media or ClipMedia(decode(output, spec))
    height, width = media.frames.shape[1:3]
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise ClipError("size_mismatch", f"{width}x{height} is not between {MIN_SIDE} and {MAX_SIDE} px")
    made, wanted = media.n_frames, reference.n_frames
    if abs(made - wanted) > MAX_LENGTH_DIFFERENCE:
        raise ClipError("length_mismatch", f"{made} frames for {wanted}")
    length = min(made, wanted)
    audio = output.audio if output.audio is not None else reference.audio
    _ = reference.pixels_sha256  # made once per decoded clip, shared by every control that hands it back
    return Admitted(
        generated=_cut(media, length).with_audio(cut_audio(audio, length)),
        reference=_cut(reference, length),
        native_frames=made,
        cut_generated=made - length,
        cut_reference=wanted - length,
    )


def _cut(media: ClipMedia, length: int) -> ClipMedia:
    if media.n_frames == length:
        return media
    return ClipMedia(media.frames[:length], cut_audio(media.audio, length))


def decode(output: Generated, spec: str) -> np.ndarray:
    """(T, H, W, 3) uint8 RGB: the pictures of a method's file as they are scored: by the protocol's rule, and cut.

    Raises ClipError: no_output, rate_mismatch, size_mismatch for a video that cannot be cut, or what decoding raises.
    """
    if output.video is None or not output.video.is_file():
        raise ClipError("no_output")
    from floatbench.media import read_video
    from floatbench.media.crop import cut_alike

    frames, fps = read_video(output.video, spec)
    if abs(fps - FPS) > 0.01:
        raise ClipError("rate_mismatch", f"{fps:.3f} frames a second instead of {FPS}")
    return frames if output.cut is None else np.stack([cut_alike(frame, output.cut) for frame in frames])


def cut_audio(audio: np.ndarray | None, frames: int) -> np.ndarray | None:
    """The first 640 samples of each of `frames` frames; short sound is padded with zeros."""
    if audio is None:
        return None
    wanted = frames * SAMPLES_PER_FRAME
    if len(audio) >= wanted:
        return audio[:wanted]
    return np.concatenate([audio, np.zeros(wanted - len(audio), np.int16)])
