"""The rules by which files become clips: `pp1`, and `pp2`, which mends what pp1 gets wrong.

Both are kept, since a number belongs to the rule that its clips were made with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from av.video.reformatter import Interpolation

Spec = Literal["pp1", "pp2"]

_ACCURATE = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT


@dataclass(frozen=True)
class Rule:
    """What differs between the two.

    Attributes:
        held: a picture is shown until the time of the next one; else the nearest in time is shown.
        interpolation: how libswscale turns planes into R-G-B. Its default rounds down: pictures become 1.0 to 1.5
            levels darker. With accurate rounding and full chroma no channel is off by more than half a level.
        default_track: the track that the file marks as default is taken, else the first.
        any_channel: where the mean of the channels is silent and a channel is not, that channel is taken.
        reports: gaps between pictures and pictures of high dynamic range are flagged.
    """

    held: bool = False
    interpolation: int | None = None
    default_track: bool = False
    any_channel: bool = False
    reports: bool = False


PP1 = Rule()
PP2 = Rule(held=True, interpolation=int(_ACCURATE), default_track=True, any_channel=True, reports=True)


def rule_of(spec: str) -> Rule:
    """The rule of a protocol's `preprocessing.spec`; clips that are rendered or taken as they are follow pp1."""
    return PP2 if spec == "pp2" else PP1
