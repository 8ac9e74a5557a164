"""Plugins without a package: modules named in `FLOATBENCH_PLUGINS`, comma separated, are asked for methods, metrics and
backbones in the same dictionaries as the built-in ones: `METHODS`, `METRICS`, `BACKBONES`.

A name is that of an installed module or of a file or package in the working folder; a path (`/home/me/mine.py`) names
the folder as well. Such a folder does not get onto `sys.path`, where its other files would stand in for libraries:
only the plugin is found there, and by the plugin what lies beside it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from floatbench.errors import UsageError

VARIABLE = "FLOATBENCH_PLUGINS"


def collect(kind: str, built_in: tuple[str, ...]) -> dict[str, Any]:
    """Name -> factory for `kind` (methods, metrics, backbones): built-in modules, then plugins, then entry points.

    A plugin may not replace a built-in name. Raises UsageError for a plugin that cannot be imported.
    """
    found: dict[str, Any] = {}
    for name in built_in:
        if importlib.util.find_spec(name) is not None:
            found.update(getattr(importlib.import_module(name), kind.upper(), {}))
    for folder, name in _named():
        _add(found, getattr(_load(folder, name), kind.upper(), {}), name)
    for entry in entry_points(group=f"floatbench.{kind}"):
        _add(found, {entry.name: entry.load()}, entry.value)
    return found


def make_findable() -> None:
    """Lets this process import the plugins by name: a worker does so before it unpickles an object of theirs."""
    for folder, name in _named():
        if _is_in(folder, name):
            _finder(folder).names.add(name.partition(".")[0])


def environment() -> dict[str, str]:
    """`FLOATBENCH_PLUGINS` for a process that starts in another working folder, as Ray's do: with full paths."""
    entries = [f"{folder}{os.sep}{name}" if _is_in(folder, name) else name for folder, name in _named()]
    return {VARIABLE: ",".join(entries)} if entries else {}


def _named() -> list[tuple[Path, str]]:
    """The folder and the module name of each entry of the variable."""
    entries = (entry.strip() for entry in os.environ.get(VARIABLE, "").split(","))
    parts = [entry.removesuffix(".py").rpartition(os.sep) for entry in entries if entry]
    return [(Path(folder + separator).expanduser().resolve(), name) for folder, separator, name in parts]


def _is_in(folder: Path, name: str) -> bool:
    place = folder.joinpath(*name.split("."))
    return place.with_name(place.name + ".py").is_file() or (place / "__init__.py").is_file()


def _load(folder: Path, name: str) -> ModuleType:
    root = name.partition(".")[0]
    if _is_in(folder, name):
        _finder(folder).names.add(root)
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (root, name):
            what = f"plugin {name!r}: no module of that name is installed or lies in {folder}"
            raise UsageError(what, fix=f"{VARIABLE}=module or {VARIABLE}=path/module.py") from None
        raise UsageError(f"plugin {name!r} cannot be imported: {error}", fix="mend the plugin") from error


class _FolderFinder(MetaPathFinder):
    """Finds plugins in one folder, and for them what lies beside them; libraries come first.

    Attributes:
        names: top-level modules of the folder that are in use: plugins, and what they imported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname in sys.stdlib_module_names:
            return None
        if fullname not in self.names and _importer() not in self.names:
            return None
        if self._is_library(fullname):
            return None
        found = PathFinder.find_spec(fullname, [str(self.folder)])
        if found is not None:
            self.names.add(fullname)
        return found

    def _is_library(self, name: str) -> bool:
        """True for an installed module; a clone's own `metrics`, `tests` and `protocols` are nobody's libraries."""
        places = [entry for entry in sys.path if not _is_clone(Path(entry)) and Path(entry).resolve() != self.folder]
        for finder in sys.meta_path:
            if not isinstance(finder, _FolderFinder):
                found = finder.find_spec(name, places if finder is PathFinder else None)
                if found is not None and found.origin is not None:
                    return True
        return False


def _finder(folder: Path) -> _FolderFinder:
    """The finder of a folder, the same one each time; it stays, since plugins import when they are used, too."""
    for finder in sys.meta_path:
        if isinstance(finder, _FolderFinder) and finder.folder == folder:
            return finder
    finder = _FolderFinder(folder)
    sys.meta_path.insert(0, finder)
    return finder


def _is_clone(place: Path) -> bool:
    """True for a folder on the path, put there by an editable install, that holds more than the package."""
    package = place / "floatbench"
    return (package / "__init__.py").is_file() and not (package / "_shipped").is_dir()


def _importer() -> str:
    """The top-level name of the module whose import is being served."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "").partition(".")[0]
        if frame.f_code.co_filename != __file__ and name not in ("importlib", "_frozen_importlib"):
            return name
        frame = frame.f_back
    return ""


def _add(found: dict[str, Any], new: dict[str, Any], origin: str) -> None:
    for name, factory in new.items():
        if name in found:
            raise UsageError(f"{origin} offers {name!r}, which exists already", fix="give it another name")
        found[name] = factory
