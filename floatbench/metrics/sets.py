"""Names for several metrics at once: `--metrics motion` instead of a dozen ids."""

from __future__ import annotations

from collections.abc import Iterable

from floatbench.errors import UsageError
from floatbench.metrics import registry

_MOVEMENT = ("head-div", "blinks", "gaze", "smooth", "flicker", "flicker-face")
_THEVAL = ("theval-lip-dynamics", "theval-head-motion-mp", "theval-brows", "theval-silent-lips", "theval-lipsync")
SETS: dict[str, tuple[str, ...]] = {
    "paper": ("fid", "fvd", "csim-source", "efid", "pfid-fixedcrop", "lse-direct-d", "lse-direct-c"),
    "theval": _THEVAL,
    "sync": (
        "lse-direct-d", "lse-direct-c", "avcorr-excess", "theval-lipsync", "judge-acc-lse-direct", "judge-acc-avcorr",
        "judge-acc-theval-lipsync",
    ),
    "emotion": ("emo-acc", "emo-prob", "emo-fid"),
    "drift": (
        "drift-csim", "drift-sharpness", "drift-colour", "drift-place", "drift-lips", "drift-lse-d", "drift-lse-c",
        "drift-avcorr",
    ),
    "pictures": ("psnr-rgb", "ssim-rgb", "lpips-alex"),
    "motion": (*_MOVEMENT, *(f"{name}-gap" for name in _MOVEMENT), "lip-dynamics-gap", "head-motion-gap"),
    "recent": ("cmmd", "fvd-videomae", "jedi", "desync", "judge-acc-desync"),
}  # fmt: skip
"""Name -> variants, in the order of a table's columns; `paper` is Table 1 of FLOAT."""
BY_NAME_ONLY = "recent"
"""The set whose networks weigh some 15 GB: nobody gets them who did not name them."""
ALL = "all"
"""Every variant of every set but `recent`."""


def names() -> list[str]:
    """The sets, as they are typed."""
    return [*SETS, ALL]


def members(name: str) -> tuple[str, ...]:
    """The variants of a set."""
    if name != ALL:
        return SETS[name]
    return tuple(dict.fromkeys(v for one, found in SETS.items() if one != BY_NAME_ONLY for v in found))


def expanded(given: Iterable[str]) -> list[str]:
    """Variants and sets as variants, each once, in order; a metric of one's own that is called like a set comes first.

    Unknown names stay as they are: whoever looks them up refuses them.
    """
    given = list(given)
    if not set(given) & set(names()):
        return list(dict.fromkeys(given))
    known = set(registry.metric_ids())
    parts = [(name,) if name in known or name not in names() else members(name) for name in given]
    return list(dict.fromkeys(variant for part in parts for variant in part))


def measured(given: Iterable[str], scored: Iterable[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Variants and sets as variants of finished runs, and set -> its members that were not scored there.

    Of a set the members that were scored are meant; a variant that is named by itself stays, scored or not.

    Raises:
        UsageError: a set of which nothing was scored.
    """
    had, named = list(scored), list(given)
    known, found, lacking = set(registry.metric_ids()), list[str](), dict[str, list[str]]()
    for name in named:
        if name not in names() or name in known:
            found.append(name)
            continue
        here = [variant for variant in members(name) if variant in had]
        if not here:
            raise UsageError(f"nothing of the set {name} was scored", fix=f"--metrics {','.join(had)}")
        found += here
        if absent := [variant for variant in members(name) if variant not in had]:
            lacking[name] = absent
    return list(dict.fromkeys(found)), lacking
