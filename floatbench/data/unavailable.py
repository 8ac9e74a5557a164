"""What cannot be had any more, and since when: one JSON line per clip in `raw/<dataset>/unavailable.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from floatbench.errors import DataError
from floatbench.files import write_bytes
from floatbench.paths import data_dir


@dataclass(frozen=True)
class Absence:
    """One clip that could not be had: why, since when, when last tried (UTC), and how often."""

    clip_id: str
    video: str
    reason: str
    since: str
    last_tried: str
    tries: int


class Ledger:
    """The ledger of one data set; every change is on disk before the call returns."""

    def __init__(self, dataset: str) -> None:
        self.path: Path = data_dir() / "raw" / dataset / "unavailable.jsonl"
        self.rows = self._read()

    def _read(self) -> dict[str, Absence]:
        if not self.path.is_file():
            return {}
        try:
            lines = self.path.read_text("utf-8").split("\n")
            rows = [Absence(**json.loads(line)) for line in lines if line.strip()]
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"{self.path} is damaged", fix=f"delete {self.path}") from error
        return {row.clip_id: row for row in rows}

    def absent(self, clip_id: str, video: str, reason: str, time: str) -> None:
        """Notes one more failed try; the first time stays."""
        known = self.rows.get(clip_id)
        since, tries = (known.since, known.tries + 1) if known else (time, 1)
        self.rows[clip_id] = Absence(clip_id, video, reason, since, time, tries)
        self._write()

    def found(self, clip_id: str) -> None:
        """Takes a clip off the ledger."""
        if self.rows.pop(clip_id, None):
            self._write()

    def _write(self) -> None:
        lines = [json.dumps(asdict(self.rows[name]), ensure_ascii=False) + "\n" for name in sorted(self.rows)]
        write_bytes(self.path, "".join(lines).encode())
