"""What a model finished on synthetic people is told of them, so that it can say when a picture is unlike them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from floatbench.model.float import FloatModel
from floatbench.sampling.domain import Domain
from floatbench.synthetic.clip import SyntheticClip
from floatbench.training.batches import pictures
from floatbench.training.data_config import DataConfig

KEPT_BACK = range(85_000, 85_200)
"""People of no training, protocol or card, by whom the limit is set; few are asked by who met few."""
EACH = 10
"""Of them, at most so many for each person of the training."""
BATCH = 20


def known_people(model: FloatModel, data: DataConfig) -> Domain | None:
    """The domain of a model trained on the synthetic people of `data`, from the first frame of each one's first clip.

    None for a protocol's people, for a single one, and where the training reached those that are kept back.
    """
    trained = range(data.first, data.first + data.identities)
    if data.protocol or len(trained) < 2 or trained.stop > KEPT_BACK.start:
        return None
    known, kept_back = (_latents(model, people, data.seed) for people in (trained, KEPT_BACK[: EACH * len(trained)]))
    return Domain.fitted(known, kept_back)


@torch.no_grad()
def _latents(model: FloatModel, people: Iterable[int], seed: int) -> np.ndarray:
    """Identity latents (N, D) of one picture of each person."""
    clips = [SyntheticClip(person, 0, seed=seed) for person in people]
    drawn = [clip.frames(model.config.image_size, every=clip.n_frames)[0] for clip in clips]
    device = model.device
    parts = [
        model.encode_image(pictures(drawn[i : i + BATCH]).to(device))[0].cpu() for i in range(0, len(drawn), BATCH)
    ]
    return torch.cat(parts).numpy()
