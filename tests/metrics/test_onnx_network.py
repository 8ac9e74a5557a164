"""Networks of ONNX files in torch layers: the numbers of ONNX Runtime, and what is left to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from floatbench.errors import OutOfMemory
from floatbench.metrics import arcface
from floatbench.metrics.onnx_network import read_network
from floatbench.metrics.onnx_session import open_session
from floatbench.metrics.winograd import WinogradConv

FACES = np.random.default_rng(0).integers(0, 256, (3, 3, 112, 112)).astype(np.float32)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    network = arcface.IResNet((1, 1, 2, 1), width=16).eval()
    network.load_state_dict(arcface.calm_state(network, 3))
    file = tmp_path_factory.mktemp("arcface") / "small.onnx"
    arcface.to_onnx(network, file)
    return file


def kinds(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def test_arcface_in_torch_embeds_as_onnx_runtime_does(small):
    runtime = arcface.open_recogniser(small)
    ours = arcface.torch_recogniser(small, runtime)
    assert ours is not None
    assert kinds(ours.network, WinogradConv) >= 4
    used = [node.target for node in ours.network.graph.nodes]  # pyright: ignore
    left = [name for name, layer in ours.network.named_modules() if isinstance(layer, nn.PReLU) and name in used]
    assert len(left) == 3  # behind layers with too few channels for tiles
    expected, found = runtime.forward(FACES), ours.forward(FACES)
    assert 0 < np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_norms_are_folded_unless_another_layer_sees_what_comes_before_them(small):
    network = read_network(small)
    assert network is not None
    # the first of each of the five blocks follows a sum or is seen by a shortcut, and so does the one before the last
    assert kinds(network, nn.BatchNorm2d) == 6
    assert kinds(network, nn.Conv2d) == 1 + 2 * 5 + 4


def test_a_network_that_embeds_otherwise_is_left_to_onnx_runtime(small, monkeypatch):
    other = read_network(small)
    assert other is not None
    other.get_parameter(next(name for name, _ in other.named_parameters())).mul_(1.01)
    monkeypatch.setattr(arcface, "read_network", lambda file: other)
    assert arcface.torch_recogniser(small, arcface.open_recogniser(small)) is None


def changed_node(kind: str, **attributes: Any) -> Callable[[Any], None]:
    def change(graph: Any) -> None:
        node = next(node for node in graph.node if node.op_type == kind)
        for name in attributes:
            for old in [a for a in node.attribute if a.name == name]:
                node.attribute.remove(old)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())

    return change


def renamed_node(graph: Any) -> None:
    graph.node[0].op_type = "ConvInteger"


def one_slope(graph: Any) -> None:
    name = next(node.input[1] for node in graph.node if node.op_type == "PRelu")
    slope = next(a for a in graph.initializer if a.name == name)
    slope.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), name))


def two_inputs(graph: Any) -> None:
    graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


CHANGES: dict[str, Callable[[Any], None]] = {
    "another kind of node": renamed_node,
    "uneven padding": changed_node("Conv", pads=[0, 0, 1, 1]),
    "groups": changed_node("Conv", group=2),
    "dilation": changed_node("Conv", dilations=[2, 2]),
    "an attribute not known": changed_node("PRelu", shared=1),
    "a kernel the other way round": changed_node("Gemm", transB=0),
    "one slope for all channels": one_slope,
    "two inputs": two_inputs,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_known_is_left_to_onnx_runtime(small, tmp_path, change):
    model = onnx.load(str(small))
    CHANGES[change](model.graph)
    onnx.save(model, str(tmp_path / "changed.onnx"))
    assert read_network(tmp_path / "changed.onnx") is None


def test_the_backbone_takes_torch_on_a_processor_unless_the_references_way_is_asked_for(small, monkeypatch):
    monkeypatch.setattr("floatbench.weights.path", lambda name: small)
    monkeypatch.setattr(arcface.scrfd, "shared_detector", lambda device: None)
    found = {}
    for quick in (True, False):
        backbone = arcface.ArcFaceOnnx()
        backbone.quick = quick
        backbone.load()
        assert isinstance(backbone._recogniser, arcface.TorchRecogniser) == quick
        found[quick] = backbone.embed(FACES.transpose(0, 2, 3, 1).astype(np.uint8))
    assert np.abs(found[True] - found[False]).max() <= 1e-5 * np.abs(found[False]).max()


def test_a_session_takes_as_many_threads_as_torch(small):
    options = open_session(small).get_session_options()
    assert options.intra_op_num_threads == torch.get_num_threads()


def test_the_features_key_follows_this_code():
    assert "floatbench.metrics.onnx_network" in arcface.ArcFaceOnnx().made_with()["code"]


def test_a_device_without_memory_is_not_taken_for_a_damaged_file(small: Path, monkeypatch: pytest.MonkeyPatch):
    def scarce(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc(&p, size)")

    monkeypatch.setattr("onnxruntime.InferenceSession", scarce)
    with pytest.raises(OutOfMemory, match=f"cpu has too little memory for {small.name}"):
        open_session(small)
