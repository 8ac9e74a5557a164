"""Columns of a clip table that nearly are known ones: `Identity`, `speaker`, `start`. They never become labels."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from floatbench.errors import UsageError
from floatbench.text import printable

MEANT = {
    "id": {"clip", "clipid", "file", "filename", "video", "videoid", "videofile"},
    "identity": {"speaker", "speakerid", "person", "personid", "subject", "subjectid", "actor", "actorid"},
    "start_s": {"start", "begin", "from", "onset", "starttime", "startsec", "startseconds", "startms", "startframe"},
    "end_s": {"end", "stop", "to", "until", "endtime", "endsec", "endseconds", "endms", "endframe"},
    "audio": {"sound", "wav", "audiofile", "audiopath", "soundfile"},
    "source": {"image", "picture", "portrait", "photo", "sourceimage", "referenceimage"},
}
"""Known column -> other names that people give it: letters and digits, lower case."""
LIKE = 0.8
"""difflib's ratio from which on two names are alike; `emotion`, `score` and `stage` are like none of the known ones."""


def meant(column: str, known: Collection[str]) -> str | None:
    """The known column that another one nearly is; None for a name of its own."""
    plain = _plain(column)
    for name in known:
        if plain == _plain(name) or plain in MEANT.get(name, ()):
            return name
    like = difflib.get_close_matches(plain, [_plain(name) for name in known], n=1, cutoff=LIKE)
    return next((name for name in known if like and _plain(name) == like[0]), None)


def refuse_nearly_known(place: str, header: Sequence[str], known: Sequence[str]) -> None:
    """Raises UsageError for a column that nearly is a known one which the table lacks, or is it in other letters.

    Where the known column is there too, a column like `speaker` beside `identity` is a label.
    """
    for column in header:
        if column in known:
            continue
        lacking = [name for name in known if name not in header or _plain(name) == _plain(column)]
        if name := meant(column, lacking):
            what = f"{place}:1: the column {printable(column)!r} is not known, and nearly is {name!r}"
            fix = f"call it {name}{' and give it in seconds' if name.endswith('_s') else ''}"
            if _plain(name) != _plain(column):
                fix += f"; if it is a label, give the table a column {name} as well"
            raise UsageError(what, fix=fix)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
