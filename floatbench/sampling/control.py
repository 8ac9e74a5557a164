"""Control of what is generated: emotion by name or numbers, and the motion coefficients (FLOAT, Eq. 15)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from floatbench.errors import DataError, UsageError
from floatbench.model.config import EMOTIONS

FROM_SPEECH = "speech"


def parse_emotion(text: str | None) -> np.ndarray | None:
    """(7,) float32 from a label or seven comma-separated weights; None for `speech` or nothing.

    Raises:
        UsageError: an unknown label, a wrong count, or weights that are not finite.
    """
    if text is None or text.strip().lower() in ("", FROM_SPEECH):
        return None
    name = text.strip().lower()
    if name in EMOTIONS:
        return np.eye(len(EMOTIONS), dtype=np.float32)[EMOTIONS.index(name)]
    try:
        weights = np.array([float(part) for part in text.split(",")], dtype=np.float32)
    except ValueError:
        weights = np.empty(0, dtype=np.float32)
    if weights.shape != (len(EMOTIONS),) or not np.isfinite(weights).all():
        choices = ", ".join((FROM_SPEECH, *EMOTIONS))
        raise UsageError(f"emotion {text!r} is neither one of {choices} nor 7 comma-separated numbers")
    return weights


@dataclass(frozen=True)
class Control:
    """An edit of one motion direction.

    Attributes:
        direction: index of the direction, 0 to M - 1.
        values: one number for the clip, or (frames, values) key points, linearly interpolated, held at both ends.
        mode: `add` to the coefficient or `set` it.
    """

    direction: int
    values: float | tuple[tuple[float, ...], tuple[float, ...]]
    mode: Literal["add", "set"] = "add"

    def curve(self, start: int, length: int) -> np.ndarray:
        """(length,) float32 values for the frames from `start` on."""
        if isinstance(self.values, int | float):
            return np.full(length, self.values, dtype=np.float32)
        frames, values = self.values
        return np.interp(np.arange(start, start + length), frames, values).astype(np.float32)


def parse_control(text: str) -> Control:
    """`DIR=VALUE`, `DIR=curve.csv`, with `set:` before the value to replace the coefficient instead of adding to it.

    Raises:
        UsageError: a malformed direction or value. DataError: a missing or damaged curve file.
    """
    direction, mark, value = text.partition("=")
    if not mark or not direction.strip().isdecimal():
        raise UsageError(f"--control takes DIR=VALUE or DIR=curve.csv with a direction number, not {text!r}")
    mode: Literal["add", "set"] = "set" if value.startswith("set:") else "add"
    value = value.removeprefix("set:")
    try:
        number = float(value)
    except ValueError:
        return Control(int(direction), read_curve(Path(value)), mode)
    if not np.isfinite(number):
        raise UsageError(f"--control {text!r}: the value is not finite")
    return Control(int(direction), number, mode)


def read_curve(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Reads key points: a column `value` for frames 0, 1, 2 ..., or columns `frame,value`; the header may be absent."""
    fix = "write a CSV file with the columns frame,value or the single column value"
    if not path.is_file():
        raise DataError(f"the control curve {path} does not exist", fix="give a number or an existing CSV file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [row for row in csv.reader(stream) if any(cell.strip() for cell in row)]
        if rows and rows[0][-1].strip().lower() == "value":
            rows = rows[1:]
        points = [_point(index, row) for index, row in enumerate(rows)]
    except (ValueError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"the control curve {path} is damaged: {error}", fix) from error
    frames, values = tuple(p[0] for p in points), tuple(p[1] for p in points)
    if not points or not np.isfinite(points).all() or any(b <= a for a, b in pairwise(frames)):
        raise DataError(f"the control curve {path} needs finite values at increasing frames", fix)
    return frames, values


def _point(index: int, row: list[str]) -> tuple[float, float]:
    if len(row) not in (1, 2):
        raise ValueError(f"row {index + 1} has {len(row)} columns")
    return (float(index), float(row[0])) if len(row) == 1 else (float(row[0]), float(row[1]))


def check_controls(controls: tuple[Control, ...], directions: int) -> None:
    """Raises UsageError for a direction the basis does not have, or one that is named twice."""
    seen: set[int] = set()
    for control in controls:
        if not 0 <= control.direction < directions:
            raise UsageError(f"--control {control.direction}: this model has directions 0 to {directions - 1}")
        if control.direction in seen:
            raise UsageError(f"--control names direction {control.direction} twice")
        seen.add(control.direction)


def edit_motion(motion: Tensor, basis: Tensor, controls: tuple[Control, ...], start: int = 0) -> Tensor:
    """lambda-control: r' = r + Q (lambda' - lambda) with lambda = Q^T r (FLOAT, Eq. 15).

    Generated motion need not lie in the span of the basis; what lies outside is left as it is.

    Args:
        motion: (B, n, D), frames from `start` on; for pictures the motion is absolute, not relative to the source.
        basis: (D, M) with orthonormal columns.
    """
    if not controls:
        return motion
    edited = motion
    for control in controls:
        column = basis[:, control.direction]
        curve = torch.from_numpy(control.curve(start, motion.shape[1])).to(motion)
        change = curve if control.mode == "add" else curve - motion @ column
        edited = edited + change[..., None] * column
    return edited


def project_motion(motion: Tensor, basis: Tensor) -> Tensor:
    """Q Q^T r: the part of (B, n, D) motion that lies in the motion space."""
    return motion @ basis @ basis.T
