"""Finds methods by the name that is typed: controls, FLOAT, baselines, finished videos, outside plugins."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from floatbench.errors import ClipError, UsageError
from floatbench.methods.controls import CONTROLS, control
from floatbench.methods.method import Generated, Method, Request
from floatbench.plugins import collect
from floatbench.text import near, printable
from floatbench.types import VIDEO_SUFFIXES

MODULES = ("floatbench.methods.float_method", "floatbench.methods.baseline")
"""Modules with a dictionary `METHODS`: name -> factory; outside ones as floatbench.plugins says."""


@cache
def catalogue() -> dict[str, Callable[..., Method]]:
    """Every method that is registered by name, without the controls and `videos:DIR`."""
    return collect("methods", MODULES)


def create(name: str) -> Method:
    """The method of that name; `base@preset` hands the preset to the factory of `base`.

    Raises UsageError for an unknown name, with near ones, and for one that no record could hold.
    """
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise UsageError(f"method {printable(name)!r}: the name is not UTF-8", fix="rename the folder")
    found = control(name)
    if found is not None:
        return found
    if name.startswith("videos:"):
        return VideosMethod(name.removeprefix("videos:"))
    from floatbench.methods.float_method import with_options

    given = with_options(name)
    if given is not None:
        return given
    base, _, preset = name.partition("@")
    factories = catalogue()
    if base not in factories:
        known = [*CONTROLS, *factories]
        raise UsageError(
            f"unknown method {name!r}", fix=near(name, known, f"one of {', '.join([*known, 'videos:DIR'])}")
        )
    method = factories[base](preset) if preset else factories[base]()
    method.name = name
    return method


class VideosMethod(Method):
    """Finished videos of any system: `DIR/<clip id>.<suffix>`, or named after the clip's slug."""

    uses_seed = False

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.name = f"videos:{folder}"
        if not self.folder.is_dir():
            raise UsageError(
                f"videos:{folder}: not a folder", fix="--methods videos:DIR with the folder of finished videos"
            )

    def describe(self) -> dict[str, Any]:
        return {"kind": "videos", "folder": self.folder.name}

    def generate(self, request: Request) -> Generated:
        return Generated(video=find_video(self.folder, request.clip_id, request.slug))


def find_video(folder: Path, clip_id: str, slug: str) -> Path:
    """The one video of a clip in a folder; its id may carry a suffix of its own (`a/b.mp4` matches `a/b.mkv`)."""
    stems = [clip_id, str(Path(clip_id).with_suffix("")), slug]
    for stem in stems:
        for candidate in (stem, *(stem + suffix for suffix in VIDEO_SUFFIXES)):
            path = folder / candidate
            if (
                path.suffix.lower() in VIDEO_SUFFIXES
                and path.is_file()
                and path.resolve().is_relative_to(folder.resolve())
            ):
                return path
    raise ClipError("missing", f"no video named {Path(clip_id).with_suffix('')} in {folder.name}")


def parse_names(text: str) -> list[str]:
    """`a,b,c` -> names, doubles removed, order kept; commas in folder names are written `videos:DIR` on their own."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    return list(dict.fromkeys(names))


def slug(name: str) -> str:
    """A safe folder name for a method: readable, and unique through a short hash when characters were replaced."""
    import hashlib

    safe = (
        "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:60].lstrip(".-") or "method"
    )
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
