"""What a run writes while it trains: JSON lines, TensorBoard, picture grids."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from floatbench.errors import DependencyError, UsageError
from floatbench.files import write_bytes
from floatbench.sampling.picture import to_pixels


class TrainingLog:
    """Appends a line per step to `log.jsonl`, and scalars to trackers.

    A resumed run first drops the lines of steps that it will take again.

    Args:
        trackers: names of `TRACKERS`; None is TensorBoard where it is installed.

    Raises:
        DependencyError: a tracker that was asked for is not installed.
    """

    def __init__(self, folder: Path, first_step: int, trackers: Sequence[str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "log.jsonl"
        kept = [line for line in _lines(self.path) if line["step"] < first_step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self._stream = self.path.open("a", encoding="utf-8")
        self._trackers = _started(folder, first_step, trackers)
        self._start = time.monotonic()

    def write(self, step: int, losses: Mapping[str, float], **more: float) -> None:
        """One step."""
        row = {"step": step, "seconds": round(time.monotonic() - self._start, 3), **more, **losses}
        plain = {key: value if math.isfinite(value) else None for key, value in row.items()}
        self._stream.write(json.dumps(plain) + "\n")
        self._stream.flush()
        for tracker in self._trackers:
            tracker.log({**more, **losses}, step)

    def validated(self, step: int, scores: Mapping[str, float]) -> None:
        """Scores of held-out clips after so many steps, for the trackers; `validation.jsonl` holds them too."""
        for tracker in self._trackers:
            tracker.log(dict(scores), step)

    def close(self) -> None:
        """Closes all."""
        self._stream.close()
        for tracker in self._trackers:
            tracker.finish()


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


TRACKERS = ("tensorboard", "wandb", "trackio")
"""Trackers of accelerate that `--logger` knows."""


def parse_trackers(names: str) -> tuple[str, ...] | None:
    """`tensorboard,wandb` -> names; `none` -> no tracker; "" -> None, the default.

    Raises:
        UsageError: an unknown name. DependencyError: one that is not installed.
    """
    if not names:
        return None
    named = [name.strip() for name in names.split(",") if name.strip()]
    fix = f"--logger {'|'.join(TRACKERS)}|none, or several of them"
    if not named:
        raise UsageError(f"--logger {names!r} names none", fix=fix)
    chosen = tuple(name for name in named if name != "none")
    for name in chosen:
        if name not in TRACKERS:
            raise UsageError(f"unknown logger {name!r}", fix=fix)
        if find_spec(name) is None:
            raise DependencyError(f"the logger {name} is not installed", fix=f"pip install {name}")
    return chosen


def _run_id(folder: Path, first_step: int) -> str:
    """What tells this training from all others: drawn by a fresh start, kept in the folder for those that go on."""
    file = folder / "run-id.txt"
    if not (first_step and file.is_file()):
        write_bytes(file, uuid.uuid4().hex[:12].encode())
    return file.read_text("utf-8")


def _started(folder: Path, first_step: int, names: Sequence[str] | None) -> list[Any]:
    """Trackers of a phase; what they show of steps that are taken again is dropped where they can."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    if names is None:  # an extra; the JSON lines hold the same numbers
        names = ("tensorboard",) if find_spec("tensorboard") is not None else ()
    run = f"{folder.resolve().parent.name}-{folder.name}"
    own = f"{run}-{_run_id(folder, first_step)}"  # folders of one name are many, and trackers join what has one id
    settings: dict[str, dict[str, Any]] = {
        "tensorboard": {"logging_dir": str(folder), "purge_step": first_step or None},
        "wandb": {"name": run, "dir": str(folder), "resume": "allow", "id": own},
        "trackio": {"name": own, "resume": "allow"},
    }
    found = []
    for name in names:
        title = "tensorboard" if name == "tensorboard" else "floatbench"
        tracker = LOGGER_TYPE_TO_CLASS[name](title, **settings[name])
        tracker.start()
        found.append(tracker)
    return found


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
