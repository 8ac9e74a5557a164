"""Clips of RAVDESS."""

from __future__ import annotations

from pathlib import Path

from floatbench.data.prepared import PreparedDataset, Raw
from floatbench.paths import data_dir
from floatbench.protocol.protocol import Clip


class RavdessDataset(PreparedDataset):
    """Files of the archives below `raw/ravdess/Actor_NN/`."""

    def raw(self, clip: Clip) -> Raw | None:
        path = raw_path(clip)
        return Raw(path) if path.is_file() else None

    def missing_fix(self) -> str:
        return f"floatbench protocol fetch {(self.protocol.origin or self.protocol.id).split()[0]}"


def raw_path(clip: Clip) -> Path:
    """Where the file of a clip lies."""
    return data_dir() / "raw" / "ravdess" / clip.video
