"""Finished videos of any system, matched to clips by name.

`videos:DIR` is named after its folder, however the folder is spelled; `videos:DIR as Ours`, or `Ours=videos:DIR`, gives
the system a name of its own.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from floatbench.errors import ClipError, UsageError
from floatbench.files import file_sha256
from floatbench.methods.method import ClipRequest, Generated, Kind, Method
from floatbench.paths import expanded
from floatbench.protocol.protocol import Clip
from floatbench.text import printable
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.file_hashes import FileHashes

PREFIX = "videos:"


def finished_videos(text: str) -> VideosMethod | None:
    """The method of `videos:DIR`, `videos:DIR as NAME` or `NAME=videos:DIR`; None for other text.

    A folder whose own name holds ` as ` is taken whole. Raises UsageError for a folder that is none.
    """
    name, equals, folder = text.partition(f"={PREFIX}")
    if equals and PREFIX not in name:
        return VideosMethod(folder, name.strip() or text)
    if not text.startswith(PREFIX):
        return None
    folder = text.removeprefix(PREFIX)
    before, told, name = folder.rpartition(" as ")
    if told and name.strip() and not expanded(folder).is_dir():
        return VideosMethod(before, name.strip())
    return VideosMethod(folder)


class VideosMethod(Method):
    """Finished videos of any system: `DIR/<clip id>.<suffix>`, or named after the clip's slug.

    With `crop="same"` they show the whole scene, and are cut as the reference was cut out of its original.
    """

    kind: Kind = "videos"
    uses_seed = False
    needs_sound = False

    def __init__(self, folder: str | Path, name: str = "", crop: str = "none") -> None:
        self.folder = expanded(folder)
        if not self.folder.is_dir():
            what = f"{PREFIX}{printable(folder)}: not a folder"
            raise UsageError(what, fix="--methods videos:DIR with the folder of finished videos")
        self.place = os.path.realpath(self.folder)
        self.name = name or f"{PREFIX}{_from_here(self.place)}"
        self._named = bool(name)
        self.crop = crop

    def describe(self) -> dict[str, Any]:
        """The folder as it was given; without a name of its own also which folder of this machine it is.

        Two folders that are both called `out` are two systems, and only a name can say that they are one.
        """
        place = {} if self._named else {"place": hashlib.sha256(os.fsencode(self.place)).hexdigest()[:16]}
        cropped = {"crop": self.crop, "marks": ["cropped as the reference"]} if self.crop == "same" else {}
        return {"folder": self.folder.as_posix(), **place, **cropped}

    def key(self) -> str:
        """Empty as it always was where videos are taken as they are."""
        return "" if self.crop == "none" else f"crop {self.crop}"

    def cropped(self, crop: str) -> VideosMethod:
        """The same videos with another crop."""
        found = copy.copy(self)
        found.crop = crop
        return found

    def generate(self, request: ClipRequest) -> Generated:
        video = self.find(request.clip_id, request.slug)
        cut = request.cut if self.crop == "same" else None
        return Generated(video=video, input_key=_content(video, file_sha256), cut=cut)

    def input_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        hashes, found = FileHashes(), {}
        for clip in clips:
            with suppress(ClipError):  # no video of that name: the row says so
                found[clip.id] = _content(self.find(clip.id, clip.slug), hashes.sha256)
        hashes.save()
        return found

    def find(self, clip_id: str, slug: str) -> Path:
        """The one video of a clip; its id may carry a suffix of its own (`a/b.mp4` matches `a/b.mkv`).

        Raises ClipError `missing` when there is none.
        """
        for stem in (clip_id, str(Path(clip_id).with_suffix("")), slug):
            for candidate in (stem, *(stem + suffix for suffix in VIDEO_SUFFIXES)):
                path = self.folder / candidate
                if (
                    path.suffix.lower() in VIDEO_SUFFIXES
                    and path.is_file()
                    and path.resolve().is_relative_to(self.folder.resolve())
                ):
                    return path
        raise ClipError("missing", f"no video named {Path(clip_id).with_suffix('')} in {self.folder.name}")


def _from_here(place: str) -> str:
    """A folder's real path, from the working folder on where it lies inside it."""
    here = os.path.realpath(os.curdir)
    inside = place != here and place.startswith(here.rstrip(os.sep) + os.sep)
    return Path(os.path.relpath(place, here) if inside else place).as_posix()


def _content(video: Path, sha256: Callable[[Path], str]) -> str:
    """The hash of a finished video; of one that may not be read, why not: it is tried again once that is mended."""
    try:
        return sha256(video)
    except OSError as error:
        return f"unreadable: {error.strerror}"
