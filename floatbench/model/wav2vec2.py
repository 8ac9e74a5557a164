"""wav2vec 2.0 (Baevski et al., NeurIPS 2020), forward only, in its two published kinds.

The layers are those of `transformers`; two things are ours. The walk through them: sound is convolved in pieces and
each layer's state is handed on when it appears, because the convolutions of 60 s in one piece take 0.95 GB, and the
whole network in pieces 0.3 GB. And the positional convolution, because checkpoints spell its weight norm `weight_g` and
`weight_v`, as published, where transformers' module computes the same bits under other names. The network is frozen: no
dropout, layer drop or masking. N samples, T frames, H width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import Wav2Vec2Config

KERNELS = (10, 3, 3, 3, 3, 2, 2)
STRIDES = (5, 2, 2, 2, 2, 2, 2)
MIN_SAMPLES = 400
CHUNK_FRAMES = 500
"""Conv frames computed at once (10 s of sound), so that the first layers do not need gigabytes for long sound."""


@dataclass(frozen=True)
class SpeechSizes:
    """Sizes of one network.

    Attributes:
        kind: `base`: group norm on the first convolution, norms after each layer. `large`: layer norm on every
            convolution, norms before each layer and a final one.
        width: H. layers, heads, hidden: of the transformer. conv_dim: channels of the convolutions.
        positions, position_groups: taps and groups of the positional convolution.
    """

    kind: Literal["base", "large"]
    width: int
    layers: int
    heads: int
    hidden: int
    conv_dim: int = 512
    positions: int = 128
    position_groups: int = 16

    def published(self) -> Wav2Vec2Config:
        """The configuration of `transformers`, without anything random."""
        from transformers import Wav2Vec2Config

        large = self.kind == "large"
        return Wav2Vec2Config(
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.hidden,
            conv_dim=(self.conv_dim,) * len(KERNELS),
            conv_kernel=KERNELS,
            conv_stride=STRIDES,
            conv_bias=large,
            feat_extract_norm="layer" if large else "group",
            do_stable_layer_norm=large,
            num_conv_pos_embeddings=self.positions,
            num_conv_pos_embedding_groups=self.position_groups,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            activation_dropout=0.0,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            apply_spec_augment=False,
            attn_implementation="sdpa",  # pyright: ignore[reportCallIssue]
        )


BASE = SpeechSizes("base", width=768, layers=12, heads=12, hidden=3072)
LARGE = SpeechSizes("large", width=1024, layers=24, heads=16, hidden=4096)


def modules() -> Any:
    """The module of `transformers` with the layers. Importing it takes 5 s: only networks that have them do."""
    from transformers.models.wav2vec2 import modeling_wav2vec2

    return modeling_wav2vec2


class FeatureExtractor(nn.Module):
    """Waveform -> 512-channel features at 50 Hz."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.conv_layers = modules().Wav2Vec2FeatureEncoder(config).conv_layers
        self.over_time = config.feat_extract_norm == "group"

    def forward(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, T50, 512)."""
        frames = conv_frames(wave.shape[1])
        if frames <= CHUNK_FRAMES:
            return self._run(wave, None)
        statistics = self._statistics(wave) if self.over_time else None
        parts = []
        for first in range(0, frames, CHUNK_FRAMES):
            count = min(CHUNK_FRAMES, frames - first)
            parts.append(self._run(wave[:, first * 320 : (first + count - 1) * 320 + MIN_SAMPLES], statistics))
        return torch.cat(parts, dim=1)

    def _run(self, wave: Tensor, statistics: tuple[Tensor, Tensor] | None) -> Tensor:
        first, *others = self.conv_layers
        x = first(wave[:, None]) if statistics is None else _normalised(first, wave[:, None], *statistics)
        for layer in others:
            x = layer(x)
        return x.transpose(1, 2)

    def _statistics(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance over time of the first convolution, chunk by chunk, accumulated in float64."""
        conv: Any = self.conv_layers[0].conv
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


def _normalised(layer: Any, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The convolution with group norm whose mean and variance (B, C', 1) are those of the whole sound."""
    norm = layer.layer_norm
    x = (layer.conv(x) - mean) * torch.rsqrt(variance + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
    return layer.activation(x)


def conv_frames(n_samples: int) -> int:
    """Frames the convolutions make of n samples (no padding): about n / 320."""
    for kernel, stride in zip(KERNELS, STRIDES, strict=True):
        n_samples = (n_samples - kernel) // stride + 1
    return max(n_samples, 0)


class WeightNormConv(nn.Module):
    """Grouped convolution over time with weight g v / |v|, the norm taken per tap (Salimans & Kingma, 2016)."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        width, groups = config.hidden_size, config.num_conv_pos_embedding_groups
        shape = (width, width // groups, config.num_conv_pos_embeddings)
        self.weight_v = nn.Parameter(torch.randn(shape) * 0.02)
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(width))
        self.groups = groups

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


class TransformerEncoder(nn.Module):
    """Positions, norms and layers; full attention over time, memory linear in T."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.before = config.do_stable_layer_norm
        layer = modules().Wav2Vec2EncoderLayerStableLayerNorm if self.before else modules().Wav2Vec2EncoderLayer
        self.pos_conv_embed = PositionalConv(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(layer(config) for _ in range(config.num_hidden_layers))

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

    def __init__(self, sizes: SpeechSizes) -> None:
        super().__init__()
        self.sizes, config = sizes, sizes.published()
        self.register_buffer("masked_spec_embed", torch.zeros(sizes.width))  # for pre-training only
        self.feature_extractor = FeatureExtractor(config)
        self.feature_projection = modules().Wav2Vec2FeatureProjection(config)
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
        return self.encoder(self.feature_projection(features)[0], visit)

    def hidden_states(self, wave: Tensor, n_frames: int | None = None) -> list[Tensor]:
        """The states after each layer (without the embedding), layers x (B, T, H)."""
        states: list[Tensor] = []
        self(wave, n_frames, lambda _, state: states.append(state))
        return states


def resample_features(features: Tensor, n_frames: int) -> Tensor:
    """(B, T, C) -> (B, n_frames, C) by linear interpolation with both ends aligned."""
    moved = F.interpolate(features.transpose(1, 2), size=n_frames, mode="linear", align_corners=True)
    return moved.transpose(1, 2)
