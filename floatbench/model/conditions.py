"""What the transformer is conditioned on, as one object, whatever the variant of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

FRAMEWISE = ("wa", "we", "pose")
"""What may be given frame by frame, and then also for the previous frames, as `prev_wa`, `prev_we`, `prev_pose`."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of one window: B items, L current frames and the L' before them.

    Attributes:
        wr: (B, D) motion of the source.
        wa: (B, L, A) audio features.
        we: (B, 1, E) emotion of the window, or (B, L, E) frame by frame (the image-emotion ablation).
        pose: (B, L, 6) head pose (the pose ablation).
        prev_x: (B, L', D) clean motion of the previous frames.
        prev_wa, prev_we, prev_pose: (B, L', A), (B, L', E), (B, L', 6), of what is given frame by frame.

    A dropped condition is a tensor of zeros; None stands for zeros too.
    """

    wr: Tensor
    wa: Tensor
    we: Tensor | None = None
    pose: Tensor | None = None
    prev_x: Tensor | None = None
    prev_wa: Tensor | None = None
    prev_we: Tensor | None = None
    prev_pose: Tensor | None = None

    def items(self) -> dict[str, Tensor]:
        """What is given, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def framewise(self) -> dict[str, Tensor]:
        """What is given frame by frame for the current frames, (B, L, .) by name."""
        of_window = ("we",) if self.we is not None and self.we.shape[1] == 1 else ()
        return {name: value for name, value in self.items().items() if name in FRAMEWISE and name not in of_window}

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditions:
        """Applies a function to every tensor."""
        made: dict[str, Any] = {name: function(value) for name, value in self.items().items()}
        return Conditions(**made)

    def item(self, index: int) -> Conditions:
        """The conditions of one item, B = 1."""
        return self.map(lambda value: value[index : index + 1])

    def times(self, factors: Conditions) -> Conditions:
        """Every tensor times its factor (B,); nothing is written to. What has no factor is dropped."""
        given, by = self.items(), factors.items()
        made: dict[str, Any] = {
            name: value * by[name].reshape(-1, *(1,) * (value.ndim - 1)) for name, value in given.items() if name in by
        }
        return Conditions(**made)


def stack(parts: Sequence[Conditions]) -> Conditions:
    """Concatenates conditions of one kind on the batch axis."""
    columns = [part.items() for part in parts]
    made: dict[str, Any] = {name: torch.cat([column[name] for column in columns]) for name in columns[0]}
    return Conditions(**made)
