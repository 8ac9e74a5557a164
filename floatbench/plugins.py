"""Plugins without a package: modules named in `FLOATBENCH_PLUGINS` (comma separated, importable) are asked for methods,
metrics and backbones in the same dictionaries as the built-in ones: `METHODS`, `METRICS`, `BACKBONES`."""

from __future__ import annotations

import importlib
import importlib.util
import os
from importlib.metadata import entry_points
from typing import Any

from floatbench.errors import UsageError


def collect(kind: str, built_in: tuple[str, ...]) -> dict[str, Any]:
    """Name -> factory for `kind` (methods, metrics, backbones): built-in modules, then plugins, then entry points.

    A plugin may not replace a built-in name. Raises UsageError for a plugin that cannot be imported.
    """
    found: dict[str, Any] = {}
    for name in built_in:
        if importlib.util.find_spec(name) is not None:
            found.update(getattr(importlib.import_module(name), kind.upper(), {}))
    for name in filter(None, (part.strip() for part in os.environ.get("FLOATBENCH_PLUGINS", "").split(","))):
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"plugin {name!r}: {error}", fix="set FLOATBENCH_PLUGINS to importable modules") from None
        _add(found, getattr(module, kind.upper(), {}), name)
    for entry in entry_points(group=f"floatbench.{kind}"):
        _add(found, {entry.name: entry.load()}, entry.value)
    return found


def _add(found: dict[str, Any], new: dict[str, Any], origin: str) -> None:
    for name, factory in new.items():
        if name in found:
            raise UsageError(f"{origin} offers {name!r}, which exists already", fix="give it another name")
        found[name] = factory
