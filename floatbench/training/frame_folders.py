"""Folders of pictures as training clips (VFHQ's layout), and several data sets as one. T frames, R pixels.

    DIR/Clip+VIDEO+P0+C1+F10-200/00000000.png, 00000001.png, ...

Phase 1 alone can use them: they have no sound.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np

from floatbench.errors import ClipError, DataError
from floatbench.folders import visible
from floatbench.media.image import read_image
from floatbench.training.clips import NO_EMOTION, ClipSet, TrainingClip
from floatbench.training.face_boxes import FaceBoxes
from floatbench.training.protocol_clips import MOST_FRAMES, resized
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

PREFIX = "frames:"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class FrameFolders(ClipSet):
    """Every folder in DIR that holds pictures is a clip; the pictures are square and of one size, faces as prepared.

    Of a longer folder MOST_FRAMES pictures are taken, evenly: phase 1 draws pairs, and memory holds many clips.

    Args:
        size: R. boxes: whether the face landmarker looks for mouth and eyes; without it boxes are zeros.

    Raises:
        DataError: there is no such folder, no folder with pictures in it, or no landmarker.
    """

    def __init__(self, root: Path, size: int, boxes: bool = False) -> None:
        if not root.is_dir():
            raise DataError(f"there is no folder {root}")
        self.root, self.size, self._face_boxes = root, size, FaceBoxes() if boxes else None
        self.folders = [folder for folder in visible(root) if folder.is_dir() and _pictures(folder)]
        if not self.folders:
            raise DataError(f"{root} has no folder with pictures in it", fix=f"one folder a clip: {root}/CLIP/0000.png")

    def __len__(self) -> int:
        return len(self.folders)

    def origin(self, index: int) -> tuple[str, str]:
        return f"{PREFIX}{self.root}", identity_of(self.folders[index].name)

    def load(self, index: int) -> TrainingClip:
        folder = self.folders[index]
        found = _pictures(folder)
        chosen = np.linspace(0, len(found) - 1, min(len(found), MOST_FRAMES)).round().astype(int)
        whole = [read_image(found[i]) for i in chosen]
        shapes = {picture.shape for picture in whole}
        if len(shapes) > 1 or whole[0].shape[0] != whole[0].shape[1]:
            sizes = ", ".join(f"{width} x {height}" for height, width, _ in sorted(shapes))
            raise ClipError("wrong_size", f"{folder.name}: pictures of one square size are needed, these are {sizes}")
        audio = np.zeros(SAMPLES_PER_FRAME * len(whole), np.int16)
        boxes = np.zeros((len(whole), 3, 4), np.float32)
        if self._face_boxes is not None:
            boxes = self._face_boxes.of(ClipMedia(np.stack(whole), audio))
        frames = np.stack([resized(picture, self.size) for picture in whole])
        return TrainingClip(folder.name, identity_of(folder.name), frames, audio, boxes, NO_EMOTION, {})


def _pictures(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.suffix.lower() in SUFFIXES]


def identity_of(name: str) -> str:
    """VFHQ's `Clip+VIDEO+P0+C1+F10-200` is person P0 of the video; of other names every folder is a person."""
    parts = name.split("+")  # video ids hold dashes and underscores, never a plus
    return "+".join(parts[1:3]) if len(parts) == 5 and parts[0] == "Clip" else name


class JoinedClips(ClipSet):
    """Several data sets one after another."""

    def __init__(self, parts: Sequence[ClipSet]) -> None:
        self.parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def load(self, index: int) -> TrainingClip:
        part, number = self._found(index)
        return part.load(number)

    def origin(self, index: int) -> tuple[str, str]:
        part, number = self._found(index)
        return part.origin(number)

    def check(self, index: int) -> int:
        part, number = self._found(index)
        return part.check(number)

    def key(self, index: int) -> str:
        part, number = self._found(index)
        return part.key(number)

    def heard(self, index: int) -> TrainingClip:
        part, number = self._found(index)
        return part.heard(number)

    def _found(self, index: int) -> tuple[ClipSet, int]:
        part = bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)
