"""RAVDESS from its Zenodo archives, or from archives and videos already on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from floatbench.data.fetch_report import FetchReport
from floatbench.data.ravdess import raw_path
from floatbench.errors import DataError
from floatbench.files import atomic_path, file_sha256, write_json
from floatbench.folders import files_below
from floatbench.paths import data_dir
from floatbench.progress import NullProgress, Progress
from floatbench.protocol.protocol import Clip
from floatbench.weights.download import download, settings
from floatbench.weights.web import pause_asked, session

SITE = "https://zenodo.org"
RECORD = "1188976"
MIRROR = "hf://datasets/Jayson236/RAV@96a2d68b99f255eadfb8a3b06844da4bc97ee7c2"  # a copy of the archives
LARGEST_MEMBER = 1 << 28  # bytes; a clip has a few megabytes
_MEMBER = re.compile(r"01-0[12](-\d\d){4}-(\d\d)\.mp4")  # sound and picture, speech or song
AGAIN = "floatbench protocol fetch ravdess"
UNCHECKED = "archives are held to the hash of their first download only"


def fetch_ravdess(clips: Sequence[Clip], progress: Progress, source: Path | None) -> FetchReport:
    """Brings the missing files, archive by archive. See `floatbench.data.fetch.fetch`."""
    report = FetchReport(present=[clip.id for clip in clips if raw_path(clip).is_file()])
    missing = [clip for clip in clips if not raw_path(clip).is_file()]
    if source is not None:
        _from_disk(missing, source, progress)
    else:
        archives = sorted({clip.labels["archive"] for clip in missing})
        known = Checksums(progress)
        for name in archives:
            archive = _download(name, known, progress)
            with progress.task(f"extract {name}", None, unit="file") as bar:
                try:
                    bar.advance(extract(archive, _root()))
                finally:  # its clips are out, or it is damaged
                    archive.unlink()
    for clip in missing:
        if raw_path(clip).is_file():
            report.fetched.append(clip.id)
        else:
            where = source or clip.labels["archive"]
            report.unavailable[clip.id] = f"not in {where}"
    return report


def _root() -> Path:
    return data_dir() / "raw" / "ravdess"


def _site() -> str:
    return os.environ.get("FLOATBENCH_RAVDESS_URL", SITE).rstrip("/")


def _download(name: str, known: Checksums, progress: Progress) -> Path:
    """One archive, held to its published or recorded hash; a wrong one is deleted."""
    target = _root() / "archives" / name
    if not target.is_file():
        urls = [f"{_site()}/records/{RECORD}/files/{name}?download=1"]
        if _site() == SITE:
            # the hub states its files' hashes itself: the better one where Zenodo's list cannot be had
            urls.insert(0 if known.size(name) is None else 1, f"{MIRROR}/{name}")
        download(urls, target, size=known.size(name), label=name, fix=AGAIN, progress=progress)
    try:
        known.check(name, target)
    except DataError:
        target.unlink()
        raise
    return target


class Checksums:
    """MD5 of the archives as the record lists them; else the SHA-256 of the first download, held to from then on."""

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress or NullProgress()
        self._path = _root() / "checksums.json"
        self._pinned: dict[str, dict[str, Any]] = _read_json(self._path)
        self._listed: dict[str, dict[str, Any]] | None = None

    def _entry(self, name: str) -> dict[str, Any]:
        if "md5" not in self._pinned.get(name, {}):
            if self._listed is None:
                self._listed, problem = _listing()
                if problem:
                    self._progress.note(f"note: the record's MD5 sums cannot be had ({problem}): {UNCHECKED}")
            if name in self._listed:
                self._pinned[name] = self._listed[name]
                write_json(self._path, self._pinned)
        return self._pinned.get(name, {})

    def size(self, name: str) -> int | None:
        return self._entry(name).get("size")

    def check(self, name: str, archive: Path) -> None:
        """Raises DataError for a wrong hash; records the hash where none is known."""
        entry = self._entry(name)
        if md5 := entry.get("md5"):
            with archive.open("rb") as stream:
                digest = hashlib.file_digest(stream, "md5").hexdigest()
            if digest != md5:
                raise DataError(f"{name} is damaged: md5 {digest}, the record says {md5}", fix=AGAIN)
            return
        digest = file_sha256(archive)
        if entry.get("sha256", digest) != digest:
            what = (
                f"{name} is not the file of the first download: sha256 {digest[:16]}..., then {entry['sha256'][:16]}..."
            )
            raise DataError(what, fix=f"if the change is right, delete {self._path}")
        if not entry:
            _check_owner(name, archive)
            self._pinned[name] = {"sha256": digest, "size": archive.stat().st_size}
            write_json(self._path, self._pinned)


def _check_owner(name: str, archive: Path) -> None:
    """Raises DataError for an archive that does not hold the clips of the actor in its name, and only these."""
    actor = name.removesuffix(".zip")[-2:]
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [_MEMBER.fullmatch(inside.rpartition("/")[2]) for inside in opened.namelist()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"{name} is damaged: {error}", fix=AGAIN) from error
    actors = {fit.group(2) for fit in found if fit is not None}
    if actors != {actor}:
        what = f"clips of actors {', '.join(sorted(actors))}" if actors else "none of them"
        raise DataError(f"{name} should hold the clips of actor {actor} and holds {what}", fix=AGAIN)


def _read_json(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is damaged", fix=f"delete {path}") from error
    return document if isinstance(document, dict) else {}


def _listing() -> tuple[dict[str, dict[str, Any]], str]:
    """Name -> md5 and size from the record's own file list, and why the list cannot be had (empty when it can)."""
    place = f"{_site()}/api/records/{RECORD}"
    how = settings()
    try:
        with session() as opened:
            reply = opened.get(place, timeout=how.timeout)
            if (pause := pause_asked(reply)) is not None and pause <= how.longest_pause:
                how.sleep(pause)
                reply = opened.get(place, timeout=how.timeout)
        reply.raise_for_status()
        files = {
            str(row["key"]): {"md5": row["checksum"].removeprefix("md5:"), "size": int(row["size"])}
            for row in reply.json()["files"]
            if str(row["checksum"]).startswith("md5:")
        }
    except requests.RequestException as error:
        return {}, "no answer" if error.response is None else f"HTTP {error.response.status_code}"
    except (ValueError, KeyError, TypeError):
        return {}, "an answer of another form"
    return files, "" if files else "the list is empty"


def extract(archive: Path, root: Path) -> int:
    """Writes the sound-and-picture clips of an archive to `root/Actor_NN/`; returns how many.

    Targets are made from the checked file name alone, never from the member's path. Raises DataError when the archive
    is cut short or damaged.
    """
    count = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                fit = _MEMBER.fullmatch(member.filename.rpartition("/")[2])
                if fit is None:
                    continue
                if member.file_size > LARGEST_MEMBER:
                    raise DataError(f"{archive.name}: {member.filename} claims {member.file_size} bytes")
                target = root / f"Actor_{fit.group(2)}" / fit.group()
                if not target.is_file():
                    with opened.open(member) as reader, atomic_path(target) as partial, partial.open("wb") as writer:
                        shutil.copyfileobj(reader, writer, 1 << 20)
                count += 1
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged: {error}", fix="get the archive again") from error
    return count


def _from_disk(missing: Sequence[Clip], source: Path, progress: Progress) -> None:
    """Takes videos by name and opens archives below a folder; files outside the wanted names are left alone."""
    below = [source / name for name in files_below(source, {".mp4", ".zip"}).files]
    by_name = {path.name: path for path in below if path.match("01-0[12]-*.mp4")}
    archives = {clip.labels["archive"] for clip in missing if Path(clip.video).name not in by_name}
    found = [path for path in below if path.name in archives]
    with progress.task("copy ravdess", len(missing) + len(found), unit="file") as bar:
        for archive in found:
            extract(archive, _root())
            bar.advance(note=archive.name)
        for clip in missing:
            path = by_name.get(Path(clip.video).name)
            if path is not None and not raw_path(clip).is_file():
                with atomic_path(raw_path(clip)) as partial:
                    shutil.copyfile(path, partial)
            bar.advance(note=clip.id)
