"""Where videos go: not over what they are made of, nor over one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from floatbench.errors import UsageError


def check_outputs(outs: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Raises UsageError for outputs that cannot be written, equal ones, and those that are an input under any name."""
    given = {_identity(path): path for path in inputs}
    for out in outs:
        if (found := given.get(_identity(out))) is not None:
            raise UsageError(f"the output {out} is the input {found}", fix="choose another output")
        check_suffix(out)
        if out.is_dir():
            raise UsageError(f"{out} is a folder", fix="choose another output")
    if len({place(out) for out in outs}) < len(outs):
        raise UsageError("two videos would be written to one file", fix="give each an output of its own")


def check_suffix(out: Path) -> None:
    """Raises UsageError for a kind of file that is not written."""
    if out.suffix.lower() not in (".mp4", ".mkv"):
        raise UsageError(f"the output must end in .mp4 or .mkv, not {out.suffix or out.name!r}")


def place(out: Path) -> Path:
    """Equal for two spellings of one place; a link is a place of its own, since writing replaces it."""
    return out.parent.resolve() / out.name


def _identity(path: Path) -> object:
    """Equal for two names of one file: links and other spellings; the whole path of what does not exist yet."""
    try:
        status = path.stat()
    except OSError:
        return path.resolve()
    return status.st_dev, status.st_ino
