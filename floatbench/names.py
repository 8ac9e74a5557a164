"""Who belongs to whom: which file stands for which clip.

Names match exactly, then by these rules and no others: suffixes of videos count as one, in whatever case; names that
differ in their Unicode form only (composed, decomposed) are one; suffixes that the caller names may be taken off the
file's stem. No other part of a name is ever dropped.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from floatbench.errors import UsageError
from floatbench.text import printable
from floatbench.types import VIDEO_SUFFIXES

_FAR = 0.2  # the likeness from which on a name is told where none is as like as difflib's 0.6
_LOOKED_AT = 200  # names without a counterpart that hints are sought for


def stem_of(name: str, suffixes: Collection[str] = VIDEO_SUFFIXES) -> str:
    """The name in its composed Unicode form, without its suffix where that is one of `suffixes`."""
    end = PurePosixPath(name).suffix
    return unicodedata.normalize("NFC", name.removesuffix(end) if end.lower() in suffixes else name)


def refuse_one_name_twice(files: Iterable[str], place: str, suffixes: Collection[str] = VIDEO_SUFFIXES) -> None:
    """Raises UsageError for two files of one folder that have one name: `x.mp4` beside `x.mov`."""
    first: dict[str, str] = {}
    for name in files:
        other = first.setdefault(stem_of(name, suffixes), name)
        if other != name:
            what = f"{place}: {printable(other)} and {printable(name)} are one name twice"
            raise UsageError(what, fix="rename one of them, or take it away")


def matched(
    wanted: Mapping[str, Sequence[str]], files: Sequence[str], place: str, strip_suffixes: Sequence[str] = ()
) -> dict[str, str]:
    """The file of each name that has one.

    Args:
        wanted: name -> other names by which its file may go.
        files: paths below one folder. place: that folder, for messages.
        strip_suffixes: may be taken off a file's stem.

    Raises:
        UsageError: two files for one name, or one file for two.
    """
    owners: dict[str, str] = {}
    for form_of_name, forms_of_file in _rules(strip_suffixes):
        by_form = defaultdict[str, list[str]](list)
        for file in files:
            for form in () if file in owners else forms_of_file(file):
                by_form[form].append(file)
        claims: dict[str, str] = {}
        for name, others in wanted.items():
            for file in {file for form in (name, *others) for file in by_form.get(form_of_name(form), ())}:
                other = claims.setdefault(file, name)
                if other != name:
                    what = f"{place}: {printable(file)} could be that of {printable(other)} and of {printable(name)}"
                    raise UsageError(what, fix="name it after one of them, suffix and all")
        owners |= claims
    found: dict[str, str] = {}
    for file, name in sorted(owners.items()):
        other = found.setdefault(name, file)
        if other != file:
            what = f"{place}: {printable(other)} and {printable(file)} are both that of {printable(name)}"
            raise UsageError(what, fix="rename one of them, or take it away")
    return found


def _rules(strip_suffixes: Sequence[str]) -> list[tuple[Callable[[str], str], Callable[[str], list[str]]]]:
    """(form of a name, forms of a file) that are equal where they belong together, the strictest rule first."""
    composed = partial(unicodedata.normalize, "NFC")
    ends = [stem_of(end) for end in strip_suffixes]

    def stripped(file: str) -> list[str]:
        stem = stem_of(file)
        return [stem.removesuffix(end) for end in ends if stem.endswith(end)]

    return [
        (str, lambda file: [file]),
        (composed, lambda file: [stem_of(file)]),
        (stem_of, lambda file: [stem_of(file)]),
        (composed, stripped),
        (stem_of, stripped),
    ]


def nearest(name: str, files: Iterable[str]) -> list[str]:
    """Up to three files whose names are like a name, the likest first; one of the same name elsewhere is the likest."""
    wanted, by_stem = stem_of(name), {stem_of(file): file for file in files}
    same = [stem for stem in by_stem if PurePosixPath(stem).name == PurePosixPath(wanted).name]
    like = difflib.get_close_matches(wanted, by_stem, n=3) or difflib.get_close_matches(wanted, by_stem, 1, _FAR)
    return [by_stem[stem] for stem in dict.fromkeys((*same[:3], *like))][:3]


def common_end(names: Iterable[str], files: Iterable[str]) -> str:
    """What stands behind most of the names in the stems of files (`_gen`); empty where there is nothing."""
    stems = [stem_of(file) for file in files][:_LOOKED_AT]
    wanted = [stem_of(name) for name in names][:_LOOKED_AT]
    ends = Counter(stem[len(name) :] for name in wanted for stem in stems if stem.startswith(name) and stem != name)
    return ends.most_common(1)[0][0] if ends else ""
