"""The source video of systems that paint the mouth of an existing one anew (MuseTalk, LatentSync).

The protocol says which video such a system is given (`Protocol.source_video`). What is fair is decided by one question:
does the video show how the mouth of the target moves? A still and another recording of the person do not; the clip's
own pictures do, and a network that sees the mouth beside the hole it has to fill can copy it. Rows made from those are
shown and never ranked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods.method import Method
from floatbench.protocol.protocol import Clip, Protocol

NEED = "source_video"
MARKS = {
    "still": "source video: the still",
    "other-clip": "source video: another clip",
    "own": "source video: the target itself",
}
"""Rule of a protocol -> what stands beside the rows that were made by it."""
LEAKS = frozenset({"own"})


def asks(method: Method) -> bool:
    """True for a method that is given a source video."""
    return NEED in method.needs


def check_allowed(methods: Iterable[Method], protocol: Protocol) -> None:
    """Raises UsageError for methods that ask for a video where the protocol gives none."""
    asking = ", ".join(method.name for method in methods if asks(method))
    if asking and protocol.source_video == "none":
        what = f"{asking}: a source video is needed, and the protocol {protocol.id} gives none"
        raise UsageError(what, fix="--source-video still (or other-clip; own shows the target and is never ranked)")


def lacking(
    methods: Iterable[Method], protocol: Protocol, clips: Sequence[Clip], ready: Sequence[Clip]
) -> dict[str, DataError]:
    """Method -> the error where it is to have another clip of the same person, and no clip of the run has one.

    Args:
        clips: those of the run. ready: those of the whole protocol that a video may be borrowed from.
    """
    if protocol.source_video != "other-clip" or not clips or any(lenders(protocol, ready, clip) for clip in clips):
        return {}
    what = f"no clip of {protocol.id} has another clip of the same person as its source video"
    return {method.name: DataError(what, fix="--source-video still") for method in methods if asks(method)}


def marked(record: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    """The record of a method that asks for a video, with what the protocol gave it and whether that may be ranked."""
    rule = protocol.source_video
    found = {**record, "marks": [*record.get("marks", ()), MARKS[rule]], NEED: rule}
    return found | {"ranked": False} if rule in LEAKS else found


def lenders(protocol: Protocol, ready: Sequence[Clip], clip: Clip) -> tuple[Clip, ...]:
    """Clips whose video may stand in, best first: same person, another sentence where labels tell, in protocol order
    from the clip on. None of them shows a moment that the clip shows. Empty by other rules than `other-clip`."""
    if protocol.source_video != "other-clip":
        return ()
    order = {candidate.id: position for position, candidate in enumerate(protocol.clips)}
    sentence = clip.labels.get("statement")
    pool = [
        other for other in ready if other.identity == clip.identity and other.id != clip.id and not overlap(other, clip)
    ]
    return tuple(
        sorted(
            pool,
            key=lambda other: (
                sentence is not None and other.labels.get("statement") == sentence,
                order[other.id] < order[clip.id],
                order[other.id],
            ),
        )
    )


def overlap(a: Clip, b: Clip) -> bool:
    """True where two clips show the same moment of one file, by its name or its content."""
    if not ({a.video, a.sha256.get("video")} & {b.video, b.sha256.get("video")}) - {"", None}:
        return False
    ends = [float("inf") if clip.end_s is None else clip.end_s for clip in (a, b)]
    return (a.start_s or 0.0) < ends[1] and (b.start_s or 0.0) < ends[0]


def still(source: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames, H, W, 3) view of one picture (H, W, 3)."""
    return np.broadcast_to(source, (n_frames, *source.shape))


def played(frames: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames, H, W, 3): the beginning of a video; one that is too short runs back and forth, ends shown once."""
    period = max(1, 2 * (len(frames) - 1))
    index = np.arange(n_frames) % period
    return frames[np.minimum(index, period - index)]


def given(
    rule: str,
    source: np.ndarray,
    own: np.ndarray,
    candidates: Sequence[Clip],
    frames_of: Callable[[Clip], np.ndarray],
) -> tuple[np.ndarray, str]:
    """The video that a clip's method is given, as long as the clip, and the id of the clip that lent it.

    Args:
        rule: of the protocol. source, own: the clip's picture and pictures. candidates: see `lenders`.

    Raises ClipError `no_source_video` where nothing can be borrowed.
    """
    if rule == "still":
        return still(source, len(own)), ""
    if rule == "own":
        return own, ""
    if not candidates:
        raise ClipError("no_source_video")
    return played(frames_of(candidates[0]), len(own)), candidates[0].id
