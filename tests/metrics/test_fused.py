"""Layers that take over activations, sums and means: the same function, and what has to stay a pass of its own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from floatbench.metrics.fused import bend_following, fused
from floatbench.metrics.inception import _STAGES, Inception, build_inception
from floatbench.metrics.network import quicker
from floatbench.metrics.pointwise import PointwiseConv
from floatbench.metrics.reconnet import ReconCoefficients, ReconNet
from floatbench.metrics.winograd import WinogradConv


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def steps(network: fx.GraphModule) -> list[str]:
    """What is called between input and output: layers by kind, functions by name."""
    found = []
    for node in network.graph.nodes:
        if node.op == "call_module":
            found.append(type(network.get_submodule(str(node.target))).__name__)
        elif node.op.startswith("call"):
            found.append(getattr(node.target, "__name__", str(node.target)))
    return found


class Block(nn.Module):
    """A residual block beside a branch of means; `how` says what is called in another way."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how
        self.narrow, self.across, self.wide = (
            nn.Conv2d(64, 32, 1),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.Conv2d(32, 64, 1),
        )
        self.pool, self.norm, self.relu = nn.Conv2d(64, 32, 1), nn.Identity(), nn.ReLU(inplace=True)
        self.prelu = nn.PReLU(32)

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.norm(self.across(self.relu(self.narrow(x)))))
        y = self.wide(y)
        if self.how == "called twice":
            y = y + self.wide(self.narrow(x))
        kept = y if self.how == "needed twice" else None
        y = y + x
        y = F.relu(y, inplace=self.how != "needed twice")
        mean = F.avg_pool2d(y, kernel_size=3, stride=1, padding=1, count_include_pad=self.how == "other means")
        parts = [y, F.relu(self.pool(mean))]
        return torch.cat(parts if kept is None else [*parts, kept], 1)


USUAL = ["PointwiseConv", "WinogradConv", "PointwiseConv", "PointwiseConv", "avg_pool2d", "relu", "cat"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("", USUAL),
        ("needed twice", [*USUAL[:3], "add", "relu", *USUAL[3:]]),
        (
            "called twice",
            ["PointwiseConv", "ReLU", "WinogradConv", *["PointwiseConv"] * 3, "add", "add", "relu", *USUAL[3:]],
        ),
        ("other means", [*USUAL[:3], "avg_pool2d", "PointwiseConv", "cat"]),
    ],
)
def test_what_follows_a_layer_goes_into_it_where_nobody_else_needs_its_results(how, expected):
    block = Block(how)
    x = noise(2, 64, 9, 7)
    with torch.inference_mode():
        wanted = copy.deepcopy(block).double()(x.double())
        made = fused(quicker(block, norms_follow=False, channels_last=True, products=True))
        assert steps(made) == expected
        assert made(x).shape == wanted.shape
        # three layers of 32 to 288 terms one after the other
        torch.testing.assert_close(made(x).double(), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


def test_an_added_picture_is_shared_by_threads_like_the_rest():
    layer, x, added = PointwiseConv(nn.Conv2d(32, 48, 1)), noise(3, 32, 5, 7), noise(3, 48, 5, 7)
    threads = torch.get_num_threads()
    with torch.inference_mode():
        torch.set_num_threads(1)
        alone = layer(x, added)
        torch.set_num_threads(3)
        shared = layer(x, added)
    torch.set_num_threads(threads)
    assert torch.equal(shared, alone)
    torch.testing.assert_close(alone, layer(x) + added, rtol=1e-5, atol=1e-5)


def test_no_activation_is_left_behind_a_layer_of_inception_and_reconnet_that_can_bend():
    with torch.inference_mode():
        for backbone, network in ((Inception, build_inception()), (ReconCoefficients, ReconNet())):
            network = quicker(network.eval(), True, True, True)
            for name in backbone.traced:
                made = fused(network.get_submodule(name))
                for node in made.graph.nodes:
                    if node.op == "call_module" and isinstance(
                        made.get_submodule(str(node.target)), (PointwiseConv, WinogradConv)
                    ):
                        assert not [user for user in node.users if "relu" in user.name], (name, node.name)
    assert len(Inception.traced) == sum(map(len, _STAGES))


def test_activations_registered_behind_a_layer_are_taken_over():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.MaxPool2d(2), nn.ReLU()
    )
    x = torch.randn(2, 32, 9, 9)
    with torch.inference_mode():
        expected = layers.eval()(x)
        network = quicker(layers, norms_follow=True, channels_last=True, products=True)
        bend_following(network)
        kinds = [type(layer).__name__ for layer in network]
        assert kinds == ["WinogradConv", "Identity", "Identity", "PointwiseConv", "MaxPool2d", "ReLU"]
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
