"""The order in which clips come into memory: shuffled anew in every epoch, data sets and people spread evenly.

In the order of the files a pool of 64 clips shows one data set for a third of the training, then two actors at a time.
Here every stretch of an epoch has the data sets in their proportions and as many people as there are. The order follows
from seed and epoch alone, so that a resumed run sees the same clips.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from floatbench.seeds import derive_seed
from floatbench.training.clips import ClipOrder, ClipSet


def listed(clips: ClipSet, indices: Sequence[int], shares: Mapping[str, int]) -> dict[str, Any]:
    """How many clips are used, and a hash of which they are and how often they come: all that their order follows from
    besides seed and epoch. Checkpoints keep it."""
    entries = [(*clips.origin(index), clips.named(index)) for index in indices]
    text = json.dumps([(*entry, shares.get(entry[0], 1)) for entry in entries])
    return {"count": len(entries), "sha256": hashlib.sha256(text.encode()).hexdigest()}


class MixedOrder(ClipOrder):
    """Every clip once an epoch, or as often as the share of its data set says.

    Args:
        clips: whose `origin` names data set and person of each clip.
        indices: the usable clips. shares: data set -> times that each of its clips comes in an epoch, 1 by default.
    """

    def __init__(self, clips: ClipSet, indices: Sequence[int], seed: int, shares: Mapping[str, int] | None = None):
        shares = shares or {}
        origins = [clips.origin(index) for index in indices]
        super().__init__([i for i, (name, _) in zip(indices, origins, strict=True) for _ in range(shares.get(name, 1))])
        self.seed = seed
        self._people: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for index, (name, person) in zip(indices, origins, strict=True):
            self._people[name][person] += [index] * shares.get(name, 1)
        self.epoch = lru_cache(maxsize=2)(self._mixed)

    def _mixed(self, number: int) -> list[int]:
        """All clips of an epoch in their order."""
        rng = np.random.Generator(np.random.PCG64(derive_seed(self.seed, f"training/order/{number}")))
        sets = []
        for people in self._people.values():
            shuffled = [[clips[i] for i in rng.permutation(len(clips))] for clips in people.values()]
            sets.append(spread(shuffled, rng))
        return spread(sets, rng)


def spread(groups: Sequence[Sequence[int]], rng: np.random.Generator) -> list[int]:
    """Joins lists so that each reaches evenly over the whole: item j of n lies at (j + u) / n, u uniform for a list."""
    places = [(np.arange(len(group)) + rng.random()) / len(group) for group in groups]
    items = np.concatenate([np.asarray(group) for group in groups])
    return items[np.argsort(np.concatenate(places), kind="stable")].tolist()
