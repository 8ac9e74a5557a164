"""Clips of HDTF."""

from __future__ import annotations

from pathlib import Path

from floatbench.data.prepared import PreparedDataset, Raw
from floatbench.paths import data_dir
from floatbench.protocol.protocol import Clip


class HdtfDataset(PreparedDataset):
    """Windows of the original videos below `raw/hdtf/`, with the time stamps of the originals."""

    def raw(self, clip: Clip) -> Raw | None:
        path = raw_path(clip)
        return Raw(path) if path.is_file() else None

    def missing_fix(self) -> str:
        return f"floatbench protocol fetch {(self.protocol.origin or self.protocol.id).split()[0]}"


def raw_path(clip: Clip) -> Path:
    """Where the window of a clip lies."""
    return data_dir() / "raw" / "hdtf" / f"{clip.slug}.nut"
