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

from floatbench.errors import ClipError
from floatbench.folders import visible
from floatbench.media.image import read_image
from floatbench.paths import data_dir
from floatbench.training.clip_facts import fact_key, known_facts, pictures_content, read_facts, write_facts
from floatbench.training.clips import NO_EMOTION, ClipSet, MissingClips, TrainingClip
from floatbench.training.face_boxes import FaceBoxes, parts_of, without_gaps
from floatbench.training.protocol_clips import MOST_FRAMES, resized
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

PREFIX = "frames:"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class FrameFolders(ClipSet):
    """Every folder in DIR that holds pictures is a clip; the pictures are square and of one size, faces as prepared.

    Of a longer folder MOST_FRAMES pictures are taken, evenly: phase 1 draws pairs, and memory holds many clips.

    Args:
        size: R. boxes: whether the face landmarker looks for mouth and eyes; without it boxes are zeros.
        name: what the configuration calls the data set, `frames:DIR`, by which its share is found.

    Raises:
        DataError: there is no such folder, no folder with pictures in it, or no landmarker.
    """

    def __init__(self, root: Path, size: int, boxes: bool = False, name: str = "") -> None:
        if not root.is_dir():
            raise MissingClips(f"there is no folder {root}", fix=f"put the data set there, or name it as {PREFIX}DIR")
        self.name, self.size, self._face_boxes = name or f"{PREFIX}{root}", size, FaceBoxes() if boxes else None
        self.folders = [folder for folder in visible(root) if folder.is_dir() and _pictures(folder)]
        if not self.folders:
            raise MissingClips(
                f"{root} has no folder with pictures in it", fix=f"one folder a clip: {root}/CLIP/0000.png"
            )

    def __len__(self) -> int:
        return len(self.folders)

    def origin(self, index: int) -> tuple[str, str]:
        return self.name, identity_of(self.folders[index].name)

    def named(self, index: int) -> str:
        return self.folders[index].name

    def load(self, index: int) -> TrainingClip:
        files = self._files(index)
        whole = self._whole(index, files)
        return self._clip(index, whole, self._kept(index, files, whole))

    def check(self, index: int) -> int:
        return len(self._kept(index, self._files(index)))

    def known(self, index: int) -> bool:
        content, _ = pictures_content(self._files(index), known_only=True)
        return bool(content) and known_facts(self._fact_key(content))

    def picked(self, index: int, numbers: Sequence[int]) -> TrainingClip:
        files, chosen = self._files(index), list(numbers)
        faces = self._kept(index, files)[chosen]
        return self._clip(index, [read_image(files[i]) for i in chosen], faces)

    def _files(self, index: int) -> list[Path]:
        """The pictures that are used."""
        found = _pictures(self.folders[index])
        chosen = np.linspace(0, len(found) - 1, min(len(found), MOST_FRAMES)).round().astype(int)
        return [found[i] for i in chosen]

    def _whole(self, index: int, files: Sequence[Path]) -> list[np.ndarray]:
        whole = [read_image(file) for file in files]
        shapes = {picture.shape for picture in whole}
        if len(shapes) > 1 or whole[0].shape[0] != whole[0].shape[1]:
            sizes = ", ".join(f"{width} x {height}" for height, width, _ in sorted(shapes))
            name = self.folders[index].name
            raise ClipError("wrong_size", f"{name}: pictures of one square size are needed, these are {sizes}")
        return whole

    def _kept(self, index: int, files: Sequence[Path], whole: Sequence[np.ndarray] | None = None) -> np.ndarray:
        """Faces (T, 13, 4) of a clip, (T, 0, 4) where none are wanted, from the cache where it has them.

        Args:
            whole: the pictures, where they are decoded already.
        """
        content, rested = pictures_content(files)
        key = self._fact_key(content)
        seen = read_facts(key)
        if seen is None:
            whole = whole or self._whole(index, files)
            seen = np.zeros((len(whole), 0, 4), np.float32)
            if self._face_boxes is not None:
                seen = self._face_boxes.seen(ClipMedia(np.stack(whole)))
            if rested:  # a file that has just changed may change again unseen
                write_facts(key, seen)
        return without_gaps(seen) if seen.shape[1] else seen

    def _fact_key(self, content: str) -> str:
        return fact_key(content, "" if self._face_boxes is None else self._face_boxes.sha256)

    def _clip(self, index: int, whole: Sequence[np.ndarray], faces: np.ndarray) -> TrainingClip:
        name = self.folders[index].name
        frames = np.stack([resized(picture, self.size) for picture in whole])
        audio = np.zeros(SAMPLES_PER_FRAME * len(whole), np.int16)
        boxes, lips = parts_of(faces)
        return TrainingClip(name, identity_of(name), frames, audio, boxes, NO_EMOTION, {}, lips)


def frames_folder(name: str) -> Path:
    """The folder that `frames:DIR` names: DIR itself, or the folder of that name among the raw data sets."""
    folder = Path(name.removeprefix(PREFIX))
    return folder if folder.is_absolute() or folder.is_dir() else data_dir() / "raw" / folder


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

    def named(self, index: int) -> str:
        part, number = self._found(index)
        return part.named(number)

    def check(self, index: int) -> int:
        part, number = self._found(index)
        return part.check(number)

    def key(self, index: int) -> str:
        part, number = self._found(index)
        return part.key(number)

    def heard(self, index: int) -> TrainingClip:
        part, number = self._found(index)
        return part.heard(number)

    def known(self, index: int) -> bool:
        part, number = self._found(index)
        return part.known(number)

    def count(self, index: int) -> int:
        part, number = self._found(index)
        return part.count(number)

    def beginning(self, index: int, frames: int) -> TrainingClip:
        part, number = self._found(index)
        return part.beginning(number, frames)

    def picked(self, index: int, numbers: Sequence[int]) -> TrainingClip:
        part, number = self._found(index)
        return part.picked(number, numbers)

    def _found(self, index: int) -> tuple[ClipSet, int]:
        part = bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)
