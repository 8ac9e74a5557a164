"""Who belongs to whom in a run, found before any work: nothing is loaded, cropped or decoded for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from floatbench.errors import DataError
from floatbench.methods.method import Method
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip, Protocol


@dataclass(frozen=True)
class Matching:
    """What does not match: `notes` for people, and the `lacking` methods of which nothing belongs to any clip."""

    notes: tuple[str, ...]
    lacking: dict[str, DataError]


def match(methods: Sequence[Method], clips: Sequence[Clip], chosen: Sequence[Clip]) -> Matching:
    """Lets each method find what belongs to the clips of a protocol, of which a call has chosen some.

    Raises UsageError where it is not clear what belongs to whom.
    """
    notes: list[str] = []
    lacking: dict[str, DataError] = {}
    for method in methods:
        try:
            notes += method.match(clips, chosen)
        except DataError as error:
            lacking[method.name] = error
    return Matching(tuple(notes), lacking)


def say_what_matches_nothing(
    methods: Sequence[Method], protocol: Protocol, chosen: Sequence[Clip], progress: Progress, skip: bool
) -> None:
    """Says it before any work is done; raises DataError for a method that has no clip, unless it may be skipped."""
    found = match(methods, protocol.clips, chosen)
    for note in (*protocol.notes, *found.notes):
        progress.note(note)
    for error in found.lacking.values():
        if not skip:
            raise error
