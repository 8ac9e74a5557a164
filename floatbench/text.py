"""Words for people: names in one line, hints for what was mistyped, the time as records hold it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime


def now() -> str:
    """This moment, UTC, to the second, as files record it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(value: object) -> str:
    """A path or name in one line of printable characters (file names may hold newlines and undecodable bytes)."""
    text = str(value)
    return text if text.isprintable() else ascii(text)[1:-1]


def near(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A "did you mean" hint, whatever the case; without a near name `otherwise`, or the list of known ones."""
    names = sorted(known)
    folded = {each.casefold(): each for each in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=3)
    if close:
        return f"did you mean {' or '.join(folded[each] for each in close)}?"
    return f"known: {', '.join(names)}" if otherwise is None else otherwise
