"""Between the phases: the motion coefficients of every frame are computed once, and their scale is made plain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from floatbench.files import atomic_path
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.layers import EqualConv2d, EqualLinear, ModulatedConv2d
from floatbench.progress import NullProgress, Progress
from floatbench.training.batches import MotionClip, pictures
from floatbench.training.clips import ClipSet


@torch.no_grad()
def motion_clips(
    clips: ClipSet,
    indices: Sequence[int],
    autoencoder: MotionAutoencoder,
    cache: Path | None = None,
    progress: Progress | None = None,
    batch: int = 32,
) -> list[MotionClip]:
    """The coefficients lambda (T, M) of every clip, with sound and label.

    Args:
        cache: safetensors file of earlier coefficients by clip number; missing ones are added. It must belong to this
            auto-encoder.
    """
    autoencoder.eval()
    device = autoencoder.dec.direction.weight.device
    known: dict[str, Tensor] = _cached(cache)
    found, changed = [], False
    with (progress or NullProgress()).task("coefficients", len(indices), "clip") as task:
        for index in indices:
            clip = clips.load(index)
            key = str(index)
            if key not in known or len(known[key]) != len(clip.frames):
                parts = [pictures(clip.frames[i : i + batch]).to(device) for i in range(0, len(clip.frames), batch)]
                known[key] = torch.cat([autoencoder.coefficients(autoencoder.encode(p)[0]).cpu() for p in parts])
                changed = True
            found.append(MotionClip.of(clip, known[key].numpy()))
            task.advance()
    if cache is not None and changed:
        with atomic_path(cache) as partial:
            save_file({key: value.contiguous() for key, value in known.items()}, partial)
    return found


def _cached(cache: Path | None) -> dict[str, Tensor]:
    if cache is None or not cache.is_file():
        return {}
    try:
        return load_file(cache)
    except (SafetensorError, OSError):
        return {}  # a damaged cache is computed again


@torch.no_grad()
def standardise(autoencoder: MotionAutoencoder, mean: Tensor, gain: float) -> None:
    """Rewrites the auto-encoder so that its coefficients become gain (lambda - mean); every picture stays the same.

    The latent w = s_r + Q lambda becomes gain (w - Q mean). The last encoder convolution and the coefficient head are
    scaled, and each style layer of the decoder takes the change back: W w + b = (W / gain) w' + (b + W Q mean).

    Args:
        mean: (M,). gain: above 0.
    """
    last = autoencoder.enc.net_app.convs[-1]
    assert isinstance(last, EqualConv2d)
    shift = autoencoder.motion(mean.to(autoencoder.dec.direction.weight.device))
    last.weight.mul_(gain)
    head = [layer for layer in autoencoder.enc.fc if isinstance(layer, EqualLinear)]
    for layer in head:
        layer.bias.mul_(gain)
    head[-1].bias.sub_(gain * mean.to(head[-1].bias.device))
    for layer in autoencoder.dec.modules():
        if isinstance(layer, ModulatedConv2d):
            style = layer.modulation
            style.bias.add_(style.scale * style.weight @ shift)
            style.weight.div_(gain)
