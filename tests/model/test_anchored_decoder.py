"""An anchored decoder: at rest the source itself, whatever it shows; and sharper ways to sample."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.errors import UsageError
from floatbench.model.anchor import doubled, moved_picture
from floatbench.model.autoencoder import MotionAutoencoder, sampling_grid
from floatbench.model.config import CONFIGS, FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.training.coefficients import standardise

ANCHORED = replace(CONFIGS["float-tiny-64"], channel_max=16, transfer="anchored", flow_limit=0.3, warp="bicubic")


@pytest.fixture(scope="module", params=[False, True], ids=["", "paints faces"])
def anchored(request) -> MotionAutoencoder:
    torch.manual_seed(0)
    return (
        MotionAutoencoder(replace(ANCHORED, reader=request.param, painter=request.param)).eval().requires_grad_(False)
    )


def _picture(seed: int = 0, size: int = 64) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def _changes(count: int) -> Tensor:
    return torch.randn(count, ANCHORED.dim_m, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [1.0, 30.0])  # the second is no picture that any encoder was trained on
def test_without_change_the_source_picture_comes_back_exactly(anchored, scale):
    picture = scale * _picture()
    latent, maps = anchored.encode(picture)
    at_rest = latent + anchored.motion(anchored.coefficients(latent))
    made, coordinates = anchored.decode(at_rest, maps)
    assert (made - picture).abs().max() < 1e-4 * scale
    assert torch.equal(coordinates, sampling_grid(64, "pixel_centre"))
    fast = FastDecoder(anchored.dec)
    assert (fast(at_rest, fast.source(maps)) - picture).abs().max() < 1e-4 * scale


def test_a_change_moves_the_picture_no_farther_than_the_limit(anchored):
    latent, maps = anchored.encode(_picture())
    made, coordinates = anchored.decode(latent + anchored.motion(20 * _changes(4)), maps)
    flow = (coordinates - sampling_grid(64, "pixel_centre")).abs().max()
    assert 0.25 < flow <= 0.3 + 1e-6
    assert (made - _picture()).abs().max() > 0.1


def test_the_fast_decoder_makes_the_same_pictures(anchored):
    latent, maps = anchored.encode(_picture())
    latents = latent + anchored.motion(_changes(3))
    fast = FastDecoder(anchored.dec)
    assert torch.allclose(fast(latents, fast.source(maps)), anchored.decode(latents, maps)[0], atol=1e-3)


@pytest.mark.parametrize("config", [ANCHORED, replace(ANCHORED, reader=True, painter=True)], ids=["", "reads, paints"])
def test_standardised_coefficients_leave_its_pictures_as_they_are(config):
    torch.manual_seed(1)
    autoencoder = MotionAutoencoder(config).eval().requires_grad_(False)
    if autoencoder.enc.reader is not None:
        autoencoder.enc.reader.place.normal_()
    latent, maps = autoencoder.encode(_picture())
    before = autoencoder.coefficients(latent)
    pictures = autoencoder.decode(latent + autoencoder.motion(before + _changes(2)), maps)[0]
    mean = torch.linspace(-1, 1, ANCHORED.dim_m)
    standardise(autoencoder, mean, 1.7)
    latent, maps = autoencoder.encode(_picture())
    after = autoencoder.coefficients(latent)
    assert torch.allclose(after, 1.7 * (before - mean), atol=1e-4)
    again = autoencoder.decode(latent + autoencoder.motion(after + 1.7 * _changes(2)), maps)[0]
    assert torch.allclose(again, pictures, atol=1e-3)


def test_anchored_transfer_needs_a_grid_on_which_no_flow_is_no_change():
    with pytest.raises(UsageError, match="pixel_centre"):
        FloatConfig(transfer="anchored")


def _shifted(wave: Tensor, kind: str) -> float:
    """What is left of the amplitude of a wave (R,) moved by half a pixel, in the middle of the picture."""
    size = len(wave)
    picture = wave.expand(1, 3, size, size).contiguous()
    at = sampling_grid(size, "pixel_centre").clone()
    at[..., 0] += 1 / size
    if kind == "doubled":
        moved = moved_picture(doubled(picture), at)
    else:
        moved = F.grid_sample(picture, at, kind, align_corners=False)
    inside = slice(8, -8)
    return float(moved[0, 0, 32, inside].square().sum() / wave[inside].square().sum()) ** 0.5


def test_half_a_pixel_costs_what_the_kernels_say_and_the_doubled_picture_nothing():
    """Of the wave cos(w x): bilinear leaves cos(w/2); bicubic (a = -3/4) (19 cos(w/2) - 3 cos(3w/2)) / 16."""
    w = math.pi / 2
    wave = torch.from_numpy(np.cos(w * np.arange(64) + 0.25 * np.pi)).float()
    assert _shifted(wave, "bilinear") == pytest.approx(math.cos(w / 2), abs=1e-3)
    cubic = (19 * math.cos(w / 2) - 3 * math.cos(3 * w / 2)) / 16
    assert _shifted(wave, "bicubic") == pytest.approx(cubic, abs=1e-3)
    assert _shifted(wave, "doubled") == pytest.approx(1, abs=0.01)


def test_the_doubled_picture_keeps_every_pixel():
    picture = _picture(size=16)
    assert torch.equal(doubled(picture)[..., ::2, ::2], picture)


def test_the_way_of_sampling_changes_fine_levels_only():
    plain = replace(CONFIGS["float-tiny-64"], transfer="lia", warp="bilinear")
    torch.manual_seed(0)
    bilinear = MotionAutoencoder(plain).eval().requires_grad_(False)
    bicubic = MotionAutoencoder(replace(plain, warp="bicubic")).eval().requires_grad_(False)
    bicubic.load_state_dict(bilinear.state_dict())
    assert [head.warp for head in bicubic.dec.to_flows] == ["bilinear"] * 3 + ["bicubic"]
    latent, maps = bilinear.encode(_picture())
    latents = latent + bilinear.motion(torch.ones(2, plain.dim_m))
    a, b = (model.decode(latents, maps)[0] for model in (bilinear, bicubic))
    assert (a - b).abs().max() > 1e-3
    fast = FastDecoder(bicubic.dec)
    assert torch.allclose(fast(latents, fast.source(maps)), b, atol=5e-3)
