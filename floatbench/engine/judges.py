"""Judged by whom it learned from: metrics whose network, or one of its family, taught the system that they score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SELF_JUDGED = "self-judged"
JUDGES = {
    "syncnet": ("syncnet", "a SyncNet"),
    "arcface": ("arcface", "a face recogniser (ArcFace)"),
    "reconnet": ("reconnet", "Deep3DFaceRecon's coefficients"),
    "mediapipe": ("mp-landmarker", "MediaPipe's landmarks"),
    "inception": ("inception", "an Inception network"),
    "i3d": ("i3d", "an I3D network"),
    "hsemotion": ("hsemotion", "HSEmotion"),
}
"""What a manifest's `trained_with` may name: what the backbones of that family have in their ids, and words for it."""


def self_judged(described: Mapping[str, Any], backbones: Iterable[str]) -> list[str]:
    """Marks of a cell: `self-judged: trained against ...` for every teacher of the system that is its judge here.

    Args:
        described: what `Method.describe` gave; its `trained_with` names families of `JUDGES`.
        backbones: ids of the networks that the metric looks through.
    """
    judges = list(backbones)
    taught = [JUDGES[name] for name in described.get("trained_with", ()) if name in JUDGES]
    return [f"{SELF_JUDGED}: trained against {words}" for stem, words in taught if any(stem in one for one in judges)]


def is_self_judged(marks: Iterable[str]) -> bool:
    """True when a cell bears such a mark."""
    return any(mark.partition(":")[0] == SELF_JUDGED for mark in marks)
