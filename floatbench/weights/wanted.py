"""Whether a file is the wanted one: by its hash, else by what its host states and by its kind."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from floatbench.weights import kinds
from floatbench.weights.hub import Promise


@dataclass(frozen=True)
class WantedFile:
    """The wanted file: where it goes, its hash, bytes and git blob id (None: not known), its name in messages."""

    target: Path
    sha256: str | None
    size: int | None
    git_blob: str | None
    label: str

    def conflict(self, promise: Promise) -> str | None:
        """Why the file that a host announces cannot be the wanted one."""
        if self.sha256 and promise.sha256 and self.sha256 != promise.sha256:
            return f"another file: the hub states sha256 {promise.sha256[:16]}..., expected {self.sha256[:16]}..."
        if self.size is not None and promise.size not in (None, self.size):
            return f"{promise.size} bytes instead of {self.size}"
        return None

    def problem(self, path: Path, digest: str, promise: Promise) -> str | None:
        """What is wrong with a file that arrived, None when nothing is."""
        if self.sha256 is not None and digest == self.sha256:
            return None
        length = path.stat().st_size
        if (kind := kinds.refusal(path, self.target.name)) is not None:
            return f"{kind} instead of the file"
        for size in (self.size, promise.size):
            if size is not None and length != size:
                return f"{length} bytes instead of {size}"
        if (sha256 := self.sha256 or promise.sha256) is not None and digest != sha256:
            return f"wrong file: sha256 {digest[:16]}..., expected {sha256[:16]}..."
        blob = self.git_blob or promise.git_blob
        if blob is not None and (found := git_blob(path)) != blob:
            return f"wrong file: git blob {found[:16]}..., expected {blob[:16]}..."
        return None


def git_blob(path: Path) -> str:
    """The id that git gives a file's content."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
