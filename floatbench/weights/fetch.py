"""Downloads the files of one entry: mirrors first, then the table's addresses, archives last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from floatbench import paths, weights
from floatbench.errors import DataError, UsageError
from floatbench.files import atomic_path
from floatbench.progress import NullProgress, Progress
from floatbench.weights import lockfile, store
from floatbench.weights.archive import extract_member
from floatbench.weights.download import Settings, download, mirrors, resolve
from floatbench.weights.hub import Promise
from floatbench.weights.lockfile import FileRecord
from floatbench.weights.table import WeightEntry, WeightFile
from floatbench.weights.wanted import WantedFile


@dataclass(frozen=True)
class Fetched:
    """Where an entry lies now, and from where each of its files came (empty when all were there already)."""

    path: Path
    sources: dict[str, str]


@dataclass(frozen=True)
class Preview:
    """What a fetch of one entry would mean: its state, bytes in all (None: not known), and its licence."""

    name: str
    state: str
    size: int | None
    licence: str
    licence_open: bool

    @property
    def here(self) -> bool:
        """True when there is nothing to download."""
        return self.state in ("verified", "unverified")


def preview(names: Sequence[str]) -> list[Preview]:
    """What a fetch of these entries would bring; raises UsageError for an unknown name."""
    rows = [weights.entry(name) for name in names]
    return [Preview(row.name, weights.state(row.name), row.size, row.licence, licence_open(row)) for row in rows]


def licence_open(row: WeightEntry) -> bool:
    """True while the entry's licence restricts its use and nobody has accepted it on this machine."""
    return not row.commercial and row.name not in lockfile.read().licences_accepted


def fetch(
    name: str,
    accept_license: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    how: Settings | None = None,
) -> Fetched:
    """Brings an entry to this machine; files that are there and right are left alone.

    Args:
        accept_license: accepts a licence that restricts use; remembered.
        force: replaces a wrong file, and forgets the hash recorded for a file without a published one.

    Raises:
        UsageError: the licence has to be accepted first.
        DataError: no address served a right file, or a wrong file is in place and `force` was not given.
        DependencyError: the disk is full or the folder cannot be written.
    """
    row = weights.entry(name)
    if licence_open(row):
        if not accept_license:
            what = f"weights {name!r} may not be used freely: {row.licence}"
            raise UsageError(what, fix=f"floatbench weights fetch {name} --accept-license")
        lockfile.accept_licence(name)
    with lockfile.guard(paths.weights_dir(), name):
        sources = _fetch_missing(row, force, progress or NullProgress(), how)
    return Fetched(weights.path(name), sources)


def _fetch_missing(row: WeightEntry, force: bool, progress: Progress, how: Settings | None) -> dict[str, str]:
    known = lockfile.read().entries.get(row.name)
    recorded = {} if known is None or force else known.files
    sources: dict[str, str] = {}
    for file in row.files:
        target = weights.folder(row.name) / file.path
        wanted = weights.expected_hash(row, file, recorded)
        if target.exists() and not force:
            continue
        if target.exists() and wanted is not None and lockfile.hashed(target, fresh=True) == wanted:
            continue
        sources[file.path] = _fetch_file(row, file, wanted, progress, how)
    return sources


def _fetch_file(
    row: WeightEntry, file: WeightFile, wanted: str | None, progress: Progress, how: Settings | None
) -> str:
    """Direct addresses first; the archive that holds the file only when none of them served it."""
    target = weights.folder(row.name) / file.path
    archives = [url for url in file.urls if _is_archive(file, url)]
    direct = [*mirrors(f"{row.name}/{file.path}"), *(url for url in file.urls if url not in archives)]
    label, fix = f"{row.name}/{file.path}", f"floatbench weights import {row.name} FILE"
    if archives and not direct and not paths.offline():
        return _from_archive(archives, row, file, progress, how)
    try:
        got = download(direct, target, wanted, file.size, label, fix, progress, how, file.git_blob)
    except DataError as error:
        if not archives or paths.offline():
            raise
        progress.note(f"{error.what}; trying the archive")
        return _from_archive(archives, row, file, progress, how)
    _register(row, file, target, FileRecord(sha256=got.sha256, size=got.size), got.url)
    return got.url


def _is_archive(file: WeightFile, url: str) -> bool:
    return bool(file.member) and urlsplit(resolve(url)).path.endswith((".zip", ".whl"))


def _register(row: WeightEntry, file: WeightFile, target: Path, record: FileRecord, source: str) -> None:
    lockfile.stamp(target, record.sha256)
    lockfile.record("entries", row.name, {file.path: record}, source)


def _from_archive(urls: list[str], row: WeightEntry, file: WeightFile, progress: Progress, how: Settings | None) -> str:
    """Downloads the archive once and takes out of it every file of the table that is kept there and not yet here."""
    archive = paths.weights_dir() / ".archives" / Path(urlsplit(urls[0]).path).name
    fix = f"floatbench weights import {row.name} FILE"
    got = download(urls, archive, label=archive.name, fix=fix, progress=progress, how=how)
    try:
        for other in store.ENTRIES:
            for member in other.files:
                shared = bool(set(urls) & set(member.urls)) and bool(member.member)
                if shared and (member is file or not (weights.folder(other.name) / member.path).exists()):
                    _unpack(archive, other, member, got.url)
    finally:
        archive.unlink(missing_ok=True)
    return got.url


def _unpack(archive: Path, row: WeightEntry, file: WeightFile, source: str) -> None:
    target = weights.folder(row.name) / file.path
    with atomic_path(target) as partial:
        extract_member(archive, file.member, partial)
        digest = lockfile.hashed(partial, fresh=True)
        problem = WantedFile(target, file.sha256, file.size, file.git_blob, row.name).problem(
            partial, digest, Promise()
        )
        if problem is not None:
            raise DataError(f"{source}: {file.member}: {problem}", fix=f"floatbench weights import {row.name} FILE")
    _register(row, file, target, FileRecord(sha256=digest, size=target.stat().st_size), f"{source} ({file.member})")
