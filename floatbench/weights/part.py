"""The unfinished file of a download."""

from __future__ import annotations

import json
from pathlib import Path

from filelock import FileLock


class PartialFile:
    """The unfinished file of a target and what is known about where it came from."""

    def __init__(self, target: Path) -> None:
        folder = target.parent / ".partial"
        self.path = folder / f"{target.name}.part"
        self._meta = folder / f"{target.name}.json"

    def lock(self) -> FileLock:
        """Held while the part is written: a second process waits, then finds the file in place."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"))

    @property
    def size(self) -> int:
        """Bytes that have arrived so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def origin(self) -> dict[str, str]:
        """Address and validator (ETag or Last-Modified) of the bytes so far; empty when unknown."""
        try:
            return dict(json.loads(self._meta.read_text()))
        except (OSError, ValueError):
            return {}

    def begin(self, url: str, validator: str) -> None:
        """Remembers where the bytes come from."""
        self._meta.write_text(json.dumps({"url": url, "validator": validator}))

    def drop(self) -> None:
        """Throws the bytes away."""
        self.path.unlink(missing_ok=True)
        self._meta.unlink(missing_ok=True)

    def install(self, target: Path) -> None:
        """Gives the whole file its name."""
        self.path.replace(target)
        self._meta.unlink(missing_ok=True)
