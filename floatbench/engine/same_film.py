"""Says by content what is odd about a run's clips: one film twice, one film for two persons, one person only.

Controls that borrow from "another person" are blind where that person's film is the clip's own; their rules would blame
the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from floatbench.engine.records import Row
from floatbench.protocol.protocol import Clip

Rows = Mapping[tuple[str, str, int], Row]
MOST_BLIND = 0.1
"""Share of its clips on which a control may be the reference itself and still be judged by."""
SHOWN = 4


def film_notes(clips: Sequence[Clip], rows: Rows) -> list[str]:
    """One sentence per film that several clips show, and one when all clips are of one person."""
    notes = []
    for group in _same_films(clips, rows):
        people = sorted({clip.identity for clip in group})
        as_people = f", given as {len(people)} persons ({_list(people)})" if len(people) > 1 else ""
        notes.append(f"{_list([clip.id for clip in group])} are one film, pixel for pixel{as_people}")
    if len(clips) > 1 and len({clip.identity for clip in clips}) == 1:
        notes.append(f"all {len(clips)} clips are of one person: no control can borrow from another")
    return notes


def _same_films(clips: Sequence[Clip], rows: Rows) -> list[list[Clip]]:
    """Groups of clips whose reference pictures are equal; rows may have cut a reference by a frame or two."""
    films: dict[str, list[Clip]] = {}
    hashes: dict[str, set[str]] = {}
    for row in rows.values():
        if row.status == "ok" and "cut_frames" not in row.details and row.reference_pixels_sha256:
            hashes.setdefault(row.clip, set()).add(row.reference_pixels_sha256)
    for clip in clips:
        for digest in hashes.get(clip.id, ()):
            films.setdefault(digest, []).append(clip)
    return [group for group in films.values() if len(group) > 1]


def blind_controls(rows: Rows) -> dict[str, str]:
    """Control -> why it cannot judge: on too many clips its borrowed pictures or sound are the clip's own."""
    found = {}
    for name, what in (("wrong-identity", "pictures"), ("swapped", "sound")):
        mine = [row for row in rows.values() if row.method == name and row.status == "ok"]
        same = sorted({row.clip for row in mine if _is_own(row, rows)})
        if mine and len(same) > MOST_BLIND * len({row.clip for row in mine}):
            found[name] = f"{name} borrows the clip's own {what} on {_list(same)}: no metric is judged by it"
    return found


def _is_own(row: Row, rows: Rows) -> bool:
    if row.method == "wrong-identity":
        return row.pixels_sha256 == row.reference_pixels_sha256
    reference = rows.get(("reference", row.clip, row.replicate))
    return reference is not None and bool(row.pcm_sha256) and row.pcm_sha256 == reference.pcm_sha256


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
