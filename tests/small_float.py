"""Fixtures of several rooms: a small FLOAT with random weights, in process and as a checkpoint file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from floatbench.model.checkpoint import Metadata, save
from floatbench.model.config import FLOAT_TINY
from floatbench.model.float import FloatModel

SMALL = replace(
    FLOAT_TINY, name="float-test", image_size=64, channel_max=8, channel_base=512, dim_w=8, dim_m=4, dim_a=8, dim_h=16,
    depth=1, mel_bands=16, mel_width=16, reader=False, painter=False, transfer="lia", warp="bilinear",
)  # fmt: skip


def _random_network(**changes) -> FloatModel:
    torch.manual_seed(0)
    network = FloatModel(replace(SMALL, **changes))
    with torch.no_grad():
        for name, value in network.fmt.named_parameters():
            if name != "pos_embed":
                value.add_(0.05 * torch.randn_like(value))  # the head starts at zero and would hide everything
    return network.eval()


@pytest.fixture
def make_network() -> Callable[..., FloatModel]:
    """make_network(**changes of the configuration) -> a small network with seeded random weights."""
    return _random_network


@pytest.fixture
def network() -> FloatModel:
    return _random_network()


@pytest.fixture
def checkpoint(tmp_path: Path, network: FloatModel) -> Path:
    path = tmp_path / "float-test.safetensors"
    save(network, path, Metadata(network.config, licence="none: random weights"))
    return path
