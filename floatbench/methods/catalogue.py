"""Finds methods by the name that is typed: controls, FLOAT, baselines, finished videos, outside plugins."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from floatbench.data.float_sample import NAME
from floatbench.errors import UsageError
from floatbench.methods.controls import CONTROLS, control, control_forms
from floatbench.methods.method import Method
from floatbench.methods.official_sample import OFFICIAL_SAMPLE
from floatbench.methods.videos import PREFIX, VideosMethod, finished_videos
from floatbench.plugins import collect
from floatbench.protocol.protocol import Protocol
from floatbench.text import near, printable

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
MODULES = ("floatbench.methods.float_method", "floatbench.methods.baseline", "floatbench.methods.official_sample")
"""Modules with a dictionary `METHODS`: name -> factory; outside ones as floatbench.plugins says."""


@cache
def factories() -> dict[str, Callable[..., Method]]:
    """What makes the methods that are registered by name; the controls and `videos:DIR` are not among them."""
    return collect("methods", MODULES)


def create(name: str, strip_suffixes: Sequence[str] = ()) -> Method:
    """The method of that name; `base@preset` hands the preset to the factory of `base`.

    Args:
        strip_suffixes: of finished videos, see `VideosMethod`.

    Raises UsageError for an unknown name, with near ones, and for one that no record could hold.
    """
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise UsageError(f"method {printable(name)!r}: the name is not UTF-8", fix="rename the folder")
    found = control(name)
    if found is not None:
        return found
    videos = finished_videos(name, strip_suffixes)
    if videos is not None:
        _refuse_taken(videos.name)
        return videos
    from floatbench.methods.float_method import with_options

    given = with_options(name)
    if given is not None:
        return given
    base, _, preset = name.partition("@")
    registered = factories()
    if base not in registered:
        known = [*CONTROLS, *registered, *control_forms(), "videos:DIR"]
        raise UsageError(f"unknown method {name!r}", fix=near(name, known, f"one of {', '.join(known)}"))
    method = registered[base](preset) if preset else registered[base]()
    method.name = name
    return method


def _refuse_taken(name: str) -> None:
    """Finished videos may not bear the name of a control or of a system that floatbench runs itself."""
    if control(name) is not None or name.partition("@")[0].partition("?")[0] in factories():
        raise UsageError(f"{name!r} is the name of another method", fix="videos:DIR as NAME with another name")


def default_methods(protocol: Protocol) -> list[str]:
    """What a run measures where nothing is named: the release's video on its own sample, else the controls alone."""
    return [OFFICIAL_SAMPLE] if protocol.dataset == NAME else []


def resolve(methods: Iterable[str | Method], strip_suffixes: Sequence[str] = ()) -> list[Method]:
    """Methods by name, or as they are, in order and each once: `freeze:1` is the control `frozen`, and choices are the
    same in any order.

    Raises UsageError for two different ones of one name.
    """
    found: dict[str, Method] = {}
    for given in dict.fromkeys(_canonical(method) if isinstance(method, str) else method for method in methods):
        method = create(given, strip_suffixes) if isinstance(given, str) else given
        known = found.setdefault(method.name, method)
        if known is not method and _identity(known) != _identity(method):
            raise UsageError(f"two different methods are called {method.name!r}", fix="give each a name of its own")
    return list(found.values())


def _canonical(name: str) -> str:
    """The one way to write a method's choices; other names as they are."""
    if "?" not in name or finished_videos(name) is not None:
        return name
    from floatbench.sampling.choices import canonical_name

    return canonical_name(name)


def _identity(method: Method) -> object:
    """What two methods of one name have in common when they are the same."""
    return method.place if isinstance(method, VideosMethod) else (type(method), method.record())


def parse_methods(*texts: str) -> list[str]:
    """`a,videos:DIR,c` -> methods as they are typed, of all texts, doubles removed, order kept.

    A comma belongs to the name of a folder where only the longer name is a folder, or where it is written `\\,`, and to
    a list of numbers that a name chooses: `float?emotion=0,0,0,1,0,0,0`.
    """
    found = []
    for text in texts:
        parts = _parts(text)
        while parts:
            longest = next((n for n in range(1, len(parts) + 1) if _is_folder(",".join(parts[:n]))), 1)
            while (
                "?" in parts[0] and longest < len(parts) and NUMBER.fullmatch(parts[longest].partition("&")[0].strip())
            ):
                longest += 1
            found.append(",".join(parts[:longest]).strip())
            parts = parts[longest:]
    return [name for name in dict.fromkeys(found) if name]


def _parts(text: str) -> list[str]:
    """What stands between the commas; `\\,` is a comma of the part itself."""
    return [part.replace("\\,", ",") for part in re.split(r"(?<!\\),", text)]


def _is_folder(text: str) -> bool:
    """True for a whole `videos:` method whose folder is there."""
    try:
        return PREFIX in text and finished_videos(text.strip()) is not None
    except UsageError:
        return False


def parse_names(text: str) -> list[str]:
    """`a,b,c` -> names, doubles removed, order kept; `\\,` is a comma in a name."""
    names = [part.strip() for part in _parts(text) if part.strip()]
    return list(dict.fromkeys(names))


def slug(name: str) -> str:
    """A safe folder name for a method: readable, and unique through a short hash when characters were replaced."""
    safe = (
        "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:60].lstrip(".-") or "method"
    )
    return safe if safe == name else f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
