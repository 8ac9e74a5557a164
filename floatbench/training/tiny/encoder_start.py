"""An encoder without training: random convolutions, and last layers solved by least squares on the true motion.

Training an encoder to see pose takes hours of a processor. Random convolutions hold much of it already, so that a
linear map of their last features gives it at once, if roughly (docs/evidence/training-measured.md, choices of
`float-tiny`, has r of every number).
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
RIDGES = (1.0, 10.0, 100.0, 1000.0)
"""Tried for every coefficient on a fifth of the clips; one that no ridge helps to see is left at its mean."""
ENOUGH = 20
"""Clips from which on some are spared for that choice; fewer take RIDGE."""
FAINT = 0.01
"""Components that vary less than this share of the strongest are not raised further: few pictures have few of them."""
EVERY = 10
"""Every tenth frame of every clip in memory is used."""


@torch.no_grad()
def solve_encoder(autoencoder: MotionAutoencoder, pool: ClipPool) -> None:
    """Writes the last convolution and the coefficient head.

    The latent s_r holds, orthogonal to the motion directions Q, the estimated motion (M numbers of unit spread) and the
    first D - 2 M principal components of the features (unit spread; fewer of fewer pictures): what the decoder needs to
    know of the source. Where a reader sees the motion, its numbers stand in the place of the estimated ones.
    """
    width, motion = autoencoder.dec.direction.weight.shape
    if motion != len(MOTION_NAMES) or width < 2 * motion:
        raise UsageError(f"encoder = 'regression' needs dim_m {len(MOTION_NAMES)} and a dim_w of at least {2 * motion}")
    parts, trues = _features(autoencoder, pool)
    features = torch.cat(parts)
    rest = min(width - 2 * motion, len(features))
    centred = features - features.mean(0)
    _, spread, axes = torch.svd_lowrank(centred, q=rest, niter=4)
    spread = spread.clamp(min=FAINT * float(spread.max())) / len(features) ** 0.5
    to_identity = axes / spread  # (F, D - 2 M)
    q = autoencoder.dec.direction.basis().to(features)
    free = torch.linalg.qr(torch.cat([q, torch.eye(width).to(q)], 1))[0][:, motion:width]  # orthogonal to Q
    weight = free[:, motion : motion + rest] @ to_identity.T  # (D, F)
    if autoencoder.enc.reader is None:
        to_motion = _regression(features, torch.cat(trues), _chosen_ridges(parts, trues))  # (F, M)
        weight = weight + free[:, :motion] @ to_motion.T
    else:
        autoencoder.enc.reader.place.copy_(free[:, :motion])
    last = autoencoder.enc.net_app.convs[-1]
    assert isinstance(last, EqualConv2d)
    last.weight.copy_(weight.reshape(last.weight.shape) / last.scale)
    head = [layer for layer in autoencoder.enc.fc if isinstance(layer, EqualLinear)]
    for layer in head[:-1]:
        layer.weight.copy_(torch.eye(width) / layer.scale)
    head[-1].weight.copy_(free[:, :motion].T / head[-1].scale)


def _regression(features: Tensor, true: Tensor, ridges: Tensor) -> Tensor:
    """(N, F), (N, M) and a ridge for each coefficient (M,) -> weights (F, M); an infinite ridge gives zeros."""
    gram, right = features.T @ features, features.T @ true
    weights = torch.zeros_like(right)
    for ridge in set(ridges.tolist()) - {float("inf")}:
        here = ridges == ridge
        unit = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        weights[:, here] = torch.linalg.solve(gram + ridge * unit, right[:, here])
    return weights


def _chosen_ridges(parts: list[Tensor], trues: list[Tensor]) -> Tensor:
    """The ridge of each coefficient (M,) that serves spared clips best, infinite where none beats zero."""
    motions = trues[0].shape[1]
    if len(parts) < ENOUGH:
        return torch.full((motions,), RIDGE)
    kept = len(parts) - len(parts) // 5
    seen, true = torch.cat(parts[kept:]), torch.cat(trues[kept:])
    tried = [torch.full((motions,), ridge) for ridge in RIDGES]
    maps = [_regression(torch.cat(parts[:kept]), torch.cat(trues[:kept]), ridges) for ridges in tried]
    error = torch.stack([*((seen @ w - true).square().mean(0) for w in maps), true.square().mean(0)])
    return torch.tensor([*RIDGES, float("inf")])[error.argmin(0).cpu()]


def _features(autoencoder: MotionAutoencoder, pool: ClipPool) -> tuple[list[Tensor], list[Tensor]]:
    """Of each clip, features before the last convolution (N, F) and true motion (N, M), float64."""
    found, true = [], []
    device = autoencoder.dec.direction.weight.device
    for clip in pool.at(0):
        x = pictures(clip.frames[::EVERY]).to(device)
        for conv in list(autoencoder.enc.net_app.convs)[:-1]:
            x = conv(x)
        found.append(x.flatten(1).double())
        numbers = true_motion(clip.truth["pose"], clip.truth["expression"])[::EVERY]
        true.append(torch.from_numpy(numbers).double().to(device))
    return found, true
