"""What an interval covers, in a sentence for under a table."""

from __future__ import annotations

import re
from collections.abc import Iterable

from floatbench.engine.records import ScoreRow


def interval_notes(cells: Iterable[ScoreRow]) -> list[str]:
    """One sentence on what the intervals of some scores cover, and one where they are conditional on the people."""
    intervals = [cell.interval for cell in cells if cell.interval and cell.value is not None and not cell.void]
    if not intervals:
        return []
    found = [
        "An interval (95 %) covers the expected score of such people at this number of people and clips, not that of "
        "infinitely many"
    ]
    conditions = dict.fromkeys(unit for one in intervals if (unit := condition(str(one.get("method", "")))))
    found += [f"Intervals {unit} say nothing of other people" for unit in conditions]
    return found


def condition(method: str) -> str:
    """`conditional on the 2 people`, where an interval's method says so, else empty."""
    found = re.search(r"conditional on the \d+ (people|person)", method)
    return found.group() if found else ""
