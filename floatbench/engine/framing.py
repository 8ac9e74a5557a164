"""Whether finished videos show the same section of the scene as the reference, seen on their first pictures.

A protocol that crops its references leaves finished videos as they are. Where the system was given other pictures, the
two sides show the face in another size or place, and every metric measures that. The controls are made from the
cropped side and cannot see it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from floatbench.data.dataset import Dataset
from floatbench.engine.records import Framing, Row, RunInfo
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.methods import source_video
from floatbench.methods.method import Method
from floatbench.methods.videos import VideosMethod
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.text import printable

if TYPE_CHECKING:
    from floatbench.media.crop import Cut

MOST_CLIPS = 24
"""Clips that are compared, spread over the run: the answer is a median, and each costs a tenth of a second."""
OTHER_SCALE = 1.08
OTHER_PLACE = 0.06
"""A clip is framed differently beyond this scale (or one over it) or this shift as a share of the width.

docs/running.md says what was measured: of other pictures of the same film one in twenty goes as far, and a median of
such never did.
"""


def lending(method: VideosMethod, dataset: Dataset) -> list[Clip]:
    """The clips that may have lent something to the system; none where it was given the source pictures."""
    return dataset.ready() if source_video.asks(method) else []


def begins_with(clip: Clip, dataset: Dataset, ready: Sequence[Clip]) -> tuple[np.ndarray, Cut | None]:
    """The (H, W, 3) picture that a finished video begins with where all is well, and how it was cut.

    That is the clip's source picture. A dubbed video begins as what the protocol lent to the system does.

    Args:
        ready: see `lending`.
    """
    if lent := source_video.lenders(dataset.protocol, ready, clip):
        found = dataset.load(lent[0])
        return found.media.frames[0], found.cut
    return dataset.load_source(clip)


def framing_of(method: VideosMethod, clips: Sequence[Clip], dataset: Dataset) -> Framing:
    """Compares the first picture of each video with the picture that it should begin with."""
    finished = [clip for clip in clips if _has(method, clip)]
    ready = lending(method, dataset)
    found = [one for clip in _spread(finished) for one in _compared(method, clip, dataset, ready)]
    known = [one for one in found if one is not None]
    scales = [round(scale, 4) for scale, _ in known] or [1.0]
    shifts = [round(shift, 4) for _, shift in known] or [0.0]
    return Framing(
        compared=len(found),
        known=len(known),
        apart=sum(abs(math.log(scale)) > math.log(OTHER_SCALE) or shift > OTHER_PLACE for scale, shift in known),
        scale=statistics.median(scales),
        shift=statistics.median(shifts),
        scales=(min(scales), max(scales)),
        shifts=(min(shifts), max(shifts)),
    )


def _has(method: VideosMethod, clip: Clip) -> bool:
    with suppress(ClipError):
        return method.find(clip.id).is_file()
    return False


def _spread(clips: Sequence[Clip]) -> list[Clip]:
    count = min(len(clips), MOST_CLIPS)
    return [clips[i * len(clips) // count] for i in range(count)]


def _compared(
    method: VideosMethod, clip: Clip, dataset: Dataset, ready: Sequence[Clip]
) -> list[tuple[float, float] | None]:
    """(scale, shift) of a clip, None where it is not to be found; nothing where a picture is missing or unreadable."""
    from floatbench.media.alignment import align
    from floatbench.media.crop import cut_alike
    from floatbench.media.frames import first_picture

    try:
        video = method.find(clip.id)
        picture = first_picture(video, dataset.protocol.preprocessing.spec)
        source, cut = begins_with(clip, dataset, ready)
        if method.crop == "same" and cut is not None:
            picture = cut_alike(picture, cut)
    except (ClipError, DataError):  # its row will say so
        return []
    aligned = align(picture, source)
    return [None if aligned is None else (aligned.scale, aligned.shift)]


def check_framing(
    methods: Mapping[str, Method], clips: Sequence[Clip], dataset: Dataset, known: Mapping[str, Framing]
) -> dict[str, Framing]:
    """Finished videos by name, with how they are framed; of those in `known` nothing has changed since."""
    return {
        name: known[name] if name in known else framing_of(method, clips, dataset)
        for name, method in methods.items()
        if isinstance(method, VideosMethod)
    }


def refuse_other_framing(found: Mapping[str, Framing], protocol: Protocol, crop: str) -> None:
    """Raises UsageError for systems whose videos are framed differently throughout, with the ways on.

    Args:
        crop: what was done to the videos already, see `RunOptions.crop_videos`.
    """
    apart = {name: framing for name, framing in found.items() if framing.systematic}
    if apart:
        said = "; ".join(f"{printable(name)}: {described(framing)}" for name, framing in apart.items())
        raise UsageError(f"finished videos and reference are framed differently: {said}", fix=_ways_on(protocol, crop))


def _ways_on(protocol: Protocol, crop: str) -> str:
    rule, ways = protocol.preprocessing, []
    if protocol.dataset == "folder" and rule.boxes != "none":
        ways.append("--boxes none (the reference is not cropped to the face)")
    if rule.spec in ("pp1", "pp2") and crop == "none":
        ways.append("--crop-videos same (the videos show the whole scene and get the reference's crop)")
    if not ways:
        ways.append("give both sides the same crop")
    return ", or ".join([*ways, "--any-framing (scored as they are, and said in every table)"])


def described(framing: Framing) -> str:
    """The numbers in one line: medians over the clips, and how many of them differ."""
    return (
        f"scale {framing.scale:.2f} ({framing.scales[0]:.2f} to {framing.scales[1]:.2f}), "
        f"shift {framing.shift:.1%} of the width ({framing.shifts[0]:.1%} to {framing.shifts[1]:.1%}), "
        f"{framing.apart} of {framing.known} clips differ"
    )


def check_crop(protocol: Protocol, crop: str) -> None:
    """Raises UsageError for an unknown crop of finished videos, and where the reference was not cut out of anything."""
    if crop not in ("none", "same"):
        raise UsageError(f"unknown crop {crop!r} of finished videos", fix="--crop-videos none|same")
    if crop == "same" and protocol.preprocessing.spec not in ("pp1", "pp2"):
        what = f"--crop-videos same: the reference of {protocol.id} is not cropped"
        raise UsageError(what, fix="leave it out: videos are taken as they are")


def joined_framing(parts: Sequence[Mapping[str, Framing]]) -> dict[str, Framing]:
    """That of several runs over other clips, see `Framing.joined`."""
    joined: dict[str, Framing] = {}
    for found in parts:
        joined |= {name: part.joined(joined[name]) if name in joined else part for name, part in found.items()}
    return joined


# what tables say


def picture_notes(
    info: RunInfo, names: Iterable[str], rows: Mapping[tuple[str, str, int], Row]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The records of some methods with marks for another framing and another size, and a sentence for each."""
    marked, notes = {}, []
    for name in names:
        record, marks = info.methods[name], []
        framing = info.framing.get(name)
        if framing is not None:
            notes += _framing_notes(name, framing)
            marks += ["other framing"] if framing.systematic else []
        if record.get("kind") != "control":
            size = _size_note(name, rows, info.protocol)
            if size:
                marks.append(size[0])
                notes.append(size[1])
        marked[name] = record | {"marks": [*record.get("marks", ()), *marks]} if marks else record
    return marked, notes


def _framing_notes(name: str, framing: Framing) -> list[str]:
    notes = []
    if framing.systematic:
        notes.append(f"the framing of {name} differs from the reference's: {described(framing)}")
    unknown = framing.compared - framing.known
    if unknown:
        notes.append(f"the framing of {name} is not known on {unknown} of {framing.compared} clips compared")
    return notes


def _size_note(name: str, rows: Mapping[tuple[str, str, int], Row], protocol: Protocol) -> tuple[str, str] | None:
    """A mark and a sentence for a system whose pictures have another size than the reference's; None for the same."""
    mine = [row for row in rows.values() if row.method == name and row.status == "ok"]
    pairs = [((row.width, row.height), _reference_size(row, rows, protocol)) for row in mine]
    other = [(own, reference) for own, reference in pairs if reference is not None and own != reference]
    if not other:
        return None
    kinds = list(dict.fromkeys(other))
    (width, height), (of_width, of_height) = kinds[0]
    mark = (
        f"{width}x{height}, reference {of_width}x{of_height}" if len(kinds) == 1 else "other sizes than the reference"
    )
    stretched = sum(own[0] * reference[1] != own[1] * reference[0] for own, reference in other)
    aspect = f", another aspect on {stretched}: what is resized is stretched" if stretched else ""
    first = f"{width}x{height} beside {of_width}x{of_height}"
    examples = first if len(kinds) == 1 else f"{first} and {len(kinds) - 1} more"
    return (
        mark,
        f"the pictures of {name} have another size than the reference's ({examples}) on {len(other)} of "
        f"{len(pairs)} clips{aspect}",
    )


def _reference_size(row: Row, rows: Mapping[tuple[str, str, int], Row], protocol: Protocol) -> tuple[int, int] | None:
    """Of a first-version row the prepared side or that of the control `reference`; None where neither is known."""
    if row.reference_width:
        return row.reference_width, row.reference_height
    if protocol.preprocessing.spec != "as-is":
        return protocol.preprocessing.size, protocol.preprocessing.size
    control = rows.get(("reference", row.clip, row.replicate))
    return (control.width, control.height) if control is not None and control.status == "ok" else None
