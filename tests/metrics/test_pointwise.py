"""1 x 1 convolutions as products: the same numbers, the layers that take them, and what stays as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from floatbench.media import read_video
from floatbench.metrics.network import quicker
from floatbench.metrics.pointwise import PointwiseConv, is_pointwise
from floatbench.metrics.winograd import WinogradConv


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


CASES = {
    "pictures": (nn.Conv2d(70, 48, 1), (2, 70, 5, 7)),
    "every second pixel": (nn.Conv2d(64, 32, 1, stride=2, bias=False), (3, 64, 7, 8)),
    "films": (nn.Conv3d(33, 16, 1), (2, 33, 3, 4, 5)),
    "one pixel": (nn.Conv2d(64, 16, 1), (1, 64, 1, 1)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_results_are_those_of_the_convolution(case, threads):
    layer, shape = CASES[case]
    x, before = noise(*shape), torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.inference_mode():
        expected = layer.double()(x.double()).float()
        found = PointwiseConv(layer.float())(x)
    torch.set_num_threads(before)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()  # float32 sums of some 70 products


def test_an_activation_may_be_put_into_the_layer():
    layer, activation, x = nn.Conv2d(64, 16, 1), nn.PReLU(16), noise(1, 64, 4, 4)
    activation.weight.data = torch.linspace(0, 1, 16)
    with torch.inference_mode():
        pointwise = PointwiseConv(layer)
        pointwise.slope = activation.weight.detach()
        torch.testing.assert_close(pointwise(x), activation(layer(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 1, padding=1), nn.Conv2d(64, 64, 1, groups=2), nn.Conv2d(64, 24, 1),
     nn.Conv2d(8, 64, 1), nn.Conv2d(64, 64, 1, padding="same"), nn.Linear(64, 64)],
    ids=str,
)  # fmt: skip
def test_other_layers_stay_as_they_are(layer):
    assert not is_pointwise(layer)


def test_a_frame_of_a_real_clip_gives_the_numbers_of_float64(shared):
    clip = min((shared / "data" / "real" / "video").rglob("*.mp4"), key=lambda path: (path.stat().st_size, path))
    frame = read_video(clip)[0][0, ::2, ::2]
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 128, 1, 2),
        nn.ReLU(), nn.Conv2d(128, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 16, 1),
    ).requires_grad_(False)  # fmt: skip
    x = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        expected = network.double()(x.double())
        found = quicker(network.float(), norms_follow=False, channels_last=True, products=True)(x)
    kinds = [type(layer) for layer in network]
    assert (kinds.count(WinogradConv), kinds.count(PointwiseConv)) == (2, 2)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
