"""Writes that are whole or absent: a temporary file beside the target, then a rename."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from floatbench.errors import DependencyError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a temporary path in the target's folder that becomes `target` when the block ends without an error.

    The temporary name keeps the target's suffix, so that writers which look at it work. The umask says who may read the
    target, also where a writer keeps its file to itself (safetensors does). A full disk or a folder that cannot be
    written becomes a DependencyError; the temporary file never stays behind.
    """
    target = Path(target)
    partial = target.with_name(f".{target.stem[:60]}.{os.getpid()}.{uuid.uuid4().hex[:8]}.partial{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        usual = partial.stat().st_mode
        partial.unlink()
        yield partial
        if partial.is_file() and (mode := partial.stat().st_mode) | usual != mode:
            partial.chmod(stat.S_IMODE(mode | usual))
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


def write_safetensors(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes contiguous CPU tensors whole or not at all; equal tensors and metadata give equal bytes.

    The library orders the metadata anew in every call (a hash map), so that equal weights would have unequal hashes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(target) as partial:
        try:
            save_file(dict(tensors), partial, metadata=dict(metadata) if metadata else None)
        except SafetensorError as error:  # the library wraps the errors of the disk
            raise OSError(errno.ENOSPC, str(error)) from error
        _order_metadata(partial)


def aligned(tensor: Tensor) -> Tensor:
    """The tensor at an address that is a multiple of 64, copied where it is not; tensors of a mapped file seldom are.

    Kernels take other paths at other addresses, so that equal weights would compute other last bits. torch's own
    allocator aligns to 64 bytes (c10's `gAlignment`).
    """
    return tensor if tensor.data_ptr() % 64 == 0 else tensor.clone()


def _order_metadata(path: Path) -> None:
    """Sorts the metadata in the header of a safetensors file; nothing moves, since the header keeps its length."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        ordered = {"__metadata__": dict(sorted(header.pop("__metadata__", {}).items())), **header}
        if not ordered["__metadata__"]:
            return
        text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise RuntimeError(f"{path}: the sorted header has {len(text)} bytes, the library's {length}")
        stream.seek(8)
        stream.write(text.ljust(length))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
