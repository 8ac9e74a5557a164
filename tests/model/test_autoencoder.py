"""Closed forms of the motion auto-encoder's layers, its basis and its decoder."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.model.autoencoder import MotionAutoencoder, MotionBasis, sampling_grid
from floatbench.model.config import FloatConfig
from floatbench.model.layers import (
    BiasLeaky,
    Blur,
    ConvLayer,
    EqualLinear,
    ModulatedConv2d,
    Upsample,
    blur,
    blur_kernel,
    set_impl,
    upsample,
)
from floatbench.model.randomise import randomise


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def net() -> MotionAutoencoder:
    model = MotionAutoencoder(FloatConfig(image_size=64, dim_w=24, dim_m=6, channel_max=32, channel_base=1024)).eval()
    randomise(model, seed=1, prefix="motion_autoencoder.")
    return model


@pytest.mark.parametrize("pad", [(1, 1), (2, 2), (2, 1)])
def test_blur_is_the_zero_padded_correlation_of_every_channel(pad):
    x, row = noise(2, 3, 6, 6), np.array([1, 3, 3, 1]) / 8
    out = blur(x, blur_kernel(), pad)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), pad, pad))
    size = 6 + sum(pad) - 3
    expected = np.zeros((2, 3, size, size))
    for i in range(size):
        for j in range(size):
            expected[:, :, i, j] = (padded[:, :, i : i + 4, j : j + 4] * np.outer(row, row)).sum((2, 3))
    assert np.allclose(out.numpy(), expected, atol=1e-6)


def test_upsampling_is_zero_insertion_then_four_times_the_kernel():
    x = noise(2, 3, 5, 5)
    spread = torch.zeros(2, 3, 10, 10)
    spread[:, :, ::2, ::2] = x
    expected = blur(spread, 4 * blur_kernel(), (2, 1))
    assert torch.allclose(upsample(x, blur_kernel()), expected, atol=1e-6)
    assert torch.allclose(Upsample()(x), expected, atol=1e-6)


def test_a_constant_picture_stays_constant_inside_under_upsampling():
    assert torch.allclose(upsample(torch.full((1, 1, 8, 8), 2.5), blur_kernel())[..., 2:-2, 2:-2], torch.tensor(2.5))


def test_activation_is_leaky_relu_of_the_biased_input_times_root_two():
    layer = BiasLeaky(2)
    layer.bias.data[0, :, 0, 0] = torch.tensor([0.5, -3.0])
    out = layer(torch.ones(1, 2, 1, 1)).flatten()
    assert torch.allclose(out, torch.tensor([1.5, -2.0 * 0.2]) * math.sqrt(2))


def test_equalised_weights_are_scaled_by_the_root_of_the_fan_in():
    layer = EqualLinear(9, 4, bias=0.3)
    x = noise(2, 9)
    assert torch.allclose(layer(x), x @ layer.weight.T / 3 + 0.3, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3])
def test_downsampling_layers_halve_the_picture(kernel):
    assert ConvLayer(3, 5, kernel, down=True)(noise(1, 3, 16, 16)).shape == (1, 5, 8, 8)


@pytest.mark.parametrize(("up", "demodulate", "kernel"), [(False, True, 3), (True, True, 3), (False, False, 1)])
@pytest.mark.parametrize("impl", ["plain", "fast"])
@torch.no_grad()
def test_modulated_convolution_equals_a_loop_over_samples(up, demodulate, kernel, impl):
    layer = ModulatedConv2d(5, 7, kernel, 4, demodulate=demodulate, up=up)
    set_impl(layer, impl)
    x, latent = noise(3, 5, 6, 6), noise(3, 4, seed=1)
    for b in range(3):
        style = layer.modulation(latent[b])
        weight = layer.weight[0] * style[None, :, None, None] / math.sqrt(5 * kernel**2)
        if demodulate:
            weight = weight / torch.sqrt(weight.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        if up:
            out = blur(F.conv_transpose2d(x[b : b + 1], weight.transpose(0, 1), stride=2), 4 * blur_kernel(), (1, 1))
        else:
            out = F.conv2d(x[b : b + 1], weight, padding=kernel // 2)
        assert torch.allclose(layer(x, latent)[b], out[0], atol=2e-5)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="impl must be"):
        set_impl(Blur((1, 1)), "turbo")  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_the_basis_is_lapacks_householder_q_with_its_signs(seed):
    basis = MotionBasis(32, 6).eval()
    basis.weight.data = noise(32, 6, seed=seed)
    q, r = scipy.linalg.qr(basis.weight.detach().numpy(), mode="economic")
    assert np.allclose(basis.basis().numpy(), q, atol=1e-6)
    assert (np.diag(r) < 0).any()  # LAPACK does not make the diagonal positive, as Gram-Schmidt would


def test_the_basis_follows_its_weight_in_evaluation_and_takes_gradients_in_training():
    basis = MotionBasis(16, 3).eval()
    before = basis.basis()
    assert basis.basis() is before
    with torch.no_grad():
        basis.weight.add_(noise(16, 3))
    q = basis.basis()
    assert not torch.allclose(q, before) and torch.allclose(q.T @ q, torch.eye(3), atol=1e-6)
    basis.train()(noise(2, 3)).sum().backward()
    assert basis.weight.grad is not None and float(basis.weight.grad.abs().max()) > 0


def test_projection_undoes_motion(net):
    coefficients = noise(4, 6)
    assert torch.allclose(net.project(net.motion(coefficients)), coefficients, atol=1e-5)


@torch.no_grad()
def test_the_coefficient_head_collapses_to_one_affine_map(net):
    latent = noise(5, 24)
    assert torch.allclose(net.coefficients(latent), net.enc.coefficients(latent), atol=1e-5)
    with torch.no_grad():
        net.enc.fc[2].bias.add_(0.5)
    assert torch.allclose(net.coefficients(latent), net.enc.coefficients(latent), atol=1e-5)


def test_the_centred_grid_is_the_identity_and_the_official_one_stretches():
    picture = noise(1, 3, 16, 16)
    centred = F.grid_sample(picture, sampling_grid(16, "pixel_centre"), align_corners=False)
    assert torch.allclose(centred, picture, atol=1e-5)
    official = sampling_grid(16, "lia")
    assert official.min() == -1 and official.max() == 1
    assert torch.allclose(official, sampling_grid(16, "pixel_centre") * 16 / 15, atol=1e-6)
    assert not torch.allclose(F.grid_sample(picture, official, align_corners=False), picture, atol=0.1)


@torch.no_grad()
def test_features_run_from_eight_pixels_up_and_pictures_have_the_size(net):
    latent, features = net.encode(noise(2, 3, 64, 64))
    assert [f.shape[-1] for f in features] == [8, 16, 32, 64]
    picture, flow = net.decode(latent, features)
    assert picture.shape == (2, 3, 64, 64) and flow.shape == (2, 64, 64, 2)
    one = net.decode(latent, [f[:1] for f in features])[0]
    assert torch.allclose(one[0], picture[0], atol=1e-4) and not torch.allclose(one[1], picture[1], atol=1e-2)


@torch.no_grad()
def test_the_generator_path_brings_no_colour_of_its_own(net):
    latent, features = net.encode(noise(1, 3, 64, 64))
    blank = [torch.zeros_like(f) for f in features]
    pictures = net.decode(torch.cat((latent, latent + 1)), blank)[0]
    assert torch.allclose(pictures[0], pictures[1])


@torch.no_grad()
def test_relative_transfer_from_the_same_start_keeps_the_source_pose(net):
    source, driving = noise(1, 3, 64, 64), noise(1, 3, 64, 64, seed=1)
    own = net.transfer(source, source)
    assert torch.allclose(net.transfer(source, driving, start=driving), own, atol=1e-3)
    assert not torch.allclose(net.transfer(source, driving), own, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 3, 63, 64), (1, 1, 64, 64), (3, 64, 64), (1, 4, 64, 64)])
def test_pictures_of_another_shape_are_refused(net, shape):
    with pytest.raises(ValueError, match=r"image must be \(B, 3, 64, 64\)"):
        net.encode(torch.zeros(shape))


@torch.no_grad()
def test_maps_of_another_model_are_refused(net):
    latent, features = net.encode(noise(2, 3, 64, 64))
    for wrong in (
        features[1:],
        features[::-1],
        [f[:, :-1] for f in features],
        [f.repeat(2, 1, 1, 1) for f in features],
    ):
        with pytest.raises(ValueError, match="feature maps must have"):
            net.decode(latent, wrong)
    with pytest.raises(ValueError, match="latent must be"):
        net.decode(latent[:, 1:], features)
