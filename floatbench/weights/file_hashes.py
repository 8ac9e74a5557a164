"""SHA-256 of media files, remembered by path, size and time of change, so that a folder is read once."""

from __future__ import annotations

import json
import os
from pathlib import Path

from floatbench.errors import DependencyError
from floatbench.files import file_sha256, write_bytes
from floatbench.paths import cache_dir


class FileHashes:
    """Hashes of files; `save` keeps them for the next call. A damaged or unwritable cache only costs time."""

    def __init__(self) -> None:
        self._path = cache_dir() / "file-hashes.json"
        self._known = self._read()
        self._changed = False

    def _read(self) -> dict[str, list[object]]:
        try:
            known = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def sha256(self, path: Path) -> str:
        """The hash of a file; read again when its size or time of change differs from what is remembered."""
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        key = os.fspath(path.resolve())
        known = self._known.get(key)
        if isinstance(known, list) and len(known) == 3 and known[:2] == stamp and isinstance(known[2], str):
            return known[2]
        digest = file_sha256(path)
        self._known[key] = [*stamp, digest]
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
