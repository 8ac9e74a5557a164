"""Adversarial losses: non-saturating, with R1 on real pictures every few steps (Karras et al. 2020).

generator       softplus(-D(fake))                       = -log sigmoid D(fake)
discriminator   softplus(D(fake)) + softplus(-D(real))
R1              gamma / 2 . E |grad_x D(x)|^2 on real x  (Mescheder et al. 2018)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def generator_loss(fake: Tensor) -> Tensor:
    """-log sigmoid D(fake), mean over everything the discriminator returned."""
    return F.softplus(-fake.float()).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid D(real) - log(1 - sigmoid D(fake)), means."""
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def r1_penalty(discriminate: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """E |grad_x D(x)|^2 over the batch; multiply by gamma / 2 and by the interval of the lazy steps."""
    real = real.detach().requires_grad_(True)
    score = discriminate(real).float().sum()
    (gradient,) = torch.autograd.grad(score, real, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()
