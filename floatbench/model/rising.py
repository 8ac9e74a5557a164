"""Pictures of a decoder between two of its levels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Rising(NamedTuple):
    """b pictures on their way up: map, flow and mask before tanh and sigmoid, colours, and what styles the layers."""

    x: Tensor
    raw: Tensor | None
    rgb: Tensor | None
    styles: list[Tensor]
    gains: list[Tensor]

    def item(self, i: int) -> Rising:
        """One of the pictures."""
        here = slice(i, i + 1)
        raw, rgb = (None if part is None else part[here] for part in (self.raw, self.rgb))
        return Rising(self.x[here], raw, rgb, [s[here] for s in self.styles], [g[here] for g in self.gains])
