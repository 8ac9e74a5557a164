"""Work for a system that runs elsewhere: what it is given is written out, and what comes back is held to it.

`export` writes a picture and a sound for each clip, where the protocol gives one also a source video, and a list of
names; `check` looks at the finished videos, one by one and before a run: names, lengths, framing, and whether each
begins with its own picture.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.data.dataset import Dataset
from floatbench.engine.framing import OTHER_PLACE, OTHER_SCALE, begins_with, lending
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.files import write_bytes, write_json
from floatbench.methods import source_video
from floatbench.methods.method import MAX_LENGTH_DIFFERENCE
from floatbench.methods.videos import VideosMethod
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip
from floatbench.seeds import derive_seed
from floatbench.text import printable
from floatbench.types import FPS

LIST, RECORD = "names.csv", "export.json"
COLUMNS: tuple[str, ...] = ("id", "picture", "sound", "video", "frames", "fps", "seconds", "width", "height", "seed")
SOURCE_COLUMNS: tuple[str, ...] = ("source_video", "lender")
"""Further columns of a protocol that gives source videos: the file, and the clip that lent it (empty: none did)."""
LIKE = 0.5
"""Correlation of two small grey pictures below which they do not show one scene; an encoded copy has 0.99 and more."""
THUMBNAIL = 24


def export(dataset: Dataset, clips: Sequence[Clip], out: Path, progress: Progress) -> dict[str, Any]:
    """Writes `pictures/`, `sounds/`, `names.csv` and `export.json`; what cannot be read is named with the reason.

    Pictures are (H, W, 3) PNG as the protocol crops them, sounds 16 kHz mono WAV of `frames` / 25 seconds. A protocol
    that gives source videos has `source_videos/` as well: lossless, 25 frames a second, `frames` long.

    Returns: what `export.json` holds.

    Raises:
        UsageError: a folder with other content.
        DataError: no clip is ready.
    """
    _refuse_foreign(out)
    if dataset.auto_prepare:
        dataset.prepare(progress)
    ready = dataset.ready()
    rows, left = [], {}
    with progress.task("export", len(clips), unit="clip") as task:
        for clip in clips:
            try:
                rows.append(_export_one(dataset, clip, ready, out))
            except (ClipError, DataError) as error:
                left[clip.id] = str(error).splitlines()[0]
            task.advance(note=clip.id)
    if not rows:
        reason = next(iter(left.values()), "it has none")
        fix = f"floatbench protocol prepare {dataset.protocol.origin or dataset.protocol.id}"
        raise DataError(f"no clip of {dataset.protocol.id} is ready: {reason}", fix=fix)
    write_bytes(out / LIST, _table(rows).encode("utf-8"))
    protocol = dataset.protocol
    record = {"protocol": protocol.origin or protocol.id, "label": protocol.label, "hash": protocol.hash}
    record |= {} if protocol.source_video == "none" else {"source_video": protocol.source_video}
    record |= {"clips": len(rows), "left_out": left}
    write_json(out / RECORD, record)
    return record


def _export_one(dataset: Dataset, clip: Clip, ready: Sequence[Clip], out: Path) -> dict[str, Any]:
    """Writes the files of one clip; `ready` may lend it a source video. Returns its line of the list."""
    from floatbench.media.image import write_image
    from floatbench.media.sound import write_wav
    from floatbench.media.writers import write_lossless

    found = dataset.load(clip)
    rule, video, lender = dataset.protocol.source_video, None, ""
    if rule != "none":
        lenders = source_video.lenders(dataset.protocol, ready, clip)
        video, lender = source_video.given(
            rule, found.source, found.media.frames, lenders, lambda other: dataset.load(other).media.frames
        )
    picture, sound = f"pictures/{clip.slug}.png", f"sounds/{clip.slug}.wav"
    write_image(out / picture, found.source)
    if found.media.audio is not None:
        write_wav(out / sound, found.media.audio)
    n, (height, width) = found.media.n_frames, found.source.shape[:2]
    seed = derive_seed(dataset.protocol.seed, clip.id, 0)
    named = (clip.id, picture, sound if found.media.audio is not None else "", f"{clip.slug}.mp4")
    row = dict(zip(COLUMNS, (*named, n, FPS, n / FPS, width, height, seed), strict=True))
    if video is None:
        return row
    shown = f"source_videos/{clip.slug}.mkv"
    write_lossless(out / shown, video)
    return row | dict(zip(SOURCE_COLUMNS, (shown, lender), strict=True))


def _refuse_foreign(out: Path) -> None:
    known = {LIST, RECORD, "pictures", "sounds", "source_videos"}
    if out.is_dir() and any(entry.name not in known for entry in out.iterdir()):
        raise UsageError(f"{printable(out)} holds other files", fix="--out with a new folder")


def _table(rows: Sequence[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


# the way back


@dataclass(frozen=True)
class HandedIn:
    """What was found of one clip's finished video: `errors` keep it out of the scores, `notes` are worth a look."""

    clip: str
    video: str = ""
    frames: int = 0
    wanted: int = 0
    errors: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)


def check(dataset: Dataset, clips: Sequence[Clip], method: VideosMethod, progress: Progress) -> list[HandedIn]:
    """Every clip's video against the clip; nothing is scored.

    Raises DataError where not one clip has a video, UsageError where names are not clear.
    """
    source_video.check_allowed([method], dataset.protocol)
    method.match(dataset.protocol.clips, clips)
    if dataset.auto_prepare:
        dataset.prepare(progress)
    sources: dict[str, np.ndarray] = {}
    found: dict[str, tuple[HandedIn, np.ndarray | None]] = {}
    ready = lending(method, dataset)
    with progress.task("check", len(clips), unit="clip") as task:
        for clip in clips:
            found[clip.id] = _one(dataset, clip, method, ready, sources)
            task.advance(note=clip.id)
    people = {clip.id: clip.identity for clip in clips}
    return [_with_stranger(one, first, sources, people) for one, first in found.values()]


def _one(
    dataset: Dataset, clip: Clip, method: VideosMethod, ready: Sequence[Clip], sources: dict[str, np.ndarray]
) -> tuple[HandedIn, np.ndarray | None]:
    """One clip, and a small grey version of the first picture of its video where that could be read."""
    from floatbench.media.frames import read_video

    try:
        reference = dataset.load(clip)
        source, _ = begins_with(clip, dataset, ready)
    except (ClipError, DataError) as error:
        return HandedIn(clip.id, errors=(f"the clip itself is not ready: {str(error).splitlines()[0]}",)), None
    sources[clip.id] = _small(source)
    wanted = reference.media.n_frames
    try:
        video = method.find(clip.id)
        frames, fps = read_video(video, dataset.protocol.preprocessing.spec)
    except (ClipError, DataError) as error:
        return HandedIn(clip.id, wanted=wanted, errors=(str(error).splitlines()[0],)), None
    made = len(frames)
    errors = [] if abs(fps - FPS) <= 0.01 else [f"rate: {fps:g} frames a second instead of {FPS}"]
    errors += [] if abs(made - wanted) <= MAX_LENGTH_DIFFERENCE else [f"length: {made} frames for {wanted}"]
    apart, notes = _beside(frames[0], source)
    return HandedIn(clip.id, video.name, made, wanted, (*errors, *apart), tuple(notes)), _small(frames[0])


def _beside(first: np.ndarray, source: np.ndarray) -> tuple[list[str], list[str]]:
    """Errors and notes about how the first picture lies beside the picture that the system was given."""
    from floatbench.media.alignment import align

    shape, given = first.shape[:2], source.shape[:2]
    if abs(shape[1] * given[0] - shape[0] * given[1]) > max(*given, *shape):
        return [f"framing: {shape[1]}x{shape[0]} is no {given[1]}x{given[0]} in another size"], []
    found = align(first, source)
    if found is None:
        return [], ["framing: too little of the source picture is found again to say"]
    if not 1 / OTHER_SCALE <= found.scale <= OTHER_SCALE or found.shift > OTHER_PLACE:
        return [f"framing: scale {found.scale:.2f}, shift {found.shift:.1%} of the width"], []
    return [], []


def _with_stranger(
    one: HandedIn, first: np.ndarray | None, sources: dict[str, np.ndarray], people: dict[str, str]
) -> HandedIn:
    """The entry with an error where the first picture is not like the source, or is more like another person's."""
    if first is None:
        return one
    likeness = {name: float(np.mean(first * source)) for name, source in sources.items()}
    own = likeness[one.clip]
    strangers = [name for name in sources if people[name] != people[one.clip]]
    nearest = max(strangers, key=lambda name: likeness[name], default="")
    said = ""
    if nearest and likeness[nearest] > max(own, LIKE):
        said = (
            f"first picture: more like that of {printable(nearest)} ({likeness[nearest]:.2f}) than its own ({own:.2f})"
        )
    elif own < LIKE:
        said = f"first picture: not the source picture (correlation {own:.2f})"
    return HandedIn(one.clip, one.video, one.frames, one.wanted, (*one.errors, said), one.notes) if said else one


def _small(picture: np.ndarray) -> np.ndarray:
    """(24, 24) grey, mean 0 and spread 1: the mean of the product of two is their correlation. A flat one is 0."""
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float64)
    spread = small.std()
    return (small - small.mean()) / spread if spread > 0 else np.zeros_like(small)
