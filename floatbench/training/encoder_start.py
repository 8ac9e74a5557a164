"""An encoder without training: random convolutions, and last layers solved by least squares on the true motion.

Training an encoder to see pose takes hours of a processor. Random convolutions hold much of it already, so that a
linear map of their last features gives it at once, if roughly (docs/training.md has the figures).
N pictures, F features, D latent, M motion.
"""

from __future__ import annotations

import torch
from torch import Tensor

from floatbench.errors import UsageError
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.layers import EqualConv2d, EqualLinear
from floatbench.training.batches import pictures
from floatbench.training.clips import ClipPool
from floatbench.training.ground_truth import MOTION_NAMES, true_motion

RIDGE = 1.0
FAINT = 0.01
"""Components that vary less than this share of the strongest are not raised further: few pictures have few of them."""
EVERY = 5
"""Every fifth frame of every clip in memory is used."""


@torch.no_grad()
def solve_encoder(autoencoder: MotionAutoencoder, pool: ClipPool) -> None:
    """Writes the last convolution and the coefficient head.

    The latent s_r holds, orthogonal to the motion directions Q, the estimated motion (M numbers of unit spread) and the
    first D - 2 M principal components of the features (unit spread): what the decoder needs to know of the source.
    """
    width, motion = autoencoder.dec.direction.weight.shape
    if motion != len(MOTION_NAMES) or width < 2 * motion:
        raise UsageError(f"encoder = 'regression' needs dim_m {len(MOTION_NAMES)} and a dim_w of at least {2 * motion}")
    features, true = _features(autoencoder, pool)
    gram = features.T @ features + RIDGE * torch.eye(features.shape[1], dtype=features.dtype, device=features.device)
    to_motion = torch.linalg.solve(gram, features.T @ true)  # (F, M)
    rest = width - 2 * motion
    centred = features - features.mean(0)
    _, spread, axes = torch.svd_lowrank(centred, q=rest, niter=4)
    spread = spread.clamp(min=FAINT * float(spread.max())) / len(features) ** 0.5
    to_identity = axes / spread  # (F, D - 2 M)
    q = autoencoder.dec.direction.basis().to(features)
    free = torch.linalg.qr(torch.cat([q, torch.eye(width).to(q)], 1))[0][:, motion:width]  # orthogonal to Q
    weight = free[:, :motion] @ to_motion.T + free[:, motion : motion + rest] @ to_identity.T  # (D, F)
    last = autoencoder.enc.net_app.convs[-1]
    assert isinstance(last, EqualConv2d)
    last.weight.copy_(weight.reshape(last.weight.shape) / last.scale)
    head = [layer for layer in autoencoder.enc.fc if isinstance(layer, EqualLinear)]
    for layer in head[:-1]:
        layer.weight.copy_(torch.eye(width) / layer.scale)
    head[-1].weight.copy_(free[:, :motion].T / head[-1].scale)


def _features(autoencoder: MotionAutoencoder, pool: ClipPool) -> tuple[Tensor, Tensor]:
    """Features before the last convolution (N, F) and true motion (N, M), float64."""
    found, true = [], []
    device = autoencoder.dec.direction.weight.device
    for clip in pool.at(0):
        x = pictures(clip.frames[::EVERY]).to(device)
        for conv in list(autoencoder.enc.net_app.convs)[:-1]:
            x = conv(x)
        found.append(x.flatten(1).double())
        true.append(torch.from_numpy(true_motion(clip.truth["pose"], clip.truth["expression"])[::EVERY]).double())
    return torch.cat(found), torch.cat(true).to(device)
