"""What a run needs and this machine has not: each thing once, with who needs it, and one line that mends it all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from textwrap import shorten
from typing import Any

from floatbench import weights
from floatbench.engine.needs import BOXES, needed
from floatbench.errors import DataError
from floatbench.protocol.load import built_in
from floatbench.protocol.protocol import Protocol

NAME_LETTERS, LICENCE_LETTERS = 60, 44
"""Letters that a table shows of each; `floatbench weights show NAME` has the whole licence."""


@dataclass(frozen=True)
class Missing:
    """Something that one metric, one method or the clips lack, and the command that gets it.

    Attributes:
        name: the metric or method that is left out without it; empty for the clips.
        weights: names of all its weight files that are not here; empty where something else is missing.
        thing: what is missing or wrong, where it is no absent weight file. licence: of that.
        used_by: who needs it; the metric or method where it is not said.
    """

    what: str
    fix: str
    name: str = ""
    weights: tuple[str, ...] = ()
    thing: str = ""
    licence: str = ""
    used_by: str = ""


@dataclass(frozen=True)
class Thing:
    """One line of the table: a weight file, a system, a package or clips. `size` in bytes, None where not known."""

    name: str
    size: int | None
    licence: str
    used_by: tuple[str, ...]
    what: str
    fix: str


class Unavailable(DataError):
    """What a run needs is not on this machine (exit code 4); `things` has a line for each.

    Args:
        may_skip: whether the command can leave things out.
    """

    def __init__(self, missing: Sequence[Missing], protocol: Protocol, may_skip: bool = True) -> None:
        self.things = things_of(missing)
        several = f"{len(self.things)} things that this run needs are not on this machine"
        fix = fix_of(missing, protocol)
        super().__init__(
            missing[0].what if len(self.things) == 1 else several,
            f"{fix}   (or leave them out with --skip-unavailable)"
            if may_skip and any(item.name for item in missing)
            else fix,
        )
        self.table = table_of(self.things)
        self.record = {"missing": [asdict(thing) for thing in self.things]}

    def __str__(self) -> str:
        return f"{self.what} ({', '.join(thing.name for thing in self.things)})\nfix: {self.fix}"


def lacking(names: Iterable[str]) -> tuple[str, ...]:
    """Those of these weight files that are not on this machine, in the table's order."""
    wanted = set(names)
    return tuple(name for name in weights.names() if name in wanted and not weights.available(name))


def things_of(missing: Sequence[Missing]) -> list[Thing]:
    """Each missing thing once, with everybody who needs it."""
    things: dict[str, Thing] = {}
    for item in missing:
        user = item.used_by or item.name
        for thing in _things(item):
            before = things.get(thing.name, thing)
            users = dict.fromkeys([*before.used_by, *([user] if user else [])])
            things[thing.name] = replace(before, used_by=tuple(users))
    return list(things.values())


def _things(item: Missing) -> list[Thing]:
    if not item.weights:
        return [Thing(item.thing or item.name or item.what, None, item.licence, (), item.what, item.fix)]
    rows = [weights.entry(name) for name in item.weights]
    return [
        Thing(row.name, row.size, row.licence, (), _said(row.name, row.title), weights.mend(row.name)) for row in rows
    ]


def _said(name: str, title: str) -> str:
    return f"weights {name!r} ({title}) are not on this machine"


def table_of(things: Sequence[Thing]) -> list[tuple[str, ...]]:
    """Rows of text, headings first: name, size, licence, used by."""
    rows = [("missing", "size", "licence", "used by")]
    for thing in things:
        size = "?" if thing.size is None else f"{thing.size / 1e6:.1f} MB"
        name = shorten(thing.name, NAME_LETTERS, placeholder=" ...")
        licence = shorten(thing.licence, LICENCE_LETTERS, placeholder=" ...") or "-"
        rows.append((name, size, licence, ", ".join(thing.used_by) or "-"))
    return rows


def fix_of(missing: Sequence[Missing], protocol: Protocol) -> str:
    """One line that gets everything: one fetch for all weight files, then what else has to be done, in order."""
    names = {name for item in missing for name in item.weights}
    others = dict.fromkeys(item.fix for item in missing if not item.weights)
    return " && ".join([*([_fetch(names, protocol)] if names else []), *others])


def _fetch(names: set[str], protocol: Protocol) -> str:
    """A purpose stands for its weights where all of them are missing here, but for those that only cut faces."""
    words, left = [], set(names)
    faces = {name for files in BOXES.values() for name in files}
    for purpose in (protocol.origin, "float"):
        if purpose != "float" and purpose not in built_in():
            continue
        its = set(lacking(needed(purpose)))
        if len(its & left) > 1 and its - faces <= names:
            words.append(f"--for {purpose}")
            left -= its
    words += [name for name in weights.names() if name in left]
    if not all(weights.entry(name).commercial for name in names):
        words.append("--accept-license")
    return f"floatbench weights fetch {' '.join(words)}"


def record_of(missing: Sequence[Missing], protocol: Protocol) -> dict[str, Any]:
    """The table and its fix as JSON types."""
    fix = fix_of(missing, protocol) if missing else None
    return {"missing": [asdict(thing) for thing in things_of(missing)], "fix": fix}
