"""Finished videos of any system, matched to clips by name (floatbench.names says by which rules).

`videos:DIR` is named after its folder, however the folder is spelled; `videos:DIR as Ours`, or `Ours=videos:DIR`, gives
the system a name of its own.
"""

from __future__ import annotations

import copy
import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from floatbench.baselines.manifest import Judge
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.files import file_sha256
from floatbench.folders import files_below
from floatbench.methods.method import ClipRequest, Generated, Kind, Method
from floatbench.names import common_end, matched, nearest, stem_of
from floatbench.paths import expanded
from floatbench.protocol.protocol import Clip
from floatbench.text import near, printable
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.file_hashes import FileHashes

PREFIX = "videos:"
_NAMED = 5  # names that a note holds at most


def finished_videos(text: str, strip_suffixes: Sequence[str] = ()) -> VideosMethod | None:
    """The method of `videos:DIR`, `videos:DIR as NAME` or `NAME=videos:DIR`; None for other text.

    A folder whose own name holds ` as ` is taken whole. Raises UsageError for a folder that is none.
    """
    name, equals, folder = text.partition(f"={PREFIX}")
    if equals and PREFIX not in name:
        return VideosMethod(folder, name.strip() or text, strip_suffixes)
    if not text.startswith(PREFIX):
        return None
    folder = text.removeprefix(PREFIX)
    before, told, name = folder.rpartition(" as ")
    if told and name.strip() and not expanded(folder).is_dir():
        return VideosMethod(before, name.strip(), strip_suffixes)
    return VideosMethod(folder, strip_suffixes=strip_suffixes)


def read_trained_with(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """`Ours=syncnet,arcface`, repeated -> name -> families of networks; raises UsageError for an unknown family."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, listed = text.rpartition("=")
        judges = tuple(part.strip() for part in listed.split(",") if part.strip())
        if not (equals and name.strip() and judges):
            what = f"--trained-with {printable(text)}: not a name and networks"
            raise UsageError(what, fix="--trained-with Ours=syncnet")
        if unknown := [judge for judge in judges if judge not in get_args(Judge)]:
            known = ", ".join(get_args(Judge))
            raise UsageError(f"--trained-with {printable(text)}: unknown network {unknown[0]}", fix=f"one of {known}")
        found[name.strip()] = tuple(dict.fromkeys((*found.get(name.strip(), ()), *judges)))
    return found


def declared(
    methods: Sequence[Method], trained_with: Mapping[str, Sequence[str]], dubbed: Sequence[str] = ()
) -> list[Method]:
    """The methods, finished videos among them with what was said of their systems.

    Args:
        trained_with: name -> families of networks that taught the system. dubbed: names of systems that were given the
            protocol's source video.

    Raises UsageError for a name that none of the finished videos bears.
    """
    videos = [method.name for method in methods if isinstance(method, VideosMethod)]
    for option, names in (("--trained-with", trained_with), ("--dubbed", dubbed)):
        for name in names:
            if name not in videos:
                what = f"{option} {printable(name)}: no finished videos of that name"
                raise UsageError(what, fix=near(name, videos, "--methods Ours=videos:DIR"))
    return [
        method.said(trained_with.get(method.name, ()), method.name in dubbed)
        if isinstance(method, VideosMethod)
        else method
        for method in methods
    ]


class VideosMethod(Method):
    """Finished videos of any system: `DIR/<clip id>.<suffix>`, or named after the clip's slug.

    With `crop="same"` they show the whole scene, and are cut as the reference was cut out of its original.

    Args:
        crop: what is done to the videos before they are scored: `none` or `same`.
        strip_suffixes: what may stand behind a clip's name in the name of its video: `_gen`.

    Raises UsageError for what is no folder, and for an empty suffix.
    """

    kind: Kind = "videos"
    uses_seed = False
    needs_sound = False

    def __init__(
        self, folder: str | Path, name: str = "", strip_suffixes: Sequence[str] = (), crop: str = "none"
    ) -> None:
        self.folder = expanded(folder)
        if not self.folder.is_dir():
            what = f"{PREFIX}{printable(folder)}: not a folder"
            raise UsageError(what, fix="--methods videos:DIR with the folder of finished videos")
        self.place = os.path.realpath(self.folder)
        self.name = name or f"{PREFIX}{_from_here(self.place)}"
        self._named = bool(name)
        self.crop = crop
        if "" in strip_suffixes:
            raise UsageError("--strip-suffix is empty", fix="--strip-suffix _gen with what stands behind the names")
        self.strip_suffixes = tuple(dict.fromkeys(strip_suffixes))
        self.trained_with: tuple[str, ...] = ()
        self._videos: dict[str, str] = {}

    def describe(self) -> dict[str, Any]:
        """The folder as it was given; without a name of its own also which folder of this machine it is.

        Two folders that are both called `out` are two systems, and only a name can say that they are one.
        """
        place = {} if self._named else {"place": hashlib.sha256(os.fsencode(self.place)).hexdigest()[:16]}
        stripped = {"strip_suffixes": list(self.strip_suffixes)} if self.strip_suffixes else {}
        cropped = {"crop": self.crop, "marks": ["cropped as the reference"]} if self.crop == "same" else {}
        taught = {"trained_with": list(self.trained_with)} if self.trained_with else {}
        return {"folder": self.folder.as_posix(), **place, **stripped, **cropped, **taught}

    def key(self) -> str:
        """Empty as it always was where videos are taken as they are."""
        return "" if self.crop == "none" else f"crop {self.crop}"

    def cropped(self, crop: str) -> VideosMethod:
        """The same videos with another crop."""
        found = copy.copy(self)
        found.crop = crop
        return found

    def said(self, judges: Sequence[str], dubbed: bool) -> VideosMethod:
        """The same videos, of a system that was trained against these families of networks, or given a source video."""
        found = copy.copy(self)
        found.trained_with = tuple(judges)
        found.needs = frozenset({"source_video"}) if dubbed else frozenset()
        return found

    def match(self, clips: Sequence[Clip], chosen: Sequence[Clip]) -> list[str]:
        listing = files_below(self.folder, VIDEO_SUFFIXES)
        wanted = {clip.id: (clip.slug,) for clip in clips}
        self._videos = matched(wanted, listing.files, printable(self.folder), self.strip_suffixes)
        used = set(self._videos.values())
        spare = [name for name in listing.files if name not in used]
        absent = [clip.id for clip in chosen if clip.id not in self._videos]
        if len(absent) == len(chosen):
            raise self._none(absent, spare, listing.files)
        notes = [f"{self.name}: {note}" for note in listing.notes]
        if absent:
            told = [_with_nearest(name, spare) for name in absent[:_NAMED]]
            notes.append(f"{self.name}: {_counted(absent, chosen, 'clips have no video')}: {_listed(told, absent)}")
        if spare:
            told = [printable(name) for name in spare[:_NAMED]]
            what = _counted(spare, listing.files, "videos belong to no clip")
            notes.append(f"{self.name}: {what}: {_listed(told, spare)}")
        return notes

    def _none(self, absent: Sequence[str], spare: Sequence[str], files: Sequence[str]) -> DataError:
        """That not one clip of a call has a video, and what mends it."""
        if not files:
            return DataError(f"{self.name}: {printable(self.folder)} holds no video", fix="videos:DIR with the videos")
        first = stem_of(absent[0])
        end = common_end(absent, spare)
        fix = f"--strip-suffix {shlex.quote(end)}" if end else f"name each video after its clip: {printable(first)}.mp4"
        told = _listed([_with_nearest(name, files) for name in absent[:_NAMED]], absent)
        held = _listed([printable(name) for name in files[:_NAMED]], files)
        what = f"{self.name}: no video of {printable(self.folder)} belongs to any of the {len(absent)} clips"
        return DataError(f"{what}: {told}; it holds {held}", fix=fix)

    def generate(self, request: ClipRequest) -> Generated:
        video = self.find(request.clip_id)
        cut = request.cut if self.crop == "same" else None
        return Generated(video=video, input_key=_content(video, file_sha256), cut=cut)

    def input_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        hashes, found = FileHashes(), {}
        for clip in clips:
            with suppress(ClipError):  # no video of that name: the row says so
                found[clip.id] = _content(self.find(clip.id), hashes.sha256)
        hashes.save()
        return found

    def files(self) -> list[Path]:
        """The videos that `match` found."""
        return [self.folder / name for name in self._videos.values()]

    def find(self, clip_id: str) -> Path:
        """The one video of a clip, as `match` found it.

        Raises ClipError `missing` when there is none.
        """
        name = self._videos.get(clip_id)
        if name is None or not (self.folder / name).is_file():
            raise ClipError("missing", f"no video named {stem_of(clip_id)} in {self.folder.name}")
        return self.folder / name


def _counted(some: Sequence[str], all_of_them: Sequence[object], what: str) -> str:
    return f"{len(some)} of {len(all_of_them)} {what}"


def _listed(told: Sequence[str], names: Sequence[str]) -> str:
    return ", ".join(told) + (", ..." if len(names) > len(told) else "")


def _with_nearest(name: str, files: Sequence[str]) -> str:
    like = nearest(name, files)
    return f"{printable(name)} (nearest: {', '.join(map(printable, like))})" if like else printable(name)


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
