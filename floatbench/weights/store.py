"""The registry of weight files: where a name lies on this machine, verified before anybody opens it.

Layout: `<weights>/<name>/<file>`, with `<weights>` = `floatbench.paths.weights_dir()`. A file is held to its published
SHA-256, or, where none was published, to the one recorded when it was first seen (`weights.lock.json`).

Fabricated files (seeded random weights of the network's own class) live apart in `<weights>/fabricated/<name>/`. They
are used only when `FLOATBENCH_FABRICATED=1` is set (the option `--fabricated` sets it) and only where the real file is
absent; whatever was made with one is not a result, and `is_fabricated` tells so.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from floatbench import paths
from floatbench.errors import DataError, FloatbenchError, UsageError
from floatbench.files import atomic_path, write_error
from floatbench.text import near
from floatbench.weights import key_lists, kinds, lockfile
from floatbench.weights.lockfile import FileRecord, Section
from floatbench.weights.table import ENTRIES, WeightEntry, WeightFile
from floatbench.weights.wanted import git_blob

SPEECH = ("wav2vec2-base-960h", "wav2vec2-speech-emotion")
"""The two frozen networks that FLOAT hears with."""
State = Literal["missing", "unverified", "verified", "damaged", "fabricated"]


def names() -> list[str]:
    """All names of the table, in its order."""
    return [row.name for row in ENTRIES]


def entry(name: str) -> WeightEntry:
    """The table's row; raises UsageError with near names for an unknown one."""
    for row in ENTRIES:
        if row.name == name:
            return row
    raise UsageError(f"unknown weight {name!r}", fix=near(name, names(), "floatbench weights list"))


def fabricated_allowed() -> bool:
    """True when `FLOATBENCH_FABRICATED` is set to 1, true, yes or on."""
    return os.environ.get("FLOATBENCH_FABRICATED", "").lower() in {"1", "true", "yes", "on"}


def folder(name: str, fabricated: bool = False) -> Path:
    """The folder of an entry, whether it exists or not."""
    root = paths.weights_dir()
    return root / "fabricated" / name if fabricated else root / name


def _present(row: WeightEntry, fabricated: bool = False) -> bool:
    root = folder(row.name, fabricated)
    if fabricated:
        return row.name in lockfile.read().fabricated and root.is_dir()
    return all((root / file.path).is_file() for file in row.files)


def available(name: str) -> bool:
    """True when the files are there (real, or fabricated where these are allowed); reads no content, see `path`."""
    row = entry(name)
    return _present(row) or (fabricated_allowed() and _present(row, fabricated=True))


def is_fabricated(name: str) -> bool:
    """True when `path(name)` gives fabricated weights; what they produce must be marked as unscorable."""
    row = entry(name)
    return fabricated_allowed() and not _present(row) and _present(row, fabricated=True)


def path(name: str) -> Path:
    """The verified local file of an entry (its folder for folder entries).

    Hashes a file the first time it is seen and after every change of its size, times or inode. Raises DataError when
    it is missing, with the command that fetches it, or when it is not the file it should be.
    """
    row = entry(name)
    fabricated = is_fabricated(name)
    if not fabricated and not _present(row):
        raise _missing(row)
    _verified(row, fabricated)
    root = folder(name, fabricated)
    return root if row.folder else root / row.files[0].path


def sha256(name: str) -> str:
    """SHA-256 of the verified file in use; of a folder, over its sorted lines `<path> <sha256>`; raises as `path`."""
    row = entry(name)
    path(name)
    found = _verified(row, is_fabricated(name))
    if not row.folder:
        return next(iter(found.values()))
    text = "".join(f"{relative} {digest}\n" for relative, digest in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def verify(name: str) -> dict[str, str]:
    """Reads every file of an entry again, whatever is remembered about it: path -> SHA-256.

    Raises DataError for a missing or a wrong file.
    """
    row = entry(name)
    fabricated = is_fabricated(name)
    if not fabricated and not _present(row):
        raise _missing(row)
    return _verified(row, fabricated, fresh=True)


def state(name: str) -> State:
    """What is on disk, without reading file content: `unverified` means that the file has not been hashed yet."""
    row = entry(name)
    if not _present(row):
        return "fabricated" if _present(row, fabricated=True) else "missing"
    lock = lockfile.read().entries.get(name)
    known = {file.path: lockfile.stamped(folder(name) / file.path) for file in row.files}
    expected = {file.path: expected_hash(row, file, lock.files if lock else {}) for file in row.files}
    if any(digest and expected[item] and digest != expected[item] for item, digest in known.items()):
        return "damaged"
    return "verified" if all(known.values()) and all(expected.values()) else "unverified"


def mend(name: str) -> str:
    """The command that brings an entry to `verified` from the state that it is in; empty when it is there."""
    found = state(name)
    if found == "verified":
        return ""
    if found == "unverified":
        return f"floatbench weights verify {name}"
    return _fetch(entry(name)) + (" --force" if found == "damaged" else "")


def expected_hash(row: WeightEntry, file: WeightFile, recorded: Mapping[str, FileRecord]) -> str | None:
    """The hash a file is held to: the published one, else the recorded one, else None (nobody knows it yet)."""
    if file.sha256 is not None:
        return file.sha256
    return recorded[file.path].sha256 if file.path in recorded else None


def _missing(row: WeightEntry) -> DataError:
    what = f"weights {row.name!r} ({row.title}) are not on this machine"
    if not row.commercial:
        what += f"; licence: {row.licence}"
    return DataError(what, fix=_fetch(row))


def _fetch(row: WeightEntry) -> str:
    return f"floatbench weights fetch {row.name}" + ("" if row.commercial else " --accept-license")


def _verified(row: WeightEntry, fabricated: bool, fresh: bool = False) -> dict[str, str]:
    """Path -> SHA-256 of all files of an entry, compared with what they should be."""
    section: Section = "fabricated" if fabricated else "entries"
    root = folder(row.name, fabricated)
    known = getattr(lockfile.read(), section).get(row.name)
    recorded: dict[str, FileRecord] = known.files if known else {}
    if fabricated:
        expected: dict[str, str | None] = {item: file.sha256 for item, file in recorded.items()}
    else:
        expected = {file.path: expected_hash(row, file, recorded) for file in row.files}
    rows = {file.path: file for file in row.files}
    found: dict[str, str] = {}
    for relative, wanted in expected.items():
        file = root / relative
        if not file.is_file():
            raise DataError(f"weights {row.name!r}: {file} is missing", fix=_fetch(row))
        found[relative] = lockfile.hashed(file, fresh)
        if wanted is not None and found[relative] != wanted:
            raise _wrong(row, file, found[relative], wanted, fabricated)
    new = {item: digest for item, digest in found.items() if expected[item] is None}
    for item in new:  # nothing is recorded that cannot be the file
        _check_unknown(row, rows[item], root / item, root / item)
    if new:
        files = {item: FileRecord(sha256=digest, size=(root / item).stat().st_size) for item, digest in new.items()}
        lockfile.record(section, row.name, files, source="found in place on first use")
    return found


def _wrong(row: WeightEntry, file: Path, digest: str, wanted: str, fabricated: bool) -> DataError:
    origin = "published" if any(item.sha256 == wanted for item in row.files) else "recorded on first use"
    what = f"weights {row.name!r}: {file} is not the right file: sha256 {digest[:16]}..., {origin} {wanted[:16]}..."
    command = "fabricate" if fabricated else "fetch --force"
    return DataError(what, fix=f"floatbench weights {command} {row.name}")


def _check_unknown(row: WeightEntry, file: WeightFile, path: Path, origin: Path) -> None:
    """Raises DataError for bytes that cannot be the file, whatever their hash: a page, a pointer, half of it."""
    kind = kinds.refusal(path, file.path)
    if kind is None and file.git_blob is not None and git_blob(path) != file.git_blob:
        kind = f"not the published file (git blob {file.git_blob[:16]}...)"
    if kind is not None:
        what = f"weights {row.name!r}: {origin} is {kind}"
        raise DataError(what, fix=f"floatbench weights fetch --force {row.name}")


def import_file(name: str, source: Path) -> Path:
    """Copies a file (or the folder of a folder entry) that the user already has, after its hash has matched.

    For files kept in an archive by their authors, the archive itself is accepted too. Without a published hash, what is
    imported replaces what was recorded before. Returns what `path(name)` gives; raises DataError for a wrong file.
    """
    row = entry(name)
    source = Path(source)
    if not source.exists():
        raise DataError(f"{source} does not exist", fix=f"floatbench weights import {name} FILE")
    if row.folder != source.is_dir():
        kind = "a folder" if row.folder else "a file"
        raise UsageError(f"weights {name!r} are {kind}, {source} is not", fix=f"floatbench weights show {name}")
    with lockfile.guard(paths.weights_dir(), name):
        records = {file.path: _import_one(row, file, source) for file in row.files}
        lockfile.record("entries", name, records, source=f"imported from {source}")
    return path(name)


def _import_one(row: WeightEntry, file: WeightFile, source: Path) -> FileRecord:
    from floatbench.weights.archive import extract_member, is_zip

    origin = source / file.path if row.folder else source
    if not origin.is_file():
        raise DataError(f"weights {row.name!r}: {source} has no {file.path}", fix=f"floatbench weights show {row.name}")
    target = folder(row.name) / file.path
    with atomic_path(target) as partial:
        if file.member and is_zip(origin):
            extract_member(origin, file.member, partial)
        else:
            shutil.copyfile(origin, partial)
        digest = lockfile.hashed(partial, fresh=True)
        if digest != file.sha256:
            _check_unknown(row, file, partial, origin)
            if file.sha256 is not None:
                raise _wrong(row, origin, digest, file.sha256, fabricated=False)
    lockfile.stamp(target, digest)
    return FileRecord(sha256=digest, size=target.stat().st_size)


def fabricate(name: str, seed: int = 0) -> Path:
    """Writes seeded random weights of the network's own class to `<weights>/fabricated/<name>/` and returns their path.

    The file has the entries and the container of the published one, where these are public (`key_lists`).

    Raises UsageError when the entry has no fabricator.
    """
    row = entry(name)
    if not row.fabricate:
        raise UsageError(f"weights {name!r} have no fabricator", fix="floatbench weights list")
    module, _, function = row.fabricate.partition(":")
    make = getattr(importlib.import_module(module), function)
    root = folder(name, fabricated=True)
    target = root if row.folder else root / row.files[0].path
    with lockfile.guard(paths.weights_dir(), f"fabricated-{name}"):
        lockfile.forget("fabricated", name)
        shutil.rmtree(root, ignore_errors=True)
        try:
            (root if row.folder else target.parent).mkdir(parents=True, exist_ok=True)
            make(target, seed)
            key_lists.conform(name, target)
        except OSError as error:
            raise write_error(error, target) from error
        files = {
            item.relative_to(root).as_posix(): FileRecord(sha256=lockfile.hashed(item), size=item.stat().st_size)
            for item in sorted(root.rglob("*"))
            if item.is_file()
        }
        if not files:
            raise FloatbenchError(f"the fabricator {row.fabricate} of {name!r} wrote no file below {root}")
        lockfile.record("fabricated", name, files, source=row.fabricate, seed=seed)
    return target


def load_state_dict(name: str, device: str = "cpu", beside_tensors: bool = False) -> dict[str, Any]:
    """Tensors of a verified `.pth`, `.pt` or `.safetensors` file; pickles are read with `weights_only=True`.

    Args:
        beside_tensors: the published file holds objects of its training, too, which are read as nothing.

    Raises DataError when the pickle holds anything but tensors and plain containers, or cannot be read.
    """
    import pickle

    import torch
    from safetensors.torch import load_file

    from floatbench.weights import inert_pickle

    file = path(name)
    try:
        if beside_tensors:
            return inert_pickle.load(file, device)
        if file.suffix == ".safetensors":
            return load_file(file, device=device)
        return torch.load(file, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"weights {name!r}: {file} holds no plain tensors and was refused: {reason}",
            fix=f"floatbench weights fetch --force {name}",
        ) from error


def load_torchscript(name: str, device: str = "cpu") -> Any:
    """A TorchScript module, which is code: opened only when the table has a published hash and the file matches it."""
    import torch

    row = entry(name)
    if row.format != "torchscript" or (row.sha256 is None and not is_fabricated(name)):
        raise DataError(f"weights {name!r} are not a TorchScript file with a published hash and are not run as code")
    return torch.jit.load(str(path(name)), map_location=device)
