"""Clips of the data set that a worker has decoded and may need again: as reference, partner or lender."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from floatbench.data.dataset import Dataset, Reference
from floatbench.processes import free_memory
from floatbench.protocol.protocol import Clip

IN_MEMORY = 512 << 20
"""Bytes: the longest clip that a method hands over in memory, and the most that a worker holds of clips beside those in
hand. 682 frames of 512 px, 27 s."""


def memory_to_spare() -> int:
    """Bytes: `IN_MEMORY`, or an eighth of what is free where that is less."""
    return min(IN_MEMORY, free_memory() // 8)


class DecodedClips:
    """Loads clips of a data set and holds those that were asked for last; a clip is the same object until it goes."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._held: OrderedDict[str, Reference] = OrderedDict()

    def load(self, clip: Clip) -> Reference:
        """The prepared clip; raises what `Dataset.load` raises."""
        found = self._held.pop(clip.id, None)
        if found is None:
            found = self._dataset.load(clip)
        self._held[clip.id] = found
        most = memory_to_spare()
        while _bytes(self._held.values()) > most:
            self._held.popitem(last=False)
        return found


def _bytes(clips: Iterable[Reference]) -> int:
    return sum(clip.media.frames.nbytes for clip in clips)
