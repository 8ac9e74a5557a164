"""How often a method asks its network: a window, as papers count, out of what a method counted for a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WINDOW = 50
"""Frames of a window of FLOAT, which its clips were made with before they said how many windows they have."""


def evaluations_a_window(details: Mapping[str, Any], described: Mapping[str, Any], n_frames: int) -> float | None:
    """Network evaluations a window; None where they were not counted.

    Args:
        details: of a generated clip: `nfe` (of the whole clip) and `windows`, or `evaluations`, a window's already. A
            method that names no windows makes a clip in one go.
        described: what the method says of itself; one with sampling options is FLOAT.
        n_frames: of the clip.
    """
    total, windows = _number(details.get("nfe")), _number(details.get("windows"))
    if total is None:
        return _number(details.get("evaluations"))
    if windows is None:
        windows = -(-n_frames // WINDOW) if "options" in described else 1
    return total / windows if windows > 0 else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
