"""What kind of bytes a file holds, so that a page, a pointer or half a file is never taken for a network.

A hash settles what a file is. Where none is known, the file must at least be of the container that its name promises,
and whole: every container used here says somewhere how long it is. Nothing is unpickled.

Sources: zip (APPNOTE 4.3.16), torch's zip and legacy files (torch/serialization.py), safetensors (README, "Format"),
ONNX (onnx.proto, top-level fields), FlatBuffers (file identifier at byte 4), Git LFS (docs/spec.md).
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

_ELEMENT_BYTES = {
    "DoubleStorage": 8, "LongStorage": 8, "ComplexFloatStorage": 8, "FloatStorage": 4, "IntStorage": 4,
    "HalfStorage": 2, "BFloat16Storage": 2, "ShortStorage": 2, "ByteStorage": 1, "CharStorage": 1, "BoolStorage": 1,
    "UntypedStorage": 1, "ComplexDoubleStorage": 16,
}  # fmt: skip
_BROKEN = (
    ValueError, LookupError, EOFError, OSError, TypeError, AttributeError, RecursionError, MemoryError, ImportError,
)  # fmt: skip
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def not_a_file(head: bytes) -> str | None:
    """What the first bytes of an answer show instead of a file: a page, a pointer, an error; None for anything else."""
    text = head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "an HTML page"
    if text.startswith(b"<?xml") or (text.startswith(b"<") and b"<error" in text):
        return f"an XML message ({_words(head)})"
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a Git LFS pointer (`git lfs pull` in that clone brings the file itself)"
    if b"annex/objects/" in text:
        return "a git-annex pointer (`git annex get` in that clone brings the file itself)"
    return None


def refusal(path: Path, name: str = "") -> str | None:
    """Why a file cannot be what its name (default: its own) promises; None when nothing speaks against it.

    Names with a suffix that is not known here are only held against pages, pointers and emptiness.
    """
    suffix = Path(name or path.name).suffix.lower()
    size = path.stat().st_size
    if size == 0:
        return "an empty file"
    with path.open("rb") as stream:
        head = stream.read(512)
        if (kind := not_a_file(head)) is not None:
            return kind
        if suffix != ".json" and head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b'{"', b"{'", b"[{")):
            return f"a JSON message ({_words(head)})"
        stream.seek(0)
        check = _CHECKS.get(suffix)
        try:
            return check(stream, size) if check else None
        except (*_BROKEN, pickle.UnpicklingError, struct.error):  # whatever a parser of half a file raises
            return f"not a {suffix} file, or only a part of one"


def _words(head: bytes) -> str:
    return " ".join(head[:80].decode("utf-8", "replace").split())


def _zip(stream: BinaryIO, size: int) -> str | None:
    """A zip archive ends with its table of contents."""
    try:
        with zipfile.ZipFile(stream) as opened:
            return None if opened.infolist() else "an empty archive"
    except (zipfile.BadZipFile, NotImplementedError):
        return "not a zip archive, or only a part of one"


def _torch(stream: BinaryIO, size: int) -> str | None:
    """torch's two containers, and plain pickles."""
    start = stream.read(4)
    stream.seek(0)
    if start.startswith(b"PK"):
        return _zip(stream, size)
    if not start.startswith(b"\x80") or start[1] > pickle.HIGHEST_PROTOCOL:
        return "neither a zip archive nor a pickle"
    if _Structure(stream).load() != _TORCH_MAGIC:
        return None if stream.tell() == size else "a pickle with foreign bytes behind"
    for _ in range(2):  # protocol number, system information
        _Structure(stream).load()
    tensors = _Structure(stream)
    tensors.load()
    count = len(_Structure(stream).load())  # the storages' keys; then each storage: 8 bytes of length, its elements
    needed = stream.tell() + 8 * count + sum(tensors.storages.values())
    if len(tensors.storages) != count or needed != size:
        return f"{size} bytes of a torch file that has {needed}"
    return None


class _Nothing:
    """Stands for every class and function that a pickle names, so that none of them runs."""

    def __init__(self, *arguments: Any, **named: Any) -> None: ...

    def __call__(self, *arguments: Any, **named: Any) -> _Nothing:
        return self

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...


class _Structure(pickle.Unpickler):
    """Reads a pickle's outline alone: names give `_Nothing`, storages are noted with their length in bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, int] = {}

    def find_class(self, module: str, name: str) -> Any:
        return type(name, (_Nothing,), {"__module__": "floatbench.weights.kinds"})

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "module":  # a class beside its source text
            return pid[1]
        if pid[0] == "storage":
            _, kind, key, _, elements = pid[:5]
            self.storages[key] = elements * _ELEMENT_BYTES[kind.__name__]
        return _Nothing()


def _safetensors(stream: BinaryIO, size: int) -> str | None:
    """Eight bytes of length, a JSON header, then exactly the bytes that the header names."""
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > size:
        return "not a safetensors file, or only a part of one"
    header = json.loads(stream.read(length))
    end = max((row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"), default=0)
    return None if 8 + length + end == size else f"{size} bytes of a safetensors file that has {8 + length + end}"


def _protobuf(stream: BinaryIO, size: int) -> str | None:
    """An ONNX model: top-level fields that end exactly where the file does, one of them the graph (field 7)."""
    fields = set()
    while stream.tell() < size:
        tag = _varint(stream)
        fields.add(tag >> 3)
        skip = {0: None, 1: 8, 2: None, 5: 4}[tag & 7]
        if tag & 7 == 0:
            _varint(stream)
            continue
        stream.seek(_varint(stream) if skip is None else skip, os.SEEK_CUR)
    whole = stream.tell() == size and 7 in fields and max(fields) <= 25 and 0 not in fields
    return None if whole else "not an ONNX model, or only a part of one"


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError("not a varint")


def _tflite(stream: BinaryIO, size: int) -> str | None:
    """A FlatBuffers file of TensorFlow Lite."""
    head = stream.read(8)
    root = struct.unpack("<I", head[:4])[0]
    return None if head[4:] == b"TFL3" and root < size else "not a TensorFlow Lite model"


def _json(stream: BinaryIO, size: int) -> str | None:
    """A configuration: a JSON object that is no error message."""
    document = json.loads(stream.read())
    if not isinstance(document, dict) or set(document) & {"error", "errors", "message"}:
        return f"not a configuration ({' '.join(json.dumps(document)[:80].split())})"
    return None


_CHECKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    **dict.fromkeys((".pth", ".pt", ".bin", ".ckpt", ".model", ".tar", ".pkl"), _torch),
    **dict.fromkeys((".zip", ".task"), _zip),
    ".safetensors": _safetensors,
    ".onnx": _protobuf,
    ".tflite": _tflite,
    ".json": _json,
}
