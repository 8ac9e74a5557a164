"""Numbers of the official release on seeded random weights, stored by tests/golden/make_float_golden.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.conditions import Conditions
from floatbench.model.config import FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.layers import set_impl
from floatbench.model.randomise import randomise
from floatbench.model.transformer import FlowMatchingTransformer

GOLDEN = Path(__file__).with_name("float_golden.json")
SAMPLES = 24
TOLERANCE = 1e-4


def autoencoder() -> MotionAutoencoder:
    net = MotionAutoencoder(FloatConfig(image_size=64)).eval()
    randomise(net, seed=11, prefix="motion_autoencoder.")
    return net


def fmt() -> FlowMatchingTransformer:
    net = FlowMatchingTransformer(FloatConfig(dim_w=64, dim_a=64, dim_h=128)).eval()
    randomise(net, seed=11, prefix="fmt.")
    return net


def inputs_of(stage: str) -> dict[str, Tensor]:
    generator = np.random.default_rng(5)

    def noise(*shape: int) -> Tensor:
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    if stage == "autoencoder":
        pictures = {
            name: F.interpolate(noise(1, 3, 8, 8), size=(64, 64), mode="bilinear").clamp(-1, 1)
            for name in ("source", "driving", "start")
        }
        return pictures | {"motion": 0.1 * noise(1, 512)}
    shapes = {"x": (1, 50, 64), "wa": (1, 50, 64), "wr": (1, 64), "prev_x": (1, 10, 64), "prev_wa": (1, 10, 64)}
    tensors = {name: noise(*shape) for name, shape in shapes.items()}
    sizes = {"dim_w": 64, "dim_a": 64, "dim_h": 128}
    return tensors | {
        "t": torch.tensor([0.3]),
        "we": torch.softmax(noise(1, 1, 7), -1),
        **{name: torch.tensor(value) for name, value in sizes.items()},
    }


def output(net: FlowMatchingTransformer, given: dict[str, Tensor]) -> Tensor:
    return net(given["t"], given["x"], Conditions(**{k: v for k, v in given.items() if k not in ("t", "x")}))


def digest(value: Tensor) -> dict[str, list[float]]:
    """Shape, rms and evenly spaced samples of a tensor."""
    flat = value.double().flatten()
    at = torch.linspace(0, len(flat) - 1, SAMPLES).long()
    return {"shape": list(value.shape), "rms": [float(flat.square().mean().sqrt())], "samples": flat[at].tolist()}


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, dict[str, list[float]]]]:
    return json.loads(GOLDEN.read_text())


def agree(name: str, value: Tensor, expected: dict[str, list[float]]) -> None:
    ours, rms = digest(value), expected["rms"][0]
    assert ours["shape"] == expected["shape"], name
    assert np.allclose(ours["samples"], expected["samples"], atol=TOLERANCE * rms, rtol=TOLERANCE), name
    assert np.isclose(ours["rms"][0], rms, rtol=TOLERANCE), name


@pytest.mark.parametrize("impl", ["plain", "fast"])
@torch.no_grad()
def test_the_motion_autoencoder_gives_the_releases_numbers(golden, impl):
    net, given, expected = autoencoder(), inputs_of("autoencoder"), golden["autoencoder"]
    set_impl(net, impl)
    latent, features = net.encode(given["source"])
    picture, flow = net.decode(latent + given["motion"], features)
    if impl == "fast":
        decoder = FastDecoder(net.dec)
        picture = decoder(latent + given["motion"], decoder.source(features))
    made = {f"feature{i}": feature for i, feature in enumerate(features)}
    made |= {"latent": latent, "coefficients": net.coefficients(latent), "basis": net.dec.direction.basis()}
    made |= {"motion": net.motion(net.coefficients(latent)), "picture": picture, "flow": flow}
    made["absolute"] = net.transfer(given["source"], given["driving"])
    made["relative"] = net.transfer(given["source"], given["driving"], given["start"])
    assert made.keys() == expected.keys()
    for name, value in made.items():
        agree(name, value, expected[name])


@torch.no_grad()
def test_the_transformer_and_guidance_give_the_releases_numbers(golden):
    net, given, expected = fmt(), inputs_of("fmt"), golden["fmt"]
    given = {k: v for k, v in given.items() if not k.startswith("dim")}
    agree("field", output(net, given), expected["field"])
    keep = {"wa": (0.0, 1.0, 1.0), "we": (0.0, 0.0, 1.0)}
    branches = {k: torch.cat([v * f for f in keep.get(k, (1.0, 1.0, 1.0))]) for k, v in given.items()}
    u, a, f = output(net, branches).chunk(3)
    for name in (key for key in expected if key.startswith("guided")):
        scale_a, scale_e = (float(part) for part in name.split("_")[1:])
        agree(name, u + scale_a * (a - u) + scale_e * (f - a), expected[name])
