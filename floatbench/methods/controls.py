"""Control systems: answers known beforehand, scored in every run to see whether a metric can be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.methods.method import Generated, Method, Request
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia


class _Control(Method):
    ranked = False
    uses_seed = False
    needs = frozenset({"reference"})

    def describe(self) -> dict[str, Any]:
        return {"kind": "control"}


def _reference(request: Request) -> ClipMedia:
    if request.reference is None:
        raise ValueError("a control was called without the reference clip")
    return request.reference


def _partner(request: Request) -> ClipMedia:
    if request.partner is None:
        raise ClipError("no_partner")
    return request.partner


class ReferenceControl(_Control):
    """The real video, as if a perfect method had made it."""

    name = "reference"

    def generate(self, request: Request) -> Generated:
        return Generated(media=_reference(request))


class ReencodedControl(_Control):
    """The real video after one H.264 generation (CRF 23), the price of a codec and nothing else."""

    name = "reencoded"

    def describe(self) -> dict[str, Any]:
        return {"kind": "control", "codec": "libx264 crf 23 yuv420p"}

    def generate(self, request: Request) -> Generated:
        from floatbench.media import write_mp4

        target = request.folder / f"{request.slug}.mp4"
        write_mp4(target, _reference(request).frames)
        return Generated(video=target)


class FrozenControl(_Control):
    """The source picture for the whole clip: nothing moves."""

    name = "frozen"

    def generate(self, request: Request) -> Generated:
        reference = _reference(request)
        frames = np.broadcast_to(reference.frames[:1], reference.frames.shape)
        return Generated(media=ClipMedia(np.ascontiguousarray(frames), reference.audio))


class ShiftedControl(_Control):
    """The real video with its sound moved by K frames; K > 0 makes the sound late.

    The gap is filled with silence and what leaves the clip is lost, so that the length stays the same.
    """

    def __init__(self, frames: int) -> None:
        self.shift = frames
        self.name = f"shifted:{frames}"

    def generate(self, request: Request) -> Generated:
        reference = _reference(request)
        if reference.audio is None:  # nothing to move: picture metrics still apply, sound metrics say no_audio
            return Generated(media=reference)
        return Generated(media=reference, audio=shift_audio(reference.audio, self.shift))


def shift_audio(audio: np.ndarray, frames: int) -> np.ndarray:
    """The (640 T,) int16 sound `frames` video frames later (earlier when negative), padded with zeros."""
    moved = np.zeros_like(audio)
    offset = min(abs(frames) * SAMPLES_PER_FRAME, len(audio))
    if frames >= 0:
        moved[offset:] = audio[: len(audio) - offset]
    else:
        moved[: len(audio) - offset] = audio[offset:]
    return moved


class SwappedControl(_Control):
    """The real video with the sound of another identity's clip, repeated or cut to length."""

    name = "swapped"
    needs = frozenset({"reference", "partner"})
    partner_rule = "next"  # the next clip of another identity in protocol order
    partner_sound = True  # that has sound

    def generate(self, request: Request) -> Generated:
        reference, partner = _reference(request), _partner(request)
        if partner.audio is None:
            raise ClipError("no_partner", "no clip of another identity has sound")
        audio = np.resize(partner.audio, reference.n_frames * SAMPLES_PER_FRAME)
        return Generated(media=reference, audio=audio)


class WrongIdentityControl(_Control):
    """Another person's video with the right sound; played forth and back when it is too short.

    Every clip gets the same other person (the first of another identity): a permutation of the clips would leave the
    pooled distribution, and so FID, unchanged.
    """

    name = "wrong-identity"
    needs = frozenset({"reference", "partner"})
    partner_rule = "first"

    def generate(self, request: Request) -> Generated:
        reference, partner = _reference(request), _partner(request)
        frames = partner.frames[forth_and_back(partner.n_frames, reference.n_frames)]
        return Generated(media=ClipMedia(frames, reference.audio))


def forth_and_back(available: int, wanted: int) -> np.ndarray:
    """Frame indices 0..n-1, n-2..1, 0.. until `wanted` are reached: (wanted,) int64."""
    cycle = np.concatenate([np.arange(available), np.arange(available - 2, 0, -1)])
    return np.resize(cycle, wanted)


def control(name: str) -> Method | None:
    """The control of that name, or None; raises UsageError for `shifted:` without a whole number."""
    simple = {
        c.name: c for c in (ReferenceControl, ReencodedControl, FrozenControl, SwappedControl, WrongIdentityControl)
    }
    if name in simple:
        return simple[name]()
    if name == "shifted" or name.startswith("shifted:"):
        value = name.partition(":")[2]
        try:
            return ShiftedControl(int(value))
        except ValueError:
            raise UsageError(f"{name!r}: shifted needs a whole number of frames", fix="--methods shifted:5") from None
    return None


CONTROLS = ("reference", "reencoded", "frozen", "shifted:5", "shifted:20", "swapped", "wrong-identity")
