"""Convolutional networks of ONNX files as torch layers, where torch computes them faster than ONNX Runtime does.

Only what ArcFace's files are made of is known; a graph with any other node, attribute or shape is left to ONNX Runtime.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

Arrays = dict[str, torch.Tensor]


class UnknownNode(Exception):
    """A node, an attribute or a shape that has no layer here."""


def read_network(file: Path) -> fx.GraphModule | None:
    """The network of an ONNX file with one input and one output, norms folded; None where something is not known."""
    import onnx

    graph = onnx.load(str(file)).graph
    arrays = {a.name: torch.from_numpy(onnx.numpy_helper.to_array(a).copy()) for a in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in arrays]
    if len(inputs) != 1 or len(graph.output) != 1:
        return None
    try:
        return _built(graph.node, arrays, inputs[0], graph.output[0].name)
    except UnknownNode:
        return None


def _built(nodes: Any, arrays: Arrays, first: str, last: str) -> fx.GraphModule:
    from onnx.helper import get_attribute_value

    root, graph = nn.Module(), fx.Graph()
    readers = Counter(name for node in nodes for name in node.input) + Counter([last])
    made: dict[str, fx.Node] = {first: graph.placeholder("x")}
    for number, node in enumerate(nodes):
        names = [name for name in node.input if name not in arrays]
        if any(name not in made for name in names) or len(node.output) != 1:
            raise UnknownNode(node.op_type)
        values = [made[name] for name in names]
        if node.op_type == "Add" and len(values) == 2:
            made[node.output[0]] = graph.call_function(operator.add, tuple(values))
            continue
        if len(values) != 1 or node.op_type not in _LAYERS or list(node.input[:1]) != names:
            raise UnknownNode(node.op_type)
        attributes = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        layer = _LAYERS[node.op_type]([arrays[name] for name in node.input[1:]], attributes)
        before = values[0].target if values[0].op == "call_module" and readers[names[0]] == 1 else ""
        if isinstance(layer, nn.BatchNorm2d) and before and (folded := _folded(root.get_submodule(str(before)), layer)):
            root.set_submodule(str(before), folded)
            made[node.output[0]] = values[0]
            continue
        root.add_module(f"layer{number}", layer)
        made[node.output[0]] = graph.call_module(f"layer{number}", (values[0],))
    graph.output(made[last])
    return fx.GraphModule(root, graph).eval().requires_grad_(False)


def _folded(layer: nn.Module, norm: nn.BatchNorm2d) -> nn.Module | None:
    if isinstance(layer, nn.Conv2d):
        return fuse_conv_bn_eval(layer.eval(), norm.eval())
    return fuse_linear_bn_eval(layer.eval(), norm.eval()) if isinstance(layer, nn.Linear) else None


def _filled(layer: nn.Module, **arrays: torch.Tensor) -> nn.Module:
    """The layer with these numbers; raises UnknownNode where their shapes are others."""
    for name, array in arrays.items():
        place = layer.get_parameter(name) if name in dict(layer.named_parameters()) else layer.get_buffer(name)
        if place.shape != array.shape:
            raise UnknownNode(name)
        place.data = array.float()
    return layer


def _require(attributes: dict[str, Any], **known: Any) -> None:
    """Raises UnknownNode unless every attribute is one of `known` with that value, None standing for any."""
    for name, value in attributes.items():
        if name not in known or (known[name] is not None and value != known[name]):
            raise UnknownNode(name)


def _conv(arrays: list[torch.Tensor], attributes: dict[str, Any]) -> nn.Module:
    weight = arrays[0]
    if weight.dim() != 4:
        raise UnknownNode("Conv")
    kernel = list(weight.shape[2:])
    _require(attributes, kernel_shape=kernel, strides=None, pads=None, dilations=[1, 1], group=1, auto_pad=b"NOTSET")
    pads, strides = attributes.get("pads", [0, 0, 0, 0]), attributes.get("strides", [1, 1])
    if pads[:2] != pads[2:]:
        raise UnknownNode("pads")
    size, stride, padding = ((int(side[0]), int(side[1])) for side in (kernel, strides, pads))
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], size, stride, padding, bias=len(arrays) > 1)
    return _filled(layer, weight=weight, **({"bias": arrays[1]} if len(arrays) > 1 else {}))


def _norm(arrays: list[torch.Tensor], attributes: dict[str, Any]) -> nn.Module:
    _require(attributes, epsilon=None, momentum=None, spatial=1, training_mode=0)
    if len(arrays) != 4:
        raise UnknownNode("BatchNormalization")
    weight, bias, mean, variance = arrays
    layer = nn.BatchNorm2d(len(weight), eps=attributes.get("epsilon", 1e-5))
    return _filled(layer, weight=weight, bias=bias, running_mean=mean, running_var=variance)


def _prelu(arrays: list[torch.Tensor], attributes: dict[str, Any]) -> nn.Module:
    _require(attributes)
    slope = arrays[0]
    if slope.numel() != slope.shape[0] or slope.dim() != 3:
        raise UnknownNode("PRelu")
    return _filled(nn.PReLU(len(slope)), weight=slope.flatten())


def _gemm(arrays: list[torch.Tensor], attributes: dict[str, Any]) -> nn.Module:
    _require(attributes, alpha=1.0, beta=1.0, transA=0, transB=1)
    if len(arrays) != 2 or not attributes.get("transB"):
        raise UnknownNode("Gemm")
    outputs, inputs = arrays[0].shape
    return _filled(nn.Linear(inputs, outputs), weight=arrays[0], bias=arrays[1])


def _flatten(arrays: list[torch.Tensor], attributes: dict[str, Any]) -> nn.Module:
    _require(attributes, axis=1)
    return nn.Flatten()


def _identity(arrays: list[torch.Tensor], attributes: dict[str, Any]) -> nn.Module:
    _require(attributes)
    return nn.Identity()


_LAYERS: dict[str, Callable[[list[torch.Tensor], dict[str, Any]], nn.Module]] = {
    "Conv": _conv,
    "BatchNormalization": _norm,
    "PRelu": _prelu,
    "Gemm": _gemm,
    "Flatten": _flatten,
    "Identity": _identity,
}
