"""What every torch backbone shares: the network that is run is the reference's, in fewer passes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from floatbench.metrics import arcface, i3d, reconnet, syncnet
from floatbench.metrics.network import NetworkBackbone, quicker
from floatbench.types import ClipMedia, Features

ROUNDING = 1e-5
"""Of the largest value: float32 rounding of some fifty layers."""


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def unsettled(network: nn.Module) -> nn.Module:
    """Any weights, and norms that are far from doing nothing."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight, module.running_var):
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
            for tensor in (module.bias, module.running_mean):
                tensor.data = 0.2 * torch.randn(tensor.shape, generator=generator)
    return network.eval().requires_grad_(False)


def norms(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if type(module).__name__.startswith("BatchNorm")]


def both_towers(network: nn.Module) -> Tensor:
    assert isinstance(network, syncnet.SyncNet)
    return torch.cat([network.lips(noise(3, 5, 224, 224)), network.sound(noise(2, 1, 13, 20))])


# Inception is held to pytorch-fid's own in test_fid.py, as it is loaded
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Tensor], list[str]]] = {
    "reconnet": (reconnet.ReconNet, lambda n: n(noise(1, 3, 64, 64)), []),
    "i3d": (i3d.I3DNetwork, lambda n: n(noise(1, 3, 9, 224, 224)), []),
    "syncnet": (syncnet.SyncNet, both_towers, []),
    # the first norm of each block and the one behind the last have nothing before them to fold into
    "iresnet": (lambda: arcface.IResNet((1, 1, 2, 1), 8), lambda n: n(noise(2, 3, 112, 112)),
                ["layer1.0.bn1", "layer2.0.bn1", "layer3.0.bn1", "layer3.1.bn1", "layer4.0.bn1", "bn2"]),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_folded_norms_another_layout_and_fewer_products_change_nothing_but_rounding(name):
    build, run, left = NETWORKS[name]
    network = unsettled(build())
    faster = quicker(copy.deepcopy(network), norms_follow=True, channels_last=True, products=True)
    assert norms(faster) == left
    with torch.inference_mode():
        expected, found = run(network), run(faster)
    assert found.shape == expected.shape
    assert 0 < (found - expected).abs().max() <= ROUNDING * expected.abs().max()


def test_a_norm_keeps_its_epsilon_when_it_is_folded():
    network = unsettled(nn.Sequential(nn.Conv3d(2, 3, 1, bias=False), nn.BatchNorm3d(3, eps=0.5)))
    x = noise(1, 2, 2, 2, 2)
    expected = network(x)
    torch.testing.assert_close(quicker(network, True, False)(x), expected, rtol=1e-5, atol=1e-6)
    assert not norms(network)


class PreActivated(nn.Module):
    """Two blocks whose second norm sees the first one's sum, although a convolution is registered before it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)
        self.norm2, self.conv2 = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.conv1(self.norm1(x))
        return x + self.conv2(self.norm2(x))


class OfPreActivated(NetworkBackbone):
    id = "pre-activated"
    weights = ("none",)

    def build(self) -> nn.Module:
        return PreActivated()

    def extract(self, clip: ClipMedia) -> Features:
        raise NotImplementedError


def test_a_backbone_that_does_not_say_that_its_norms_follow_keeps_them(monkeypatch):
    network, backbone = unsettled(PreActivated()), OfPreActivated()
    monkeypatch.setattr(backbone, "state", network.state_dict)
    backbone.load()
    assert backbone.network is not None
    x = noise(1, 3, 2, 2)
    assert torch.equal(backbone.network(x), network(x))
    assert not torch.allclose(quicker(network, True, False)(x), backbone.network(x), atol=1e-2)  # why it must be said
