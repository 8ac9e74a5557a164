"""Settings of the two small networks that float-tiny trains by themselves, before and after phase 1."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from floatbench.settings import Count, Weight, Whole, settings

People = Annotated[int, Field(ge=1, le=30_000)]
"""Two such groups from person 20,000 on stay below 80,000, from where on nobody is met in training."""


@settings
class ReaderConfig:
    """The face reader's own training before phase 1, for models that have one [ours, all of it].

    Attributes:
        people, stills: synthetic people who give single pictures, and pictures of each.
        speakers: further people, of whom frames of a talking clip are seen.
        steps, batch, rate, seed: of AdamW.
    """

    people: People = 5_000
    stills: Count = 3
    speakers: People = 300
    steps: Count = 3_500
    batch: Count = 64
    rate: Weight = 2e-3
    seed: Whole = 0


@settings
class PainterConfig:
    """The training of the network that paints faces, after phase 1, for models that have one [ours, all of it].

    Attributes:
        pairs: drawn from the clips of phase 1 and decoded once.
        steps, batch, rate, seed: of Adam.
    """

    pairs: Count = 4_000
    steps: Count = 4_000
    batch: Count = 16
    rate: Weight = 1e-3
    seed: Whole = 0
