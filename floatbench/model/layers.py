"""The building blocks of the motion auto-encoder: equalised-rate layers, blur, re-sampling and modulated convolutions.

They are those of StyleGAN2 (Karras et al., CVPR 2020) in the form LIA (Wang et al., ICLR 2022) and FLOAT use. Weights
are stored with unit variance and scaled by 1/sqrt(fan in) when they are used. B batch, C channels, H x W pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Impl = Literal["plain", "fast"]
"""`plain` writes a formula as it is defined; `fast` computes the same numbers in an order that costs less."""

GAIN = math.sqrt(2.0)
SLOPE = 0.2
DEMODULATION_EPS = 1e-8


def blur_kernel() -> Tensor:
    """(4, 4) binomial kernel outer([1, 3, 3, 1]) / 64, which sums to one."""
    row = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(row, row) / 64.0


def blur(x: Tensor, kernel: Tensor, pad: tuple[int, int]) -> Tensor:
    """Filters every channel with one small symmetric kernel.

    Args:
        x: (B, C, H, W).
        kernel: (k, k).
        pad: zeros added (before, after) along both axes; the output is H + before + after - k + 1 high.
    """
    channels = x.shape[1]
    before, after = pad
    weight = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
    if before == after:
        return F.conv2d(x, weight, padding=before, groups=channels)
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, groups=channels)


def upsample(x: Tensor, kernel: Tensor) -> Tensor:
    """Doubles height and width: zeros between the pixels, then the kernel times four, padded (2, 1).

    Written as the equal depthwise transposed convolution with stride 2 and padding 1.
    """
    channels = x.shape[1]
    weight = (4.0 * kernel).to(x.dtype).expand(channels, 1, *kernel.shape)
    return F.conv_transpose2d(x, weight, stride=2, padding=1, groups=channels)


def leaky(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, times sqrt(2)."""
    return F.leaky_relu(x, SLOPE) * GAIN


class BiasLeaky(nn.Module):
    """Adds a bias per channel, then `leaky`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return leaky(x + self.bias)


class EqualConv2d(nn.Module):
    """Convolution without bias whose stored weight is scaled by 1/sqrt(C_in k^2)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c_out, c_in, kernel, kernel))
        self.scale = 1.0 / math.sqrt(c_in * kernel**2)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride, padding=self.padding)


class EqualLinear(nn.Module):
    """Linear layer whose stored weight is scaled by 1/sqrt(inputs); the bias is used as stored."""

    def __init__(self, n_in: int, n_out: int, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.full((n_out,), bias))
        self.scale = 1.0 / math.sqrt(n_in)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


class Blur(nn.Module):
    """Blur as a module, so that its kernel is an entry of the state dict."""

    kernel: Tensor

    def __init__(self, pad: tuple[int, int], gain: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel() * gain)
        self.pad = pad

    def forward(self, x: Tensor) -> Tensor:
        return blur(x, self.kernel, self.pad)


class Upsample(nn.Module):
    """`upsample` as a module; the stored kernel already holds the factor four."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", blur_kernel() * 4.0)

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.kernel / 4.0)


class ConvLayer(nn.Sequential):
    """Equalised convolution, optionally halving the picture after a blur, optionally with bias and activation."""

    def __init__(self, c_in: int, c_out: int, kernel: int, down: bool = False, activate: bool = True) -> None:
        layers: list[nn.Module] = []
        if down:
            pad = (kernel + 1) // 2  # keeps H/2 exactly: 2 for a 3x3, 1 for a 1x1
            layers = [Blur((pad, pad)), EqualConv2d(c_in, c_out, kernel, stride=2)]
        else:
            layers = [EqualConv2d(c_in, c_out, kernel, padding=kernel // 2)]
        if activate:
            layers.append(BiasLeaky(c_out))
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """(B, C, H, W) -> (B, C', H/2, W/2): two 3x3 convolutions beside a 1x1 skip, their sum over sqrt(2)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = ConvLayer(c_in, c_in, 3)
        self.conv2 = ConvLayer(c_in, c_out, 3, down=True)
        self.skip = ConvLayer(c_in, c_out, 1, down=True, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x)) + self.skip(x)) / GAIN


class ModulatedConv2d(nn.Module):
    """Convolution whose weight is scaled per sample and input channel by a style, then normalised per output channel.

    Args:
        c_in, c_out: channels.
        kernel: size of the square kernel.
        style_dim: D, length of the latent.
        demodulate: divide each output channel's weight by its norm (StyleGAN2 eq. 3).
        up: double the picture: transposed convolution with stride 2, then blur.
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, style_dim: int, demodulate: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, c_out, c_in, kernel, kernel))
        self.modulation = EqualLinear(style_dim, c_in, bias=1.0)
        self.scale = 1.0 / math.sqrt(c_in * kernel**2)
        self.demodulate, self.up, self.kernel_size = demodulate, up, kernel
        if up:
            self.blur = Blur((1, 1), gain=4.0)
        self.impl: Impl = "fast"

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        """x (B, C_in, H, W), latent (B, D) -> (B, C_out, H, W), or (B, C_out, 2H, 2W) when `up`."""
        with torch.autocast(x.device.type, enabled=False):  # styles and norms stay float32 in every precision
            style = self.modulation(latent.to(self.modulation.weight.dtype))
        return self.styled(x, style)

    def styled(self, x: Tensor, style: Tensor) -> Tensor:
        """The same with the style (B, C_in) itself."""
        return self._per_sample(x, style) if self.impl == "plain" else self._shared(x, style)

    def _per_sample(self, x: Tensor, style: Tensor) -> Tensor:
        """One weight per sample, all samples as groups of one convolution."""
        batch, c_in, height, width = x.shape
        weight = self.scale * self.weight * style[:, None, :, None, None]
        if self.demodulate:
            weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + DEMODULATION_EPS)
        x = x.reshape(1, batch * c_in, height, width)
        if self.up:
            weight = weight.transpose(1, 2).flatten(0, 1)  # (B C_in, C_out, k, k)
            x = F.conv_transpose2d(x, weight, stride=2, groups=batch)
            return self.blur(x.reshape(batch, -1, *x.shape[2:]))
        x = F.conv2d(x, weight.flatten(0, 1), padding=self.kernel_size // 2, groups=batch)
        return x.reshape(batch, -1, *x.shape[2:])

    def _shared(self, x: Tensor, style: Tensor) -> Tensor:
        """One weight for all samples: the style scales the input channels, the norm divides the output channels."""
        weight = self.weight[0] * self.scale
        x = x * style[:, :, None, None].to(x.dtype)
        if self.up:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = F.conv2d(x, weight, padding=self.kernel_size // 2)
        if self.demodulate:
            with torch.autocast(x.device.type, enabled=False):
                power = F.linear(style.square(), weight.float().square().sum((2, 3)))  # (B, C_out)
            x = x * torch.rsqrt(power + DEMODULATION_EPS)[:, :, None, None].to(x.dtype)
        return x


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, bias, activation. `noise.weight` is part of the state dict and never used."""

    def __init__(self, c_in: int, c_out: int, style_dim: int, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(c_in, c_out, 3, style_dim, up=up)
        self.noise = Unused({"weight": (1,)})
        self.activate = BiasLeaky(c_out)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        return self.activate(self.conv(x, latent))


class Unused(nn.Module):
    """Entries of the official state dict that no computation reads: kept as buffers, so that files stay lossless."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))


def set_impl(module: nn.Module, impl: Impl) -> None:
    """Chooses the form of every modulated convolution below `module`; both give the same result to rounding."""
    if impl not in ("plain", "fast"):
        raise ValueError(f"impl must be 'plain' or 'fast', got {impl!r}")
    for layer in module.modules():
        if isinstance(layer, ModulatedConv2d):
            layer.impl = impl
