"""Finds methods by the name that is typed: controls, FLOAT, baselines, finished videos, outside plugins."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache

from floatbench.errors import UsageError
from floatbench.methods.controls import CONTROLS, control, control_forms
from floatbench.methods.method import Method
from floatbench.methods.videos import PREFIX, VideosMethod
from floatbench.plugins import collect
from floatbench.text import near, printable

MODULES = ("floatbench.methods.float_method", "floatbench.methods.baseline")
"""Modules with a dictionary `METHODS`: name -> factory; outside ones as floatbench.plugins says."""


@cache
def factories() -> dict[str, Callable[..., Method]]:
    """What makes the methods that are registered by name; the controls and `videos:DIR` are not among them."""
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
    if name.startswith(PREFIX):
        return VideosMethod(name.removeprefix(PREFIX))
    from floatbench.methods.float_method import with_options

    given = with_options(name)
    if given is not None:
        return given
    base, _, preset = name.partition("@")
    registered = factories()
    if base not in registered:
        known = [*CONTROLS, *registered]
        forms = [*known, *control_forms(), "videos:DIR"]
        raise UsageError(f"unknown method {name!r}", fix=near(name, known, f"one of {', '.join(forms)}"))
    method = registered[base](preset) if preset else registered[base]()
    method.name = name
    return method


def resolve(methods: Iterable[str | Method]) -> list[Method]:
    """Methods by name, or as they are, in order and each once: `freeze:1` is the control `frozen`."""
    found: dict[str, Method] = {}
    for given in dict.fromkeys(methods):
        method = create(given) if isinstance(given, str) else given
        found.setdefault(method.name, method)
    return list(found.values())


def parse_names(text: str) -> list[str]:
    """`a,b,c` -> names, doubles removed, order kept; commas in folder names are written `videos:DIR` on their own."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    return list(dict.fromkeys(names))


def slug(name: str) -> str:
    """A safe folder name for a method: readable, and unique through a short hash when characters were replaced."""
    safe = (
        "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:60].lstrip(".-") or "method"
    )
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
