"""The decoder's own forms of a convolution: a quarter of the products in float32, matrix products in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tolerances import unit_roundoff, worst_rounding
from torch import Tensor
from torch.nn import functional as F

from floatbench.metrics.winograd_kernels import transforms
from floatbench.model import quarter_products
from floatbench.model.layers import blur_kernel
from floatbench.model.products import convolved, kernel_of, up_sampled
from floatbench.model.quarter_products import DATA, KERNEL, RESULT, StyledWinograd, pays


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_matrices_are_those_that_follow_from_the_points():
    for ours, derived in zip((DATA, KERNEL, RESULT), transforms(3), strict=True):
        np.testing.assert_allclose(np.array(ours), derived, rtol=4 * unit_roundoff("float64"))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 4, 4), (9, 16, 16), (2, 12, 64), (1, 20, 200)])
def test_the_results_are_those_of_the_styled_convolution(batch, height, width, layout, monkeypatch):
    monkeypatch.setattr(quarter_products, "TILES", 48)  # all of one, several and parts of a picture
    x, weight = noise(batch, 8, height, width).to(memory_format=layout), noise(12, 8, 3, 3, seed=1)
    style, gain, bias = noise(batch, 8, seed=2), noise(batch, 12, seed=3), noise(12, seed=4)
    styled = (x * style[:, :, None, None]).double()
    expected = F.conv2d(styled, weight.double(), padding=1) * gain[:, :, None, None] + bias[:, None, None]
    found = StyledWinograd(weight)(x, style, gain, bias)
    assert found.is_contiguous(memory_format=torch.channels_last)
    # 72 products of a sum, and ten times that for the condition of the points; magnitudes up to those of the results
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol=worst_rounding(720, float(expected.abs().max()) / 10)
    )


@pytest.mark.parametrize(
    ("shape", "size", "takes"),
    [
        ((64, 64), 16, True),
        ((512, 512), 32, True),
        ((64, 32), 32, False),
        ((32, 64), 32, False),
        ((512, 512), 8, False),
        ((64, 64), 18, False),
    ],
)
def test_few_channels_small_pictures_and_broken_tiles_stay_as_they_are(shape, size, takes):
    assert pays(torch.empty(*shape, 3, 3), size) is takes


def test_float64_products_are_the_convolutions():
    x, weight = noise(3, 5, 4, 6).double(), noise(7, 5, 3, 3, seed=1).double()
    found = convolved(x, kernel_of(weight, up=False))
    torch.testing.assert_close(found, F.conv2d(x, weight, padding=1), rtol=1e-13, atol=1e-13)


def test_float64_up_sampling_is_the_transposed_convolution_with_its_blur():
    x, weight = noise(3, 5, 4, 6).double(), noise(5, 7, 3, 3, seed=1).double()
    kernel = 4 * blur_kernel().double().expand(7, 1, 4, 4)
    expected = F.conv2d(F.conv_transpose2d(x, weight, stride=2), kernel, padding=1, groups=7)
    torch.testing.assert_close(up_sampled(x, kernel_of(weight, up=True)), expected, rtol=1e-13, atol=1e-13)
