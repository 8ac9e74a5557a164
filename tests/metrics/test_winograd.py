"""Convolutions with a quarter of the products: the same numbers, the layers that take them, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from floatbench.metrics import matrix_products, winograd
from floatbench.metrics.network import NetworkBackbone, quicker
from floatbench.metrics.winograd import StridedWinogradConv, WinogradConv, available, fits, halves
from floatbench.metrics.winograd_kernels import transforms
from floatbench.types import ClipMedia, Features


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("taps", "side", "tile"), [(1, 1, 1), (3, 6, 4), (4, 6, 3), (5, 6, 2), (7, 9, 3)])
def test_the_three_matrices_compute_a_correlation(taps, side, tile):
    data, kernel, result = transforms(taps)
    assert (data.shape, kernel.shape, result.shape) == ((side, side), (side, taps), (tile, side))
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal(side), rng.standard_normal(taps)
    np.testing.assert_allclose(result @ ((kernel @ g) * (data @ d)), np.correlate(d, g), rtol=1e-11)


CASES = {
    "whole tiles": (nn.Conv2d(128, 130, 3, padding=1), (2, 128, 8, 8)),
    "cut tiles": (nn.Conv2d(128, 128, 3, padding=1, bias=False), (3, 128, 7, 14)),
    "no padding": (nn.Conv2d(129, 128, 3), (1, 129, 9, 5)),
    "no padding, whole tiles": (nn.Conv2d(128, 128, 3), (2, 128, 6, 10)),
    "one row": (nn.Conv2d(128, 128, 3, padding=1), (1, 128, 1, 6)),
    "five taps": (nn.Conv2d(48, 64, 5, padding=2), (2, 48, 9, 12)),
    "seven taps in a row": (nn.Conv2d(96, 64, (1, 7), padding=(0, 3)), (2, 96, 5, 17)),
    "seven taps in a column, padded too little": (nn.Conv2d(64, 96, (7, 1), padding=(1, 0)), (3, 64, 17, 4)),
    "three taps in a row": (nn.Conv2d(64, 64, (1, 3), padding=(0, 1), bias=False), (2, 64, 8, 8)),
    "three taps in a column": (nn.Conv2d(33, 64, (3, 1)), (1, 33, 9, 7)),
    "a film": (nn.Conv3d(64, 128, 3), (2, 64, 6, 9, 10)),
    "a film seen frame by frame": (nn.Conv3d(128, 128, (1, 3, 3), padding=(0, 1, 1)), (1, 128, 4, 13, 13)),
}


def convolves(kind: type[WinogradConv], layer: nn.Conv2d | nn.Conv3d, shape: tuple[int, ...], last: bool) -> bool:
    x = noise(*shape)
    with torch.inference_mode():
        expected = layer.double()(x.double()).float()
        layer.float()
        if last:
            x = x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)
        found = kind(layer)(x)
    assert found.shape == expected.shape
    # float32 errs by 2e-7 of a sum here; the points' condition multiplies that by ten, with nine points by thirty
    return bool((found - expected).abs().max() <= 1e-5 * expected.abs().max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("last", [False, True])
def test_the_results_are_those_of_the_convolution(case, last):
    assert convolves(WinogradConv, *CASES[case], last)


STRIDED = {
    "seven taps": (nn.Conv2d(12, 64, 7, 2, 3, bias=False), (2, 12, 32, 32)),
    "seven taps, odd sides": (nn.Conv2d(13, 64, 7, 2, 3), (2, 13, 31, 45)),
    "five taps": (nn.Conv2d(40, 64, 5, 2, 1), (2, 40, 14, 17)),
    "five taps, uneven padding": (nn.Conv2d(18, 32, 5, 2, (0, 2)), (1, 18, 9, 12)),
    "one result": (nn.Conv2d(12, 32, 7, 2), (1, 12, 7, 8)),
    "a film, every frame": (nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2)), (1, 3, 9, 30, 31)),
    "a film, every second frame": (nn.Conv3d(3, 64, 7, 2, bias=False), (2, 3, 12, 21, 29)),
    "a film seen frame by frame": (nn.Conv3d(96, 64, (1, 5, 5), (1, 2, 2), (0, 1, 1)), (1, 96, 3, 27, 27)),
}


@pytest.mark.parametrize("case", STRIDED)
@pytest.mark.parametrize("last", [False, True])
def test_every_second_pixel_of_a_large_kernel(case, last):
    assert halves(STRIDED[case][0])
    assert convolves(StridedWinogradConv, *STRIDED[case], last)


@pytest.mark.parametrize("together", [1, 5])
def test_the_number_of_tiles_at_a_time_changes_nothing(monkeypatch, together):
    layer = nn.Conv2d(64, 64, 3, padding=1)
    x = noise(3, 64, 7, 9)
    with torch.inference_mode():
        usual = WinogradConv(layer)(x)
        monkeypatch.setattr(winograd, "TOGETHER", together)
        assert torch.equal(WinogradConv(layer)(x), usual)
        monkeypatch.setattr(winograd, "FAR_BYTES", 0)  # as for large kernels
        assert torch.equal(WinogradConv(layer)(x), usual)


def test_several_threads_share_the_tiles_and_compute_the_same():
    layer = WinogradConv(nn.Conv3d(32, 64, 3))
    x = noise(2, 32, 5, 11, 9)
    threads = torch.get_num_threads()
    with torch.inference_mode():
        torch.set_num_threads(1)
        alone = layer(x)
        torch.set_num_threads(3)
        shared = layer(x)
    torch.set_num_threads(threads)
    assert torch.equal(shared, alone)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(128, 128, 3, stride=2, padding=1),
        nn.Conv2d(128, 128, 3, padding=6, dilation=6),
        nn.Conv2d(128, 128, 3, padding=1, groups=2),
        nn.Conv2d(128, 128, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(128, 128, 3, padding="same"),
        nn.Conv2d(128, 128, (1, 7), stride=(1, 2), padding=(0, 3)),
        nn.Conv2d(128, 128, 7, padding=3),
        nn.Conv2d(3, 128, 7, stride=2, padding=3),
        nn.Conv2d(64, 128, 7, stride=4, padding=3),
        nn.Conv2d(64, 128, 7, stride=(2, 1), padding=3),
        nn.Conv2d(64, 16, 7, stride=2, padding=3),
        nn.Conv2d(64, 128, 7, stride=2, padding=3, groups=2),
        nn.Conv2d(64, 128, 5, stride=2, dilation=2),
        nn.Conv3d(64, 128, 7, stride=2, padding=3),
        nn.Conv2d(128, 128, (1, 5), padding=(0, 2)),
        nn.Conv3d(128, 128, (1, 7, 7)),
        nn.Conv2d(16, 128, 3, padding=1),
        nn.Conv2d(128, 16, 3, padding=1),
        nn.Conv3d(15, 128, 3),
        nn.Conv3d(128, 128, 3, padding=1),
        nn.Linear(128, 128),
    ],
    ids=lambda layer: str(layer),
)
def test_other_layers_stay_as_they_are(layer):
    assert not fits(layer)
    assert not halves(layer)


class OfOneLayer(NetworkBackbone):
    id = "one-layer"
    weights = ("none",)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(128, 128, 3, padding=1))

    def extract(self, clip: ClipMedia) -> Features:
        raise NotImplementedError


def loaded(monkeypatch: pytest.MonkeyPatch, backbone: NetworkBackbone) -> nn.Module:
    monkeypatch.setattr(backbone, "state", OfOneLayer().build().state_dict)
    backbone.load()
    assert isinstance(backbone.network, nn.Sequential)
    return backbone.network[0]


@pytest.mark.parametrize(("quick", "kind"), [(True, WinogradConv), (False, nn.Conv2d)])
def test_a_backbone_takes_them_on_the_cpu_unless_the_references_layers_are_asked_for(monkeypatch, quick, kind):
    backbone = OfOneLayer()
    backbone.quick = quick
    assert isinstance(loaded(monkeypatch, backbone), kind)


def test_what_is_not_asked_for_on_a_gpu_stays_a_convolution():
    assert isinstance(quicker(OfOneLayer().build(), False, True), nn.Sequential)
    assert isinstance(quicker(OfOneLayer().build(), False, True).get_submodule("0"), nn.Conv2d)


def test_the_features_key_follows_this_code():
    made = OfOneLayer().made_with()
    assert {"floatbench.metrics." + name for name in ("winograd", "winograd_kernels", "matrix_products")} <= set(
        made["code"]
    )
    assert "numba" in made["libraries"]


def test_without_numba_convolutions_stay(monkeypatch):
    monkeypatch.setattr("floatbench.metrics.winograd.find_spec", lambda name: None)
    assert not available()
    assert isinstance(loaded(monkeypatch, OfOneLayer()), nn.Conv2d)


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert matrix_products.compiled(lambda x: x + 1)(1) == 2
