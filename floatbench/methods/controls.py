"""Control systems: methods whose scores are known beforehand. A metric that gets them wrong is wrong itself.

`name:strength` sets how far a control goes: `shifted:5` moves the sound by 5 frames, `swapped:0.5` swaps the second
half of it, `blur:5` blurs the pictures (see floatbench.methods.damage). At full strength `freeze`, `swapped` and
`wrong-identity` are the controls that every run has. `mirrored`, `emotion-flat`, `jittered`, `drifting` and `fading`
are run when they are named.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from floatbench.errors import ClipError, UsageError
from floatbench.methods.damage import PICTURE_DAMAGES, PictureDamage
from floatbench.methods.method import ClipRequest, Generated, Kind, Method, Need, PartnerRule
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

REENCODED_CRF = 18


class ControlMethod(Method):
    """A method that is given the real clip; never ranked."""

    kind: Kind = "control"
    needs: frozenset[Need] = frozenset({"reference"})
    ranked = False
    uses_seed = False


class ReferenceControl(ControlMethod):
    """The real video itself."""

    name = "reference"

    def generate(self, request: ClipRequest) -> Generated:
        return Generated(media=_reference(request))


class ReencodedControl(ControlMethod):
    """The real video after one lossy H.264 encoding, as a published result would arrive."""

    name = "reencoded"

    def describe(self) -> dict[str, Any]:
        return {"codec": f"libx264 crf {REENCODED_CRF} yuv420p"}

    def generate(self, request: ClipRequest) -> Generated:
        from floatbench.media import write_mp4

        target = request.folder / f"{request.slug}.mp4"
        write_mp4(target, _reference(request).frames, crf=REENCODED_CRF)
        return Generated(video=target)


class FrozenControl(ControlMethod):
    """The source picture for the whole clip: nothing moves."""

    name = "frozen"

    def generate(self, request: ClipRequest) -> Generated:
        reference = _reference(request)
        frames = np.broadcast_to(reference.frames[:1], reference.frames.shape)
        return Generated(media=ClipMedia(np.ascontiguousarray(frames), reference.audio))


class FrozenReencodedControl(ControlMethod):
    """The source picture for the whole clip after one lossy H.264 encoding: nothing moves but the noise of the codec.

    A face measure of a still picture is constant and tells every judge at once that nothing moves; here it trembles, so
    that a judge which finds a pattern in noise is found out.
    """

    name = "frozen-reencoded"

    def describe(self) -> dict[str, Any]:
        return {"codec": f"libx264 crf {REENCODED_CRF} yuv420p"}

    def generate(self, request: ClipRequest) -> Generated:
        from floatbench.media import write_mp4

        reference = _reference(request)
        target = request.folder / f"{request.slug}.mp4"
        write_mp4(target, np.broadcast_to(reference.frames[:1], reference.frames.shape), crf=REENCODED_CRF)
        return Generated(video=target)


class DamagedControl(ControlMethod):
    """The real video with its pictures damaged, see floatbench.methods.damage."""

    uses_seed = True

    def __init__(self, damage: PictureDamage, strength: float) -> None:
        self.damage, self.strength = damage, strength
        self.name = f"{damage.name}:{strength:g}"
        self.decodes = damage.decodes

    def describe(self) -> dict[str, Any]:
        return {"strength": self.strength, "unit": self.damage.unit}

    def generate(self, request: ClipRequest) -> Generated:
        reference = _reference(request)
        rule = (request.spec,) if self.decodes else ()
        frames = self.damage.apply(reference.frames, self.strength, request.seed, *rule)
        return Generated(media=ClipMedia(frames, reference.audio))


class MirroredControl(ControlMethod):
    """The real video with left and right exchanged: another face that moves just as the first one does."""

    name = "mirrored"

    def generate(self, request: ClipRequest) -> Generated:
        reference = _reference(request)
        return Generated(media=ClipMedia(np.ascontiguousarray(reference.frames[:, :, ::-1]), reference.audio))


class ShiftedControl(ControlMethod):
    """The real video with its sound moved by K frames; K > 0 makes the sound late.

    The gap is filled with silence and what leaves the clip is lost, so that the length stays the same.
    """

    def __init__(self, frames: float) -> None:
        self.shift = int(frames)
        self.name = f"shifted:{self.shift}"

    def generate(self, request: ClipRequest) -> Generated:
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


class SwappedControl(ControlMethod):
    """The real video with the sound of another identity's clip, repeated or cut to length, in its last part."""

    needs: frozenset[Need] = frozenset({"reference", "partner"})
    partner_rule: PartnerRule = "next"
    partner_sound = True

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.name = "swapped" if share == 1 else f"swapped:{share:g}"

    def generate(self, request: ClipRequest) -> Generated:
        reference, partner = _reference(request), request.partner
        sound = None if partner is None else partner.audio
        if sound is None and reference.audio is None:  # nothing to swap: as for ShiftedControl
            return Generated(media=reference)
        if sound is None:
            raise ClipError("no_partner", "no clip of another identity has sound")
        audio = np.resize(sound, reference.n_frames * SAMPLES_PER_FRAME)
        start = round(reference.n_frames * (1 - self.share)) * SAMPLES_PER_FRAME
        if start and reference.audio is None:
            raise ClipError("no_audio")
        if start and reference.audio is not None:
            audio[:start] = reference.audio[:start]
        return Generated(media=reference, audio=audio)


class WrongIdentityControl(ControlMethod):
    """Another person's video with the right sound, in its last part; played back and forth when it is too short.

    Every clip gets the same other person (the first of another identity): a permutation of the clips would leave the
    pooled distribution, and so FID, unchanged.
    """

    needs: frozenset[Need] = frozenset({"reference", "partner"})
    partner_rule: PartnerRule = "first"

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.name = "wrong-identity" if share == 1 else f"wrong-identity:{share:g}"

    def generate(self, request: ClipRequest) -> Generated:
        reference, partner = _reference(request), _partner(request)
        other = partner.frames[back_and_forth(partner.n_frames, reference.n_frames)]
        start = round(reference.n_frames * (1 - self.share))
        if start:
            height, width = reference.frames.shape[1:3]
            resized = [cv2.resize(frame, (width, height)) for frame in other[start:]]
            other = np.stack([*reference.frames[:start], *resized])
        return Generated(media=ClipMedia(other, reference.audio))


class EmotionFlatControl(ControlMethod):
    """The same person's neutral clip with the right sound, back and forth when it is too short: no emotion is shown.

    It needs labels of emotion; a clip whose person has no neutral clip fails with `no_partner`.
    """

    name = "emotion-flat"
    needs: frozenset[Need] = frozenset({"reference", "partner"})
    partner_rule: PartnerRule = "neutral"

    def generate(self, request: ClipRequest) -> Generated:
        reference, partner = _reference(request), request.partner
        if partner is None:
            raise ClipError("no_partner", "no clip of this person is labelled neutral")
        frames = partner.frames[back_and_forth(partner.n_frames, reference.n_frames)]
        return Generated(media=ClipMedia(frames, reference.audio))


def back_and_forth(available: int, wanted: int) -> np.ndarray:
    """Frame indices 0..n-1, n-2..1, 0.. until `wanted` are reached: (wanted,) int64."""
    cycle = np.concatenate([np.arange(available), np.arange(available - 2, 0, -1)])
    return np.resize(cycle, wanted)


def _reference(request: ClipRequest) -> ClipMedia:
    if request.reference is None:
        raise ValueError("a control was called without the reference clip")
    return request.reference


def _partner(request: ClipRequest) -> ClipMedia:
    if request.partner is None:
        raise ClipError("no_partner")
    return request.partner


PLAIN = {
    "reference": ReferenceControl,
    "reencoded": ReencodedControl,
    "frozen": FrozenControl,
    "frozen-reencoded": FrozenReencodedControl,
    "mirrored": MirroredControl,
    "emotion-flat": EmotionFlatControl,
    "swapped": SwappedControl,
    "wrong-identity": WrongIdentityControl,
}
IN_WORDS = {"jittered": "jitter:4", "drifting": "crop-drift:8", "fading": "fade:20"}
"""Damages that the control rules ask for, in one word -> the name under which they run."""
SHARES = {"swapped": SwappedControl, "wrong-identity": WrongIdentityControl}
CONTROLS = (
    "reference",
    "reencoded",
    "frozen",
    "frozen-reencoded",
    "shifted:5",
    "shifted:20",
    "swapped",
    "wrong-identity",
)
"""The controls of every run."""


def control_forms() -> list[str]:
    """The controls that take a strength, as they are typed."""
    return [
        "mirrored",
        "emotion-flat",
        *IN_WORDS,
        "shifted:K",
        *(f"{name}:SHARE" for name in SHARES),
        *(f"{name}:X" for name in PICTURE_DAMAGES),
    ]


def control(name: str) -> ControlMethod | None:
    """The control of that name, or None; raises UsageError for a strength that is none."""
    name = IN_WORDS.get(name, name)
    if name in PLAIN:
        return PLAIN[name]()
    base, colon, text = name.partition(":")
    if base == "shifted":
        return ShiftedControl(_whole(name, text))
    if base in SHARES and colon:
        return SHARES[base](_strength(name, text, 1, f"{base}:0.5"))
    if base not in PICTURE_DAMAGES or not colon:
        return None
    damage = PICTURE_DAMAGES[base]
    strength = _strength(name, text, damage.greatest, f"{base}:{damage.strengths[1]:g}")
    return FrozenControl() if (base, strength) == ("freeze", 1) else DamagedControl(damage, strength)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name!r}: shifted needs a whole number of frames", fix="--methods shifted:5") from None


def _strength(name: str, text: str, greatest: float, example: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= greatest:
        what = f"{name!r}: the strength must be a number above 0, at most {greatest:g}"
        raise UsageError(what, fix=f"--methods {example}")
    return value
