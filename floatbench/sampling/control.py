"""Control of what is generated: emotion by name or numbers, and the motion coefficients (FLOAT, Eq. 15)."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from floatbench.errors import DataError, UsageError
from floatbench.model.config import EMOTIONS
from floatbench.sampling.ahead import on_device
from floatbench.settings import settings
from floatbench.text import near

Finite = Annotated[float, Field(allow_inf_nan=False)]
FROM_SPEECH = "speech"
RELEASE_SPEECH = "s2e"
"""How the release spells it."""


def parse_emotion(text: str | None) -> np.ndarray | None:
    """(7,) float32 from a label or seven comma-separated weights; None for `speech` (`S2E`) or nothing.

    Raises:
        UsageError: an unknown label, a wrong count, or weights that are not finite.
    """
    if text is None or text.strip().lower() in ("", FROM_SPEECH, RELEASE_SPEECH):
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
        close = difflib.get_close_matches(name, (FROM_SPEECH, *EMOTIONS), n=1)
        raise UsageError(
            f"emotion {text!r} is neither one of {choices} nor 7 comma-separated numbers",
            fix=f"did you mean {close[0]}?" if close else None,
        )
    return weights


@settings
class Control:
    """An edit of one motion direction.

    Attributes:
        direction: index of the direction, 0 to M - 1.
        values: one number for the clip, or (frames, values) key points, linearly interpolated, held at both ends.
        mode: `add` to the coefficient or `set` it.
    """

    direction: int
    values: Finite | tuple[tuple[Finite, ...], tuple[Finite, ...]]
    mode: Literal["add", "set"] = "add"

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return {"direction": self.direction, "mode": self.mode, "values": self.values}

    def curve(self, start: int, length: int) -> np.ndarray:
        """(length,) float32 values for the frames from `start` on."""
        if isinstance(self.values, int | float):
            return np.full(length, self.values, dtype=np.float32)
        frames, values = self.values
        return np.interp(np.arange(start, start + length), frames, values).astype(np.float32)


@dataclass(frozen=True)
class ControlWish:
    """A control as it was typed: direction number, a number or a curve's file, and how it acts."""

    direction: int
    value: float | str
    mode: Literal["add", "set"] = "add"

    def control(self) -> Control:
        """The control; reads its curve. Raises DataError for a missing or damaged one."""
        value = read_curve(Path(self.value)) if isinstance(self.value, str) else self.value
        return Control(self.direction, value, self.mode)


def parse_control(text: str, names: Sequence[str] = ()) -> Control:
    """The control of `DIR=VALUE`, see `read_wish`; raises DataError for a missing or damaged curve file."""
    return read_wish(text, names).control()


def read_wish(text: str, names: Sequence[str] = ()) -> ControlWish:
    """`DIR=VALUE`, `DIR=curve.csv`, with `set:` before the value to replace the coefficient instead of adding to it.

    Within a method's name a colon stands for the equals sign: `DIR:VALUE`.

    Args:
        names: of the directions, in order: DIR is one of them or a number.

    Raises:
        UsageError: a malformed direction or value.
    """
    found = re.match(r"\s*([^=:]*)[=:](.*)", text, re.DOTALL)
    if found is None or not found[2].strip():
        raise UsageError(f"control takes DIR=VALUE or DIR=curve.csv with a direction number or name, not {text!r}")
    direction, value = found[1].strip(), found[2].strip()
    mode: Literal["add", "set"] = "set" if value.startswith("set:") else "add"
    value = value.removeprefix("set:")
    number = _direction(direction, names, text)
    try:
        amount = float(value)
    except ValueError:
        return ControlWish(number, value, mode)
    if not np.isfinite(amount):
        raise UsageError(f"control {text!r}: the value is not finite")
    return ControlWish(number, amount, mode)


def _direction(text: str, names: Sequence[str], control: str) -> int:
    if text in names:
        return list(names).index(text)
    if text.isdecimal():
        return int(text)
    if not names:
        raise UsageError(
            f"control {control!r}: the directions of this model have no names, only numbers",
            fix="floatbench generate --list-controls",
        )
    raise UsageError(f"control {control!r}: there is no direction {text!r}", fix=near(text, names))


def read_pose(path: Path, frames: int | None = None) -> np.ndarray:
    """(T, 6) float32 head poses of frame after frame, three angles and three translations, from `.npy` or CSV.

    They are in the units of the network's training data; see `floatbench.methods.frame_conditions.head_pose`.

    Args:
        frames: how many are needed, the first ones; None takes all.

    Raises:
        DataError: the file is missing or too short, or is no table of six finite numbers a row.
    """
    fix = "six numbers a frame: yaw, pitch, roll, x, y, z"
    if not path.is_file():
        raise DataError(f"the pose file {path} does not exist", fix="give an existing .npy or .csv file")
    try:
        if path.suffix.lower() == ".npy":
            found = np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
        else:
            rows = [row for row in csv.reader(path.read_text("utf-8-sig").splitlines()) if any(row)]
            if rows and not _is_number(rows[0][0]):
                rows = rows[1:]
            found = np.array([[float(cell) for cell in row] for row in rows], dtype=np.float32)
    except (ValueError, OSError, csv.Error) as error:
        raise DataError(f"the pose file {path} is damaged: {error}", fix) from error
    if found.ndim != 2 or found.shape[1:] != (6,) or not len(found) or not np.isfinite(found).all():
        raise DataError(f"the pose file {path} holds {found.shape}, not (frames, 6) finite numbers", fix)
    if frames is not None and len(found) < frames:
        raise DataError(f"the pose file {path} has {len(found)} poses for {frames} frames", fix)
    return found[:frames]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
            raise UsageError(f"control {control.direction}: this model has directions 0 to {directions - 1}")
        if control.direction in seen:
            raise UsageError(f"control names direction {control.direction} twice")
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
        curve = torch.from_numpy(control.curve(start, motion.shape[1])).to(motion.dtype)
        curve = on_device(curve, motion.device)
        change = curve if control.mode == "add" else curve - motion @ column
        edited = edited + change[..., None] * column
    return edited


def project_motion(motion: Tensor, basis: Tensor) -> Tensor:
    """Q Q^T r: the part of (B, n, D) motion that lies in the motion space."""
    return motion @ basis @ basis.T
