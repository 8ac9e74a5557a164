"""Layers that take over what follows them: activations, sums and means that would be passes over whole pictures.

`WinogradConv` and `PointwiseConv` bend their own results while these are in the processor's registers, the second also
adds another branch's. What a network does between its layers is read from its traced graph, so that it may call them in
any way; a layer that is called twice, or whose results somebody else needs too, stays as it is. Networks that cannot be
traced say that they call their layers in the order in which these are registered.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from floatbench.metrics.pointwise import PointwiseConv
from floatbench.metrics.winograd import WinogradConv

Bending = WinogradConv | PointwiseConv


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Bending) or super().is_leaf_module(m, module_qualified_name)


def fused(network: nn.Module) -> fx.GraphModule:
    """The same function up to rounding, in fewer passes; the layers' own numbers are changed."""
    found = fx.GraphModule(network, _Tracer().trace(network))
    for node in list(found.graph.nodes):
        if node.op == "call_module" and isinstance(found.get_submodule(str(node.target)), nn.Identity):
            _replace(node, node.all_input_nodes[0])
    average_last(found)
    add_within(found)
    bend(found)
    return found


def average_last(network: fx.GraphModule) -> None:
    """Takes means of 3 x 3 pixels behind the 1 x 1 layer that reads them, where there are fewer channels.

    Both are linear, and at a border, too, the weights of a mean sum to 1 where what lies outside is not counted.
    """
    for conv, layer in _alone(network, PointwiseConv):
        (mean,) = conv.all_input_nodes
        if not _is_mean(mean) or len(mean.users) != 1 or layer.outputs >= layer.inputs:
            continue
        conv.replace_input_with(mean, mean.all_input_nodes[0])
        conv.replace_all_uses_with(mean)
        mean.replace_input_with(mean.all_input_nodes[0], conv)
        conv.append(mean)
    network.recompile()


def add_within(network: fx.GraphModule) -> None:
    """Hands what is added to a 1 x 1 layer's results to the layer itself."""
    alone = dict(_alone(network, PointwiseConv))
    for node in list(network.graph.nodes):
        if node.op != "call_function" or node.target is not operator.add:
            continue
        conv = next((arg for arg in node.args if arg in alone and len(arg.users) == 1 and len(arg.args) == 1), None)
        others = [arg for arg in node.args if arg is not conv]
        if conv is None or len(others) != 1 or not isinstance(others[0], fx.Node):
            continue
        node.prepend(conv)  # the other branch may come later
        conv.args = (*conv.args, others[0])
        _replace(node, conv)
    network.recompile()


def bend(network: fx.GraphModule) -> None:
    """Gives each ReLU and PReLU to the layer before it where that can bend its own results."""
    alone = dict(_alone(network, Bending))
    for node in list(network.graph.nodes):
        before = node.all_input_nodes[0] if node.all_input_nodes else None
        if before not in alone or len(before.users) != 1:
            continue
        layer = alone[before]
        if _is_relu(network, node):
            layer.slope = torch.zeros_like(layer.slope)
        elif node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), nn.PReLU):
            layer.slope = network.get_parameter(f"{node.target}.weight").detach().expand_as(layer.slope).contiguous()
        else:
            continue
        _replace(node, before)
    network.recompile()


def bend_following(network: nn.Module) -> None:
    """Gives each ReLU to the layer registered right before it, for networks that call their layers in that order."""
    layers = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, Bending) or not (any(layer.children()) or isinstance(layer, nn.Identity))
    ]
    for (_, layer), (name, following) in pairwise(layers):
        if isinstance(layer, Bending) and isinstance(following, nn.ReLU):
            layer.slope = torch.zeros_like(layer.slope)
            network.set_submodule(name, nn.Identity())


def _alone(network: fx.GraphModule, kind: Any) -> Iterator[tuple[fx.Node, Any]]:
    """Calls of layers of a kind that are called once."""
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    times = Counter(id(network.get_submodule(str(node.target))) for node in calls)
    for node in calls:
        layer = network.get_submodule(str(node.target))
        if isinstance(layer, kind) and times[id(layer)] == 1:
            yield node, layer


def _is_relu(network: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), nn.ReLU)
    return node.op == "call_function" and node.target in (F.relu, torch.relu)


def _is_mean(node: fx.Node) -> bool:
    """Whether a node is a mean over 3 x 3 pixels that are there, one for each pixel."""
    if node.op != "call_function" or node.target is not F.avg_pool2d or len(node.args) != 1:
        return False
    return node.kwargs == {"kernel_size": 3, "stride": 1, "padding": 1, "count_include_pad": False}


def _replace(node: fx.Node, by: fx.Node) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)
