"""1 x 1 convolutions as products with kernels laid out once, for processors.

In channels-last memory such a layer is one matrix product. torch's own lays the kernels out anew at every call, and is
a fifth to a third slower.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard

import numpy as np
import torch
from torch import nn

LEAST_CHANNELS = 16
"""Going in; with fewer there is little to sum."""
VECTOR = 16
"""Outputs that a processor computes at once, at most: whole vectors lie in the result as they are made."""


def is_pointwise(layer: nn.Module) -> TypeGuard[nn.Conv2d | nn.Conv3d]:
    """Whether `PointwiseConv` computes this layer: every picture's own pixels, with channels enough."""
    if not isinstance(layer, (nn.Conv2d, nn.Conv3d)) or layer.groups != 1 or isinstance(layer.padding, str):
        return False
    if set(layer.kernel_size) != {1} or set(layer.padding) != {0}:
        return False
    return layer.in_channels >= LEAST_CHANNELS and layer.out_channels % VECTOR == 0


class PointwiseConv(nn.Module):
    """What a convolution that `is_pointwise` computes, up to rounding; float32 on the CPU, results channels-last.

    Args:
        layer: a Conv2d (O, C, 1, 1) or a Conv3d (O, C, 1, 1, 1) with any stride.

    Attributes:
        inputs, outputs: channels.
        slope: (O,), what results below 0 are multiplied with: 1, unless an activation is put here.
    """

    kernels: torch.Tensor
    bias: torch.Tensor
    slope: torch.Tensor

    def __init__(self, layer: nn.Conv2d | nn.Conv3d) -> None:
        from floatbench.metrics.matrix_products import packed  # numba takes 0.4 s to import

        super().__init__()
        self.inputs, self.outputs = layer.in_channels, layer.out_channels
        self.stride = tuple(slice(None, None, int(step)) for step in layer.stride)
        weight = layer.weight.detach().flatten(1).T
        self.register_buffer("kernels", torch.from_numpy(packed(weight[None].numpy())))
        self.register_buffer("bias", weight.new_zeros(weight.shape[1]) if layer.bias is None else layer.bias.detach())
        self.register_buffer("slope", torch.ones(weight.shape[1]))

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """(B, C, ...) -> (B, O, ...), to which `added` of that shape is added before results are bent."""
        pixels = x[:, :, *self.stride].movedim(1, -1).contiguous()
        made = pixels.new_empty(*pixels.shape[:-1], len(self.bias))
        rows = made.shape[:-1].numel()
        left, out = pixels.numpy().reshape(rows, -1), made.numpy().reshape(rows, -1)
        more = None if added is None else added.movedim(1, -1).contiguous().numpy().reshape(out.shape)
        share = -(-rows // torch.get_num_threads())

        def part(start: int) -> None:
            self._multiply(left[start : start + share], out[start:], None if more is None else more[start:])

        if share == rows:
            part(0)
        else:
            starts = range(0, rows, share)
            with ThreadPoolExecutor(len(starts)) as pool:
                list(pool.map(part, starts))
        return made.movedim(-1, 1)

    def _multiply(self, left: np.ndarray, out: np.ndarray, added: np.ndarray | None) -> None:
        """The products of (M, C) pixels, and M rows of `added`, written into the first M rows of `out`."""
        from floatbench.metrics.matrix_products import multiply

        kernels, bias, slope = self.kernels.numpy(), self.bias.numpy(), self.slope.numpy()
        more, line = (np.zeros_like(bias), 0) if added is None else (added.reshape(-1), len(bias))
        multiply(left.reshape(1, -1), len(left), kernels, bias, slope, more, line, out.reshape(1, -1))
