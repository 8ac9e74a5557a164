"""The Triton kernel equals the grouped convolution that it stands for; run by Triton's interpreter on the CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from floatbench.model import layers
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.randomise import randomise

MODULE = "floatbench.model.blur_triton"


@pytest.fixture
def interpreted(monkeypatch) -> Iterator[Any]:
    """The module as Triton's interpreter runs it, and none of it for other tests of this process."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# bfloat16 has 8 bits, and the interpreter cuts where a GPU rounds
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_the_kernel_equals_the_grouped_convolution(interpreted, dtype, bound):
    x, kernel = noise(2, 35, 7, 9).to(dtype), layers.blur_kernel() * 4  # neither places nor channels fill their blocks
    found = interpreted.blur(x, kernel, 1)
    expected = layers.blur(x.float(), kernel, (1, 1))
    assert found.shape == expected.shape and found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found.float() - expected).abs().max() <= bound * expected.abs().max()


@torch.no_grad()
def test_a_decoder_that_blurs_with_it_makes_the_same_pictures(interpreted, monkeypatch):
    monkeypatch.setattr(interpreted, "PLACES", 8192)  # the interpreter runs one program after another
    net = MotionAutoencoder(FloatConfig(image_size=64, channel_max=16)).eval()
    randomise(net, seed=1)
    latent, features = net.encode(noise(1, 3, 64, 64).clamp(-1, 1))
    latents = latent + net.motion(noise(2, 20))
    plain, kernel = (FastDecoder(net.dec, batch=2, blur=blur) for blur in ("torch", "triton"))
    expected, found = (decoder(latents, decoder.source(features)) for decoder in (plain, kernel))
    assert 0 < (found - expected).square().mean().sqrt() <= 1e-5 * expected.square().mean().sqrt()


def test_the_kernel_is_launched_on_the_device_of_its_picture(interpreted, monkeypatch):
    current, launched = ["cuda:0"], []

    @contextmanager
    def device_of(x: torch.Tensor):
        current.append(f"that of {tuple(x.shape)}")
        yield
        current.pop()

    class Kernel:
        def __getitem__(self, _):
            return lambda *_: launched.append(current[-1])

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(interpreted, "_blur", Kernel())
    interpreted.blur(noise(1, 2, 4, 4), layers.blur_kernel(), 1)
    assert launched == ["that of (1, 2, 4, 4)"] and current == ["cuda:0"]
