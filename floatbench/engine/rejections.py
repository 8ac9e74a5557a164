"""Clips that cannot be scored: grouped by reason with what mends each, and a stop where most of a run's are refused."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from floatbench.engine.plan import Plan
from floatbench.errors import DataError
from floatbench.progress import Progress
from floatbench.protocol.protocol import Protocol

MOST = 0.5
"""Share of a run's clips above which it stops and asks."""
_ENCODE = "copy or encode them again"
FOLDER_MENDS: Mapping[str, str] = {
    "too_small": "--size {fitting} or --boxes none",
    "padding": "--boxes none",
    "no_face": "--boxes none, or --boxes given",
    "face_lost": "--boxes none, or --boxes given",
    "moved": "--boxes none, or --boxes given",
    "too_short": "longer videos",
    "too_long": "a window in clips.csv (start_s, end_s)",
    "too_large": "smaller pictures",
    "no_audio": "a .wav of the same name beside each",
    "silent": "a .wav of the same name beside each",
    "unreadable": _ENCODE,
    "truncated": _ENCODE,
    "empty": _ENCODE,
    "no_video": _ENCODE,
}
"""Reason -> what mends it where the clips are one's own folder."""


@dataclass(frozen=True)
class Refused:
    """Clips refused for one reason, in protocol order; `example` says more of the first, `fix` what mends them."""

    reason: str
    clips: tuple[str, ...]
    example: str
    fix: str

    def line(self) -> str:
        return f"{len(self.clips)} x {self.reason}: {self.fix}"


class MostRefused(DataError):
    """Most clips of a run were refused (exit code 4)."""

    def __init__(self, groups: list[Refused], n_clips: int) -> None:
        refused = sum(len(group.clips) for group in groups)
        left = n_clips - refused
        rest = "each is scored as refused" if not left else f"the other {left} {'is' if left == 1 else 'are'} scored"
        super().__init__(
            f"{refused} of {n_clips} clips were refused",
            f"mend them as the table says, or add --skip-rejected: {rest}",
        )
        self.table = [("refused", "for example", "mend")]
        self.table += [(f"{len(g.clips)} x {g.reason}", g.example, g.fix) for g in groups]
        self.record: Mapping[str, Any] = {"rejected": [asdict(group) for group in groups]}


def grouped(rejected: Mapping[str, str], protocol: Protocol) -> list[Refused]:
    """The refused clips (clip -> `reason: detail`) by reason, the most frequent one first."""
    clips: defaultdict[str, list[str]] = defaultdict(list)
    for clip, why in rejected.items():
        clips[why.partition(":")[0]].append(clip)
    groups = []
    for reason, names in sorted(clips.items(), key=lambda item: -len(item[1])):
        detail = rejected[names[0]].partition(":")[2].strip()
        example = f"{names[0]}: {detail}" if detail and not detail.startswith(names[0]) else detail or names[0]
        groups.append(
            Refused(reason, tuple(names), example, _mend(reason, [rejected[name] for name in names], protocol))
        )
    return groups


def _mend(reason: str, said: Sequence[str], protocol: Protocol) -> str:
    if protocol.dataset == "folder":
        mend = FOLDER_MENDS.get(reason, "leave them out with --clips")
        if protocol.preprocessing.boxes == "none":  # nothing is cut already
            mend = mend.partition(" or --boxes")[0]
        return mend.format(fitting=_fitting(said, protocol.preprocessing.size))
    name = protocol.origin or protocol.id
    return f"get better files (floatbench protocol fetch {name}), then floatbench protocol prepare {name} --retry"


def _fitting(said: Sequence[str], size: int) -> int:
    """The size, halved until each crop that was too small is wide enough for it: half of it is needed."""
    widths = [int(found[1]) for text in said if (found := re.search(r"(\d+) pixels wide", text))]
    fitting = size // 2
    while widths and fitting > 64 and fitting > 2 * min(widths):
        fitting //= 2
    return fitting


def say_rejections(plan: Plan, accepted: Mapping[str, str], skip: bool, progress: Progress) -> None:
    """A note for each reason; raises MostRefused where most clips are refused that were not so before.

    Args:
        accepted: clips whose refusal the run folder already records. skip: go on whatever is refused.
    """
    groups = grouped(plan.rejected, plan.protocol)
    if len(plan.rejected) > MOST * len(plan.clips) and not skip and not plan.rejected.keys() <= accepted.keys():
        raise MostRefused(groups, len(plan.clips))
    for group in groups:
        progress.note(f"refused: {group.line()}")
