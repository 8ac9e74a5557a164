"""Under autocast the sensitive parts stay float32: styles, demodulation, motion basis, flow, grid and warp."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from floatbench.model import layers
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import FloatConfig
from floatbench.model.layers import ModulatedConv2d, set_impl
from floatbench.model.randomise import randomise


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net() -> MotionAutoencoder:
    model = MotionAutoencoder(FloatConfig(image_size=64, dim_w=48, dim_m=8, channel_max=64, channel_base=1024)).eval()
    randomise(model, seed=1, prefix="motion_autoencoder.")
    return model


def half() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("impl", ["plain", "fast"])
@torch.no_grad()
def test_styles_and_demodulation_are_the_same_numbers_under_autocast(impl, monkeypatch):
    conv = ModulatedConv2d(24, 16, 3, 48)
    set_impl(conv, impl)
    x, latent = noise(2, 24, 8, 8), noise(2, 48, seed=1)
    seen: list[Tensor] = []
    rsqrt = torch.rsqrt

    def spy(value: Tensor) -> Tensor:
        seen.append(value)
        return rsqrt(value)

    monkeypatch.setattr(layers.torch, "rsqrt", spy)
    exact = conv(x, latent)
    with half():
        rounded = conv(x, latent)
    assert seen[1].dtype == torch.float32 and torch.equal(seen[0], seen[1])
    assert not torch.equal(rounded.float(), exact)  # the convolution itself did run in bfloat16


@pytest.mark.parametrize("mode", ["train", "eval"])
@torch.no_grad()
def test_the_motion_space_is_exact_under_autocast(net, mode):
    weights, latent = noise(3, 8), noise(3, 48, seed=1)
    getattr(net, mode)()
    calls = {"motion": (net.motion, weights), "projection": (net.project, latent)}
    if mode == "eval":
        calls["coefficients"] = (net.coefficients, latent)
    for name, (call, given) in calls.items():
        exact = call(given)
        with half():
            rounded = call(given)
        assert rounded.dtype == torch.float32 and torch.equal(rounded, exact), name
    net.eval()


@torch.no_grad()
def test_flow_grid_and_warp_are_exact_under_autocast(net):
    head = net.dec.to_flows[2]
    channels = head.conv.weight.shape[2]
    x, feature, latent, raw = (
        noise(1, channels, 32, 32),
        noise(1, channels, 32, 32, seed=1),
        noise(1, 48),
        noise(1, 3, 16, 16),
    )
    exact = head(x, feature, latent, raw)
    with half():
        rounded = head(x, feature, latent, raw)
    for ours, theirs in zip(rounded, exact, strict=True):
        assert ours.dtype == torch.float32 and torch.equal(ours, theirs)
