"""What lies in a folder: one rule for hidden files, links and outputs, for every command that looks into one.

Links to files and folders are followed, and what they lead to counts under the link's name; a folder that holds itself
through a link is not entered again; a broken link is an error. What a system leaves for itself (`._x`, `.DS_Store`,
`Thumbs.db`, ...) is passed over, and so is what floatbench wrote.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from floatbench.errors import DataError
from floatbench.paths import is_output
from floatbench.text import printable

_LEFT_BY_SYSTEMS = frozenset((
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information",
    "__macosx", "icon\r", "@eadir", "#recycle", "lost+found",
))  # fmt: skip
"""Lower case; of Windows, of macOS in archives and on foreign disks, of network disks and of Linux file systems."""


@dataclass(frozen=True)
class Listing:
    """The files below a folder that a command looks for.

    Attributes:
        files: their paths below the folder, with `/` between the parts, sorted.
        notes: what was passed over, for people.
    """

    files: tuple[str, ...]
    notes: tuple[str, ...]


def is_hidden(name: str) -> bool:
    """True for the name of a file or folder that is hidden, or that a system leaves for itself."""
    return name.startswith(".") or name.lower() in _LEFT_BY_SYSTEMS


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, by name, hidden files left out.

    Raises:
        DataError: the folder cannot be read, or holds a broken link.
    """
    return _entries(folder)[0]


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """What lies in a folder, by name: what is to be seen, and what is hidden."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{printable(folder)} cannot be read: {error.strerror}") from error
    shown = [path for path in paths if not is_hidden(path.name)]
    for path in shown:
        if path.is_symlink():
            _refuse_broken(path)
    return shown, [path for path in paths if is_hidden(path.name)]


def _refuse_broken(link: Path) -> None:
    try:
        link.stat()
    except OSError as error:
        what = f"{printable(link)} is a broken link to {printable(link.readlink())}: {error.strerror}"
        raise DataError(what, fix="mend the link, or take it away") from error


def files_below(folder: Path, suffixes: Collection[str]) -> Listing:
    """The files below a folder whose names end in one of the suffixes (lower case), in whatever case.

    Raises:
        DataError: a folder cannot be read, or holds a broken link.
    """
    found, notes, hidden = list[str](), list[str](), 0
    for path in _below(folder, frozenset(), folder, notes):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in suffixes:
            continue
        if is_hidden(path.name):
            hidden += 1
        elif problem := _unusable(path, name):
            notes.append(f"passed over {printable(name)}: {problem}")
        else:
            found.append(name)
    if hidden:
        notes.insert(0, f"passed over {hidden} hidden file{'s' if hidden > 1 else ''}")
    return Listing(tuple(sorted(found)), tuple(notes))


def _below(folder: Path, above: frozenset[tuple[int, int]], root: Path, notes: list[str]) -> Iterator[Path]:
    """The files below a folder, hidden ones too, but not those of hidden folders; it was reached through `above`."""
    shown, hidden = _entries(folder)
    state = folder.stat()
    above |= {(state.st_dev, state.st_ino)}
    yield from (path for path in hidden if not path.is_dir())
    for path in shown:
        state = path.stat()
        if not stat.S_ISDIR(state.st_mode):
            yield path
        elif (state.st_dev, state.st_ino) in above:
            notes.append(f"passed over {printable(path.relative_to(root))}: a link to a folder that it lies in")
        elif is_output(path):
            notes.append(f"passed over {printable(path.relative_to(root))}: floatbench wrote it")
        else:
            yield from _below(path, above, root, notes)


def _unusable(path: Path, name: str) -> str | None:
    """Why a file cannot be taken, None when it can."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if not stat.S_ISREG(path.stat().st_mode):
        return "not a regular file"
    return None if os.access(path, os.R_OK) else "it may not be read"
