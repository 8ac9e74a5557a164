"""What a reader must know beside the scores of some methods of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from floatbench.engine.framing import picture_notes
from floatbench.engine.records import Row, RunInfo
from floatbench.engine.same_film import film_notes
from floatbench.protocol.overlap import overlap_notes
from floatbench.protocol.protocol import Clip


def run_notes(
    info: RunInfo, clips: Sequence[Clip], methods: Sequence[str], rows: Mapping[tuple[str, str, int], Row]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The marked records of these methods, and sentences about the clips and about these methods, no others.

    Args:
        clips: those that were available.
        rows: all of the run: what is odd about the clips shows in any method's.
    """
    described, about_pictures = picture_notes(info, methods, rows)
    return described, [*film_notes(clips, rows), *overlap_notes(clips, described), *about_pictures]
