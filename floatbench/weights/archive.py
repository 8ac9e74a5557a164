"""Zip archives that hold weight files."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from pathlib import Path

from floatbench.errors import DataError


def is_zip(path: Path) -> bool:
    """True for a zip archive (by content)."""
    return zipfile.is_zipfile(path)


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Writes one member of a zip archive to `target`; the member may lie in any folder of the archive.

    Raises DataError when the archive is damaged or has no such member.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            inside = [name for name in opened.namelist() if name == member or name.endswith(f"/{member}")]
            if not inside:
                raise DataError(f"{archive} has no member {member}")
            with opened.open(min(inside, key=len)) as reader, target.open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise DataError(f"{archive} is damaged: {error}") from error
