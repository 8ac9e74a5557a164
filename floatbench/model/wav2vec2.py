"""wav2vec 2.0 (Baevski et al., NeurIPS 2020), forward only, in its two published kinds.

`BASE`: group norm on the first convolution, norms after each layer. `LARGE`: layer norm on every convolution, norms
before each layer and a final one. Parameter names are those of the Hugging Face checkpoints, with the weight norm
spelled `weight_g` / `weight_v`. The network is frozen: no dropout, layer drop or masking. N samples, T frames, H width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
MIN_SAMPLES = 400
CHUNK_FRAMES = 500
"""Conv frames computed at once (10 s of sound), so that the first layers do not need gigabytes for long sound."""


@dataclass(frozen=True)
class Wav2Vec2Config:
    """Sizes of one network; `kind` chooses the norms."""

    kind: Literal["base", "large"]
    width: int
    layers: int
    heads: int
    hidden: int
    conv_dim: int = 512
    positions: int = 128
    position_groups: int = 16


BASE = Wav2Vec2Config("base", width=768, layers=12, heads=12, hidden=3072)
LARGE = Wav2Vec2Config("large", width=1024, layers=24, heads=16, hidden=4096)


class ConvBlock(nn.Module):
    """One convolution of the feature extractor with its norm, if any, and GELU."""

    def __init__(self, c_in: int, config: Wav2Vec2Config, index: int) -> None:
        super().__init__()
        large = config.kind == "large"
        self.conv = nn.Conv1d(c_in, config.conv_dim, KERNELS[index], STRIDES[index], bias=large)
        self.norm_kind = "layer" if large else ("group" if index == 0 else "none")
        if large:
            self.layer_norm: nn.Module | None = nn.LayerNorm(config.conv_dim)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(config.conv_dim, config.conv_dim)
        else:
            self.layer_norm = None

    def forward(self, x: Tensor, statistics: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, C, N) -> (B, C', N'). `statistics`: mean and variance (B, C', 1) of the whole sound (group norm)."""
        x = self.conv(x)
        norm = self.layer_norm
        if isinstance(norm, nn.LayerNorm):
            x = norm(x.transpose(1, 2)).transpose(1, 2)
        elif isinstance(norm, nn.GroupNorm):
            if statistics is None:
                x = norm(x)
            else:
                mean, variance = statistics
                x = (x - mean) * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
        return F.gelu(x)


class FeatureExtractor(nn.Module):
    """Waveform -> 512-channel features at 50 Hz."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        widths = [1] + [config.conv_dim] * len(KERNELS)
        self.conv_layers = nn.ModuleList(ConvBlock(widths[i], config, i) for i in range(len(KERNELS)))

    def forward(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, T50, 512)."""
        frames = conv_frames(wave.shape[1])
        if frames <= CHUNK_FRAMES:
            return self._run(wave, None)
        statistics = self._statistics(wave) if self.conv_layers[0].norm_kind == "group" else None
        parts = []
        for first in range(0, frames, CHUNK_FRAMES):
            count = min(CHUNK_FRAMES, frames - first)
            parts.append(self._run(wave[:, first * 320 : (first + count - 1) * 320 + MIN_SAMPLES], statistics))
        return torch.cat(parts, dim=1)

    def _run(self, wave: Tensor, statistics: tuple[Tensor, Tensor] | None) -> Tensor:
        x = self.conv_layers[0](wave[:, None], statistics)
        for layer in list(self.conv_layers)[1:]:
            x = layer(x)
        return x.transpose(1, 2)

    def _statistics(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over time of the first convolution, chunk by chunk, accumulated in float64."""
        first_layer = self.conv_layers[0]
        assert isinstance(first_layer, ConvBlock)
        conv = first_layer.conv
        n_out = (wave.shape[1] - KERNELS[0]) // STRIDES[0] + 1
        step = CHUNK_FRAMES * 64  # the rate of the first convolution is 64 times the last one's
        total = torch.zeros((), dtype=torch.float64, device=wave.device)
        square = torch.zeros((), dtype=torch.float64, device=wave.device)
        for first in range(0, n_out, step):
            count = min(step, n_out - first)
            piece = wave[:, None, first * STRIDES[0] : (first + count - 1) * STRIDES[0] + KERNELS[0]]
            y = conv(piece).double()
            total = total + y.sum(-1, keepdim=True)
            square = square + y.square().sum(-1, keepdim=True)
        mean = total / n_out
        return mean.to(wave.dtype), (square / n_out - mean.square()).to(wave.dtype)


def conv_frames(n_samples: int) -> int:
    """Frames the convolutions make of n samples (no padding): about n / 320."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n_samples = (n_samples - kernel) // stride + 1
    return max(n_samples, 0)


class FeatureProjection(nn.Module):
    """Norm and linear map to the transformer's width."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(config.conv_dim)
        self.projection = nn.Linear(config.conv_dim, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(self.layer_norm(x))


class WeightNormConv(nn.Module):
    """Grouped convolution over time with weight g v / |v|, the norm taken per tap (Salimans & Kingma, 2016)."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        shape = (config.width, config.width // config.position_groups, config.positions)
        self.weight_v = nn.Parameter(torch.randn(shape) * 0.02)
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(config.width))
        self.groups = config.position_groups

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, T) -> (B, H, T): an even kernel gives T + 1 outputs, of which the last is dropped."""
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        taps = weight.shape[-1]
        x = F.conv1d(x, weight, self.bias, padding=taps // 2, groups=self.groups)
        return x[..., : -1 if taps % 2 == 0 else None]


class PositionalConv(nn.Module):
    """Relative positions by a wide convolution and GELU, (B, T, H) -> (B, T, H)."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.conv = WeightNormConv(config)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)


class SelfAttention(nn.Module):
    """Full attention over time, memory linear in T."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.heads = config.heads
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.q_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (f(x).view(batch, length, self.heads, -1).transpose(1, 2) for f in self._maps())
        x = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(x.transpose(1, 2).reshape(batch, length, width))

    def _maps(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        return self.q_proj, self.k_proj, self.v_proj


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.intermediate_dense = nn.Linear(config.width, config.hidden)
        self.output_dense = nn.Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class Layer(nn.Module):
    """One transformer layer; norms after (`base`) or before (`large`) attention and feed-forward."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.before = config.kind == "large"
        self.attention = SelfAttention(config)
        self.layer_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = x + self.attention(self.layer_norm(x))
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.feed_forward(x))


class TransformerEncoder(nn.Module):
    """Positions, norms and layers."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.before = config.kind == "large"
        self.pos_conv_embed = PositionalConv(config)
        self.layer_norm = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, visit: Callable[[int, Tensor], None] | None = None) -> Tensor:
        """(B, T, H) -> last hidden state. `visit(i, state)` sees the state after layer i = 0 ... layers - 1."""
        x = x + self.pos_conv_embed(x)
        if not self.before:
            x = self.layer_norm(x)
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if self.before and index == len(self.layers) - 1:
                x = self.layer_norm(x)
            if visit is not None:
                visit(index, x)
        return x


class Wav2Vec2(nn.Module):
    """The whole network."""

    masked_spec_embed: Tensor

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("masked_spec_embed", torch.zeros(config.width))  # for pre-training only
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = FeatureProjection(config)
        self.encoder = TransformerEncoder(config)

    def forward(
        self, wave: Tensor, n_frames: int | None = None, visit: Callable[[int, Tensor], None] | None = None
    ) -> Tensor:
        """Normalised 16 kHz waveform (B, N) -> last hidden state (B, T, H).

        Args:
            wave: zero mean and unit variance, at least 400 samples.
            n_frames: T; the 50 Hz convolution features are first interpolated linearly (ends aligned) to T frames.
                None leaves them at 50 Hz.
            visit: called with (layer index, hidden state (B, T, H)) after each layer.

        Raises:
            ValueError: too few samples.
        """
        if wave.ndim != 2 or wave.shape[1] < MIN_SAMPLES:
            raise ValueError(f"sound must be (B, N) with N >= {MIN_SAMPLES} samples, got {tuple(wave.shape)}")
        features = self.feature_extractor(wave)
        if n_frames is not None:
            features = resample_features(features, n_frames)
        return self.encoder(self.feature_projection(features), visit)

    def hidden_states(self, wave: Tensor, n_frames: int | None = None) -> list[Tensor]:
        """The states after each layer (without the embedding), layers x (B, T, H)."""
        states: list[Tensor] = []
        self(wave, n_frames, lambda _, state: states.append(state))
        return states


def resample_features(features: Tensor, n_frames: int) -> Tensor:
    """(B, T, C) -> (B, n_frames, C) by linear interpolation with both ends aligned."""
    moved = F.interpolate(features.transpose(1, 2), size=n_frames, mode="linear", align_corners=True)
    return moved.transpose(1, 2)
