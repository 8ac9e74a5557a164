"""Boxes that need no detector: from a file of one's own, or none at all for clips that are already cropped."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np

from floatbench.errors import DataError
from floatbench.files import file_sha256
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection
from floatbench.text import printable

_CORNERS = ("left", "top", "right", "bottom")
_ALL_FRAMES = -1
_Boxes = dict[str, dict[int, Box]]


class GivenBoxes(BoxBackend):
    """One's own face boxes from a CSV or JSON file, in pixels of the upright picture with square pixels.

    CSV: columns `left,top,right,bottom`, and optionally `clip_id` and `frame`. JSON: `{"<clip id>": [[frame, left, top,
    right, bottom], ...]}` or `{"<clip id>": [left, top, right, bottom]}`. `frame` counts the frames of the prepared
    25 fps clip from 0; a row without it holds for every frame, a row without `clip_id` for every clip. A frame without
    a box counts as a frame without a face. A box is the face as a detector gives it: the crop is 1.6 times larger.

    Args:
        file: the `.csv` or `.json` file; raises DataError when it cannot be understood.
    """

    name = "given"

    def __init__(self, file: Path) -> None:
        self._file = Path(file)
        try:
            text = self._file.read_text(encoding="utf-8-sig")
            self._boxes = _from_json(text) if text.lstrip().startswith("{") else _from_csv(text)
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            detail = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"face boxes in {printable(self._file)}: {detail}", fix="see docs/media.md, 'Own boxes'"
            ) from error
        self._current: dict[int, Box] = {}

    def info(self) -> BackendInfo:
        return BackendInfo(self.name, "1", {self._file.name: file_sha256(self._file)})

    def begin(self, clip_id: str) -> None:
        """Chooses the rows of a clip; raises DataError when there is none."""
        rows = self._boxes.get(clip_id, self._boxes.get(""))
        if rows is None:
            raise DataError(f"face boxes in {printable(self._file)}: no row for the clip {clip_id!r}")
        self._current = rows

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        box = self._current.get(frame, self._current.get(_ALL_FRAMES))
        return [Detection(box)] if box else []


class NoBoxes(BoxBackend):
    """For clips that are already cropped: the centre square of the picture is taken and only resized."""

    name = "none"
    whole_picture = True

    def info(self) -> BackendInfo:
        return BackendInfo(self.name, "1")

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        return []


def _from_csv(text: str) -> _Boxes:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    names = set(reader.fieldnames or ())
    if not set(_CORNERS) <= names or names - {*_CORNERS, "clip_id", "frame"}:
        raise ValueError(f"columns {sorted(names)}, expected {', '.join(_CORNERS)} and optionally clip_id, frame")
    boxes: _Boxes = {}
    try:
        for row in reader:
            frame = int(row["frame"]) if row.get("frame") else _ALL_FRAMES
            _put(boxes, row.get("clip_id") or "", frame, [float(row[name]) for name in _CORNERS], reader.line_num)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    if not boxes:
        raise ValueError("no row")
    return boxes


def _from_json(text: str) -> _Boxes:
    boxes: _Boxes = {}
    for clip_id, rows in json.loads(text).items():
        for row in [rows] if rows and not isinstance(rows[0], list) else rows:
            frame = int(row[0]) if len(row) == 5 else _ALL_FRAMES
            _put(boxes, clip_id, frame, [float(value) for value in row[-4:]], clip_id)
    if not boxes:
        raise ValueError("no clip")
    return boxes


def _put(boxes: _Boxes, clip_id: str, frame: int, corners: list[float], where: object) -> None:
    if len(corners) != 4 or not all(math.isfinite(value) and abs(value) < 2**20 for value in corners):
        raise ValueError(f"{where}: a box needs four finite numbers")
    box = Box(*(int(value) for value in corners))
    if box.area <= 0:
        raise ValueError(f"{where}: left < right and top < bottom must hold")
    if frame < _ALL_FRAMES or frame in boxes.setdefault(clip_id, {}):
        raise ValueError(f"{where}: frame {frame} is negative or given twice")
    boxes[clip_id][frame] = box
