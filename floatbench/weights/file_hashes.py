"""SHA-256 of files, remembered on this machine so that a folder of videos is read once; a change is seen by content.

What is remembered is believed only where size, times, inode and a sample of the content are the same, and where the
file had rested for a while when it was hashed. Small files are read every time.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from floatbench.errors import DependencyError
from floatbench.files import file_sha256, write_bytes
from floatbench.paths import cache_dir

SMALL = 1 << 20
"""Bytes up to which a file is read whole every time: a millisecond."""
SAMPLES, BLOCK = 16, 4096
RESTED_NS = 2_000_000_000
"""A file that changed less than two seconds before it was hashed may change again within one tick of the clock."""


def state_of(path: Path) -> dict[str, Any]:
    """What tells a file from a changed one without reading all of it (JSON types).

    Size, times, device and inode, which copies with kept times, swapped names and moved links do not keep together, and
    a hash of 16 blocks of 4 KiB spread from its first byte to its last.
    """
    with path.open("rb") as stream:
        found = os.fstat(stream.fileno())
        digest = hashlib.sha256()
        last = max(0, found.st_size - BLOCK)
        for place in sorted({last * number // (SAMPLES - 1) for number in range(SAMPLES)}):
            stream.seek(place)
            digest.update(stream.read(BLOCK))
    return {
        "size": found.st_size, "mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns,
        "inode": found.st_ino, "device": found.st_dev, "sample": digest.hexdigest(),
    }  # fmt: skip


def rested(state: dict[str, Any]) -> bool:
    """False for a file that has changed so lately that another change could leave its times as they are."""
    return time.time_ns() - max(int(state["mtime"]), int(state["ctime"])) > RESTED_NS


class FileHashes:
    """Hashes of files; `save` keeps them for the next call. A damaged or unwritable cache only costs time."""

    def __init__(self) -> None:
        self._path = cache_dir() / "file-hashes.json"
        self._known = self._read()
        self._changed = False

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def sha256(self, path: Path) -> str:
        """The hash of a file's content."""
        if path.stat().st_size <= SMALL:
            return file_sha256(path)
        state = state_of(path)
        key = os.fspath(path.resolve())
        known = self._known.get(key)
        if isinstance(known, dict) and known == {**state, "sha256": known.get("sha256")}:
            return str(known["sha256"])
        digest = file_sha256(path)
        if rested(state) and state_of(path) == state:
            self._known[key] = {**state, "sha256": digest}
            self._changed = True
        return digest

    def save(self) -> None:
        """Writes what was learnt; a read-only cache folder is no reason to stop."""
        if not self._changed:
            return
        try:
            write_bytes(self._path, json.dumps(self._known, sort_keys=True).encode())
        except (DependencyError, OSError):
            return
        self._changed = False
