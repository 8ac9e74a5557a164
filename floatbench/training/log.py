"""What a run writes while it trains: JSON lines, TensorBoard, picture grids."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from floatbench.sampling.picture import to_pixels


class TrainingLog:
    """Appends a line per step to `log.jsonl`, and scalars to TensorBoard where it is installed.

    A resumed run first drops the lines of steps that it will take again.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        kept = [line for line in _lines(self.path) if line["step"] < first_step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self._stream = self.path.open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", first_step)
        self._start = time.monotonic()

    def write(self, step: int, losses: Mapping[str, float], **more: float) -> None:
        """One step."""
        row = {"step": step, "seconds": round(time.monotonic() - self._start, 3), **more, **losses}
        plain = {key: value if math.isfinite(value) else None for key, value in row.items()}
        self._stream.write(json.dumps(plain) + "\n")
        self._stream.flush()
        if self._board is not None:
            for name, value in {**more, **losses}.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes both."""
        self._stream.close()
        if self._board is not None:
            self._board.close()


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; a line that a crash cut short is left out."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text("utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def _board(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:  # an extra; the JSON lines hold the same numbers
        return None
    return SummaryWriter(str(folder), purge_step=first_step or None)


def save_grid(path: Path, rows: list[Tensor]) -> None:
    """Writes pictures (N, 3, R, R) in [-1, 1] as one PNG, a row of the grid per tensor."""
    from floatbench.media.image import write_image

    write_image(path, np.ascontiguousarray(grid(rows)))


def save_clip(path: Path, left: np.ndarray, right: Iterable[Tensor], audio: np.ndarray) -> None:
    """Writes two clips side by side as an MP4 with sound.

    Args:
        left: (T, R, R, 3) uint8. right: batches (N, 3, R, R) of as many frames. audio: (640 T,) int16.
    """
    from floatbench.media.writers import write_mp4

    parts = (to_pixels(torch.as_tensor(part)).cpu().numpy() for part in right)
    moving = (frame for part in parts for frame in part)
    pairs = zip(left, moving, strict=True)
    write_mp4(path, (np.ascontiguousarray(np.concatenate(pair, 1)) for pair in pairs), audio)


def grid(rows: list[Tensor]) -> np.ndarray:
    """(rows * R, N * R, 3) uint8."""
    return np.concatenate([np.concatenate(list(to_pixels(torch.as_tensor(row)).cpu().numpy()), 1) for row in rows], 0)
