"""What the row of a clip was made from besides the method itself: files of the data set, of partners, finished videos.

A row is made again when any of these has other content. Names, sizes and time stamps do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from floatbench.errors import UsageError
from floatbench.methods.method import Method
from floatbench.methods.videos import VideosMethod
from floatbench.protocol.protocol import Clip, Protocol
from floatbench.text import printable


@dataclass(frozen=True)
class RowInputs:
    """Hashes of what a row is made from.

    Attributes:
        context: of the reference clip and, for a method that borrows, of the clips that it may borrow from.
        own: of the finished video that stands for the clip; empty where the method makes it.
    """

    context: str = ""
    own: str = ""

    @property
    def digest(self) -> str:
        """What a row keeps; empty where nothing was hashed."""
        return _digest(self.context, self.own) if self.context or self.own else ""


def inputs_of(
    method: Method,
    clips: Sequence[Clip],
    partners: Mapping[str, Sequence[Clip]],
    content: Mapping[str, str],
    spec: str = "pp1",
) -> dict[str, RowInputs]:
    """The inputs of one method on each clip, by clip id.

    Args:
        partners: clip id -> the clips that the method may borrow from (sound, pictures, a source video), best first;
            those without are left out.
        content: clip id -> `Dataset.content_keys`.
        spec: the protocol's rule. Until pp2 there was one only, and what a method decoded itself stayed with it.
    """
    own = method.input_keys(clips)
    found = {}
    for clip in clips:
        parts = [content.get(clip.id, "")]
        if {"partner", "source_video"} & method.needs:
            parts += [f"{other.id} {content.get(other.id, '')}" for other in partners.get(clip.id, ())]
        if method.decodes and spec == "pp2":
            parts.append(f"decoded by {spec}")
        context = _digest(*parts) if any(parts) else ""
        found[clip.id] = RowInputs(context, own.get(clip.id, ""))
    return found


def refuse_own_outputs(folder: Path, protocol: Protocol, methods: Iterable[Method]) -> None:
    """What a run writes is never what it reads: the second call would score the first one's videos.

    Raises UsageError; links are followed.
    """
    out = folder.resolve()
    written = [out / name for name in ("generated", "features", "tmp")]
    for what, read in _what_is_read(protocol, methods):
        places = [path.resolve() for path in read]
        inside = any(place.is_relative_to(own) for place in places for own in written)
        if inside or (what == "the reference" and places[0] == out):
            raise UsageError(
                f"{printable(folder)} would hold what the run writes, and {what} is read from there",
                fix="choose another folder with --out",
            )


def _what_is_read(protocol: Protocol, methods: Iterable[Method]) -> Iterator[tuple[str, list[Path]]]:
    """Folders first, then the files in them, since links may lead anywhere."""
    if protocol.root:
        root = Path(protocol.root)
        names = (name for clip in protocol.clips for name in (clip.video, clip.audio, clip.source) if name)
        yield "the reference", [root, *(root / name for name in names)]
    for method in methods:
        if isinstance(method, VideosMethod):
            yield method.name, [Path(method.place), *method.files()]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
