"""The blur behind the up-sampling convolutions as one Triton kernel, for CUDA. Its plain twin is a grouped convolution.

cuDNN runs a convolution of as many groups as channels in kernels that are slow for few taps; here each program blurs
some places of some channels, which lie side by side in memory. Triton comes with torch's wheels for Linux; it is
imported with this module only. Checked by Triton's interpreter on a CPU; not yet measured on CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

PLACES, CHANNELS = 64, 32
"""Of one program."""


@triton.jit
def _blur(x, kernel, out, n_places, channels, height, width, rows, columns, pad: tl.constexpr, taps: tl.constexpr,
          PLACES: tl.constexpr, CHANNELS: tl.constexpr):  # fmt: skip
    place = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    column, row, picture = place % columns, place // columns % rows, place // (columns * rows)
    inside = (place < n_places)[:, None] & (channel < channels)[None, :]
    total = tl.full((PLACES, CHANNELS), 0.0, tl.float32)
    for i in range(taps):
        for j in range(taps):
            y, z = row + i - pad, column + j - pad
            seen = inside & ((y >= 0) & (y < height) & (z >= 0) & (z < width))[:, None]
            here = ((picture * height + y) * width + z)[:, None] * channels + channel[None, :]
            value = tl.load(x + here, mask=seen, other=0.0).to(tl.float32)
            total += tl.load(kernel + i * taps + j).to(tl.float32) * value
    tl.store(out + place[:, None] * channels + channel[None, :], total.to(out.dtype.element_ty), mask=inside)


def blur(x: Tensor, kernel: Tensor, pad: int) -> Tensor:
    """Filters every channel of (B, C, H, W) with one (k, k) kernel, `pad` zeros around; sums are float32.

    Equals `floatbench.model.layers.blur` with that padding on both sides, to rounding; the result is channels-last.
    """
    x, kernel = x.contiguous(memory_format=torch.channels_last), kernel.contiguous()
    batch, channels, height, width = x.shape
    taps = kernel.shape[0]
    rows, columns = (side + 2 * pad - taps + 1 for side in (height, width))
    out = torch.empty((batch, channels, rows, columns), dtype=x.dtype, device=x.device).contiguous(
        memory_format=torch.channels_last
    )
    n_places = batch * rows * columns
    launched: Any = _blur[triton.cdiv(n_places, PLACES), triton.cdiv(channels, CHANNELS)]
    with torch.cuda.device_of(x):  # Triton launches on the current device, wherever the tensors are
        launched(x, kernel, out, n_places, channels, height, width, rows, columns, pad, taps, PLACES, CHANNELS)
    return out
