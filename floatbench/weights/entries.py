"""The form of a row of the table of weight files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["safetensors", "pickle", "torchscript", "onnx", "tflite", "task", "folder"]


@dataclass(frozen=True)
class WeightFile:
    """One file of an entry.

    Attributes:
        path: where it lies below the entry's folder, `/` separated.
        urls: addresses in the order they are tried.
        sha256: published hash of the file, or None when nobody published one.
        size: bytes, None when not known for certain.
        member: when the addresses serve a zip archive, the path of this file inside it.
        git_blob: the file's object id in its authors' git repository, for files without a published SHA-256.
    """

    path: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None
    member: str = ""
    git_blob: str | None = None


@dataclass(frozen=True)
class WeightEntry:
    """One named weight: a file, or a folder of files that belong together.

    Attributes:
        licence: in plain words.
        commercial: False when commercial use is excluded or not clearly allowed; to fetch it, accept its licence.
        used_by: metric variants, methods and commands that need it.
        fabricate: "module:function", called as function(path, seed), which writes seeded random weights of the
            network's own class to `path` (a folder for folder entries); empty when there is none.
        note: what one should know before using it.
    """

    name: str
    title: str
    files: tuple[WeightFile, ...]
    licence: str
    commercial: bool
    used_by: tuple[str, ...]
    format: Format
    fabricate: str = ""
    note: str = ""

    @property
    def folder(self) -> bool:
        """True when `floatbench.weights.path` gives a folder instead of a file."""
        return self.format == "folder"

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of all files."""
        return tuple(url for file in self.files for url in file.urls)

    @property
    def sha256(self) -> str | None:
        """The published hash; None for folders and for files without one."""
        return None if self.folder else self.files[0].sha256

    @property
    def size(self) -> int | None:
        """Bytes of all files; None when one of them is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)
