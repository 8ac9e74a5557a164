"""A decoder that gives the source picture back before it has learned anything.

From random weights a small decoder spends most of a short training on copying colours. Here three channels of the
encoder's finest map carry the picture, the finest colour head hands them on, and the masks start open, so that training
begins at the unmoved source and has only motion to learn. A mask that closes darkens: mouths open by it.
"""

from __future__ import annotations

import math

import torch

from floatbench.errors import UsageError
from floatbench.model.autoencoder import MotionAutoencoder, ToFlow, ToRGB
from floatbench.model.layers import GAIN, BiasLeaky, EqualConv2d

LIFT = 1.05
"""Added to pictures in [-1, 1], so that the activations pass them unchanged and a closed mask is black."""
OPEN = 2.5
"""Mask before the sigmoid: 0.92, open with room on both sides."""
FAINT = 0.05
"""Factor of the colour heads' other weights."""


@torch.no_grad()
def start_as_copy(autoencoder: MotionAutoencoder) -> None:
    """Rewrites the first convolution and the colour heads; raises UsageError for fewer than three channels."""
    first = next(iter(autoencoder.enc.net_app.convs))
    into, bias = list(first.children())
    assert isinstance(into, EqualConv2d) and isinstance(bias, BiasLeaky)
    if into.weight.shape[0] < 3:
        raise UsageError("start = 'copy' needs three channels at the finest level")
    into.weight[:3] = torch.eye(3)[:, :, None, None] / into.scale
    bias.bias[:, :3] = LIFT  # the map is sqrt 2 (picture + LIFT)
    heads = [head for head in autoencoder.dec.to_rgbs if isinstance(head, ToRGB)]
    flows = [head for head in autoencoder.dec.to_flows if isinstance(head, ToFlow)]
    for head in heads:
        colour = next(iter(head.conv.children()))
        assert isinstance(colour, EqualConv2d)
        colour.weight.mul_(FAINT)
        if head is heads[-1]:
            opened = 1 / (1 + math.exp(-OPEN))
            colour.weight.zero_()
            colour.weight[:, :3] = torch.eye(3)[:, :, None, None] / (colour.scale * GAIN * GAIN * opened)
            head.bias.fill_(-LIFT)
    flows[-1].bias[:, 2] = OPEN
