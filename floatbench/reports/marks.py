"""What is printed beside a method's name: everything about how it was made that a reader must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def method_marks(described: Mapping[str, Any]) -> tuple[str, ...]:
    """The marks of a method's record: random weights, re-cropping, resampling, seeds, environment, no ranking.

    Args:
        described: what `Method.describe` gave, as scores.json keeps it.
    """
    marks = [str(mark) for mark in described.get("marks", ())]
    if described.get("fabricated"):
        marks.insert(0, "random weights")
    if described.get("profile"):
        marks.append(f"{described['profile']} profile")
    if described.get("ranked") is False:
        marks.append("not ranked")
    return tuple(dict.fromkeys(marks))


def marked_name(name: str, described: Mapping[str, Any]) -> str:
    """`name (mark, mark)`, or the name alone."""
    marks = method_marks(described)
    return f"{name} ({', '.join(marks)})" if marks else name
