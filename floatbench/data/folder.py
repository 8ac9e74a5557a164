"""Clips of a folder of videos."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from floatbench.data.prepared import PreparedDataset, Raw
from floatbench.protocol.own_folder import BOXES
from floatbench.protocol.protocol import Clip
from floatbench.weights.file_hashes import FileHashes


class FolderDataset(PreparedDataset):
    """Videos below `protocol.root`; prepared clips are found by content, so a changed file is prepared anew."""

    auto_prepare = True

    def raw(self, clip: Clip) -> Raw | None:
        video = self._path(clip.video)
        if video is None or not video.is_file():
            return None
        return Raw(video, self._path(clip.audio), self._path(clip.source))

    def _path(self, name: str) -> Path | None:
        return Path(self.protocol.root) / name if name else None

    def folder(self, clip: Clip) -> Path:
        rule = self.protocol.preprocessing
        content = {
            "boxes": rule.boxes_sha256,
            "sha256": clip.sha256,
            "start": clip.start_s,
            "end": clip.end_s,
            "face": clip.face,
        }
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return self.store / f"{clip.slug}-{digest[:12]}"

    def stale(self, clip: Clip, hashes: FileHashes) -> bool:
        """Never: the prepared folder is named after the content of the raw files."""
        return False

    def boxes_file(self) -> Path | None:
        return Path(self.protocol.root) / BOXES if self.protocol.preprocessing.boxes == "given" else None

    def missing_fix(self) -> str:
        return f"put the file back into {self.protocol.root}"
