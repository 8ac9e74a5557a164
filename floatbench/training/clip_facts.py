"""What was seen in a clip's pictures, kept in the cache folder by content, so that a start looks at new clips only.

A record is an array (T, 13, 4) of `floatbench.training.face_boxes`, NaN where no face was seen, or (T, 0, 4) where only
the number of usable pictures was asked for. T frames.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from floatbench.errors import DependencyError
from floatbench.files import atomic_path, file_sha256, write_bytes
from floatbench.paths import cache_dir
from floatbench.weights.file_hashes import rested

KEY_LENGTH = 32
BLOCK, SAMPLES = 4096, 4
"""Of a folder of pictures so many are read in part to tell it from a changed one."""


def fact_key(*parts: object) -> str:
    """A name for all that a record depends on."""
    return hashlib.sha256(" ".join(str(part) for part in parts).encode()).hexdigest()[:KEY_LENGTH]


def _file(key: str) -> Path:
    return cache_dir() / "training" / "clips-1" / key[:2] / f"{key}.npy"


def known_facts(key: str) -> bool:
    """Whether there is a record."""
    return _file(key).is_file()


def read_facts(key: str) -> np.ndarray | None:
    """A record; None when there is none or it is damaged."""
    try:
        return np.load(_file(key), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def write_facts(key: str, seen: np.ndarray) -> None:
    """Keeps a record; a full or read-only cache folder costs time at the next start and nothing else."""
    with suppress(OSError, DependencyError), atomic_path(_file(key)) as partial, partial.open("wb") as out:
        np.save(out, seen)


def pictures_content(files: Sequence[Path], known_only: bool = False) -> tuple[str, bool]:
    """Names the bytes of a clip's pictures in their order, and says whether the files have rested.

    They are read whole, without being decoded, where their state is unknown: at first, and when they were copied, moved
    or given other rights. What was read is remembered by that state.

    Args:
        known_only: give "" instead of reading whole files.
    """
    state, quiet = pictures_state(files)
    content = _remembered(state)
    if content or known_only:
        return content, quiet
    content = fact_key(*(file_sha256(file) for file in files))
    if quiet and pictures_state(files)[0] == state:
        with suppress(OSError, DependencyError):
            write_bytes(_content_file(state), content.encode())
    return content, quiet


def _content_file(state: str) -> Path:
    return cache_dir() / "training" / "pictures-1" / state[:2] / state


def _remembered(state: str) -> str:
    """The content that files of this state had; "" where none or no whole one is written down."""
    try:
        content = _content_file(state).read_text("ascii")
    except (OSError, ValueError):
        return ""
    return content if len(content) == KEY_LENGTH else ""


def pictures_state(files: Sequence[Path]) -> tuple[str, bool]:
    """What tells a clip's pictures from changed ones without reading all of them, and whether they have rested.

    Names, sizes, times, inodes and devices of all files, and a block from the middle of a few. Times alone prove
    nothing: two pictures that changed their names keep them.
    """
    digest, quiet = hashlib.sha256(), True
    for file in files:
        found = file.stat()
        times = {"mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns}
        digest.update(f"{file.name} {found.st_size} {times} {found.st_ino} {found.st_dev}\n".encode())
        quiet = quiet and rested(times)
    for file in files[:: max(1, len(files) // SAMPLES)]:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size // 2 - BLOCK // 2))
            digest.update(stream.read(BLOCK))
    return digest.hexdigest(), quiet
