"""Writes that are whole or absent: a temporary file beside the target, then a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from floatbench.errors import DependencyError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path in the target's folder that becomes `target` when the block ends without an error.

    The temporary name keeps the target's suffix, so that writers which look at it work. A full disk or a folder that
    cannot be written becomes a DependencyError; the temporary file never stays behind.
    """
    target = Path(target)
    partial = target.with_name(f".{target.stem[:60]}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise write_error(error, target) from error
    finally:
        with suppress(OSError):  # the folder itself may be the problem, which the error above names
            partial.unlink(missing_ok=True)


def write_error(error: OSError, target: Path) -> DependencyError | OSError:
    """Turns the errors of a full or read-only disk into one line with a fix; returns other errors as they are."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DependencyError(f"the disk is full: {target} could not be written", fix="free space, then run again")
    if error.errno == errno.EFBIG:
        return DependencyError(
            f"{target} could not be written: the disk or the shell's limit (`ulimit -f`) takes no larger file",
            fix="choose another folder with --out, or raise the limit",
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return DependencyError(f"{target} cannot be written: {error.strerror}", fix="choose another folder with --out")
    return error


def write_bytes(target: Path, data: bytes) -> None:
    """Writes a whole file or none."""
    with atomic_path(target) as partial:
        partial.write_bytes(data)


def write_json(target: Path, document: Any) -> None:
    """Writes a JSON document with sorted keys, so that equal content gives equal bytes; NaN is refused."""
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(target, (text + "\n").encode("utf-8", "surrogatepass"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
