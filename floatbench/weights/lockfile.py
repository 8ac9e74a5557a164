"""What is known about the weight files of this machine: the lock file, and stamps that save hashing a gigabyte twice.

The lock file `weights.lock.json` lies beside the weights and may travel with them: it holds each file's SHA-256 (the
only reference for files whose authors published none), where it came from, and which licences were accepted. Stamps are
a cache of this machine: the SHA-256 of a file as long as its size, times, inode and a sample of its content stay the
same (`file_hashes.state_of`).
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Literal

from filelock import FileLock

from floatbench import paths
from floatbench.errors import FloatbenchError
from floatbench.files import file_sha256, write_error, write_json
from floatbench.records import RecordFile, Strict, read_record, write_record
from floatbench.text import now
from floatbench.weights.file_hashes import state_of

LOCK_NAME = "weights.lock.json"
Section = Literal["entries", "fabricated"]


class FileRecord(Strict):
    """Hash and size (bytes) of one file."""

    sha256: str
    size: int


class Record(Strict):
    """What is known about one entry: its files, where they came from, when, the seed of fabricated ones, and answers.

    `answers` holds a line for each known answer that a file has given: its hash, the question, the answer, when.
    """

    files: dict[str, FileRecord] = {}
    source: str = ""
    recorded: str = ""
    seed: int | None = None
    answers: list[str] = []


class LockFile(RecordFile):
    """Content of `weights.lock.json`."""

    noun: ClassVar[str] = "lock file of this version"
    remedy: ClassVar[str] = f"restore {LOCK_NAME} of the weights folder, or move it away"

    version: Literal[1] = 1
    entries: dict[str, Record] = {}
    fabricated: dict[str, Record] = {}
    licences_accepted: dict[str, str] = {}


def guard(folder: Path, name: str) -> FileLock:
    """A lock between processes on `folder/.locks/name`; raises DependencyError when the folder cannot be written."""
    lock = folder / ".locks" / f"{name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, lock) from error
    return FileLock(lock)


def read() -> LockFile:
    """The lock file, empty when there is none; raises DataError for a damaged one."""
    path = paths.weights_dir() / LOCK_NAME
    return read_record(path, LockFile) if path.exists() else LockFile()


def record(section: Section, name: str, files: dict[str, FileRecord], source: str, seed: int | None = None) -> None:
    """Writes what is known about an entry; files of it that are already there and not named again stay."""
    folder = paths.weights_dir()
    with guard(folder, "lockfile"):
        document = read()
        known = getattr(document, section).setdefault(name, Record())
        known.files.update(files)
        known.source, known.recorded, known.seed = source, now(), seed
        write_record(folder / LOCK_NAME, document)


def note_answer(name: str, line: str) -> None:
    """Remembers an answer of an entry's file; the same question to the same file is kept once."""
    folder = paths.weights_dir()
    with guard(folder, "lockfile"):
        document = read()
        known = document.entries.setdefault(name, Record())
        question = line.partition(": ")[0]
        known.answers = [old for old in known.answers if not old.startswith(f"{question}: ")] + [line]
        write_record(folder / LOCK_NAME, document)


def forget(section: Section, name: str) -> None:
    """Drops an entry's record, so that another file may take its place."""
    folder = paths.weights_dir()
    with guard(folder, "lockfile"):
        document = read()
        if getattr(document, section).pop(name, None) is not None:
            write_record(folder / LOCK_NAME, document)


def accept_licence(name: str) -> None:
    """Remembers that the user accepted this entry's licence on this machine."""
    folder = paths.weights_dir()
    with guard(folder, "lockfile"):
        document = read()
        document.licences_accepted[name] = now()
        write_record(folder / LOCK_NAME, document)


_memory: dict[str, dict[str, object]] = {}


def _stamp_file() -> Path:
    return paths.cache_dir() / "verified-weights.json"


def _stamps() -> dict[str, dict[str, object]]:
    try:
        document = json.loads(_stamp_file().read_bytes())
    except (OSError, ValueError):  # a cache: absent or damaged means that files are hashed again
        return {}
    return document if isinstance(document, dict) else {}


def stamped(path: Path) -> str | None:
    """The SHA-256 of a file that has not changed since it was last hashed here, else None; reads no content."""
    key = os.path.realpath(path)
    stamp = _memory.get(key) or _stamps().get(key)
    if stamp is None or not path.exists():
        return None
    state = {**state_of(path), "sha256": stamp.get("sha256")}
    return str(stamp["sha256"]) if stamp == state else None


def hashed(path: Path, fresh: bool = False) -> str:
    """SHA-256 of a file, from its stamp when it has one; `fresh` reads the file in any case."""
    known = None if fresh else stamped(path)
    if known is not None:
        return known
    before = state_of(path)
    digest = file_sha256(path)
    if state_of(path) == before:  # a file that is being written to gets no stamp
        stamp(path, digest)
    return digest


def stamp(path: Path, digest: str) -> None:
    """Remembers the hash of a file as it is now."""
    key = os.path.realpath(path)
    entry = {**state_of(path), "sha256": digest}
    _memory[key] = entry
    # a cache that cannot be written only costs time
    with suppress(FloatbenchError, OSError), guard(paths.cache_dir(), "verified-weights"):
        stamps = {k: v for k, v in _stamps().items() if Path(k).exists()}
        stamps[key] = entry
        write_json(_stamp_file(), stamps)
