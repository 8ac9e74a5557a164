"""Which clips a training sees; sources are marked as in `floatbench.training.config`."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from floatbench.protocol.protocol import BoxBackend
from floatbench.settings import Count, Positive, Weight, Whole, settings


@settings
class DataConfig:
    """Where training clips come from.

    Attributes:
        protocol: prepared protocols (`hdtf-train`, `ravdess-train`, `folder:DIR`) and, for phase 1, `frames:DIR` with a
            folder of pictures for each clip (VFHQ's layout), separated by commas; "" renders synthetic heads.
        boxes, size: what the clips were prepared with, as `floatbench protocol prepare --boxes --size` has it; where
            they are left out, what each protocol says. Pictures are brought to the model's size in any case.
        identities, per_identity, seconds, first, seed: of the synthetic heads.
        still: seconds of a further clip of every person for phase 1, with the head held still, so that only the face
            differs between its frames; 0 for none [ours].
        pool: clips held in memory in phase 1; 0 reads every pair straight from the files, so that each clip comes once
            an epoch and each process decodes its own rows alone. refresh: steps after which one clip of the pool is
            replaced, when there are more [ours].
        shares: data set (as `protocol` names it) -> how often each of its clips comes in an epoch of phase 1, and how
            likely each of its windows is in phase 2; 1 where it is not named. The paper gives no shares [ours].
        flip: mirror both pictures of a phase-1 pair with chance one half [ours; LIA does].
    """

    protocol: str = ""
    boxes: BoxBackend | Literal[""] = ""
    size: Whole = 0
    identities: Count = 160
    per_identity: Count = 1
    seconds: Positive = 4.0
    first: Whole = 0
    seed: Whole = 1
    still: Weight = 0.0
    pool: Whole = 256
    refresh: Count = 20
    shares: dict[str, Count] = field(default_factory=dict)
    flip: bool = True

    @property
    def names(self) -> list[str]:
        """The data sets that `protocol` names; none for synthetic heads."""
        return [name.strip() for name in self.protocol.split(",") if name.strip()]

    @property
    def prepared(self) -> dict[str, Any]:
        """What the protocols' clips were prepared with where it is not what they say themselves."""
        return {name: value for name in ("boxes", "size") if (value := getattr(self, name))}
