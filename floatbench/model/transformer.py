"""The flow-matching transformer (FLOAT section 3.2): motion latents and frame-wise conditions -> a vector field.

Module names are the keys of the official state dict. B batch, L window (50), L' previous frames (10), D motion latent,
H width, A audio features, E emotion classes, P pose numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.model.conditions import Conditions
from floatbench.model.config import FLOAT_512, FloatConfig

NORM_EPS = 1e-6
FREQUENCIES = 128
POSE_DIM = 6


def time_features(t: Tensor) -> Tensor:
    """(B,) -> (B, 256): cosines then sines of t times exp(-ln(10,000) k / 128); t is not scaled."""
    k = torch.arange(FREQUENCIES, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(10_000.0) * k / FREQUENCIES)
    return torch.cat((torch.cos(angles), torch.sin(angles)), dim=-1)


def position_table(length: int, width: int) -> Tensor:
    """(1, length, width) sinusoids: angle p / 10,000^(2 floor(j/2) / width), sine at even j, cosine at odd j."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    j = torch.arange(width, dtype=torch.float64)[None]
    angle = position / torch.pow(torch.tensor(10_000.0, dtype=torch.float64), 2 * torch.floor(j / 2) / width)
    return torch.where(j.long() % 2 == 0, torch.sin(angle), torch.cos(angle))[None].float()


def blocked_mask(length: int, reach: int) -> Tensor:
    """(length, length) bool, True where frame i must not look at frame j: |i - j| > reach."""
    frame = torch.arange(length)
    return (frame[:, None] - frame[None]).abs() > reach


class Attention(nn.Module):
    """Masked multi-head self-attention with packed q, k, v."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """x (B, N, H), allowed (N, N) bool -> (B, N, H)."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.proj(x.transpose(1, 2).reshape(batch, length, width))


class CrossAttention(nn.Module):
    """Masked multi-head attention from the motion tokens to the condition tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, c: Tensor, allowed: Tensor) -> Tensor:
        """x (B, N, H), c (B, N, H), allowed (N, N) bool -> (B, N, H)."""
        batch, length, width = x.shape
        q = self.q(x).view(batch, length, self.heads, -1).transpose(1, 2)
        k, v = self.kv(c).view(batch, length, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
        return self.proj(x.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    """Linear, tanh-approximated GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without affine, then x (1 + scale) + shift, frame by frame."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


class AdaLNBlock(nn.Module):
    """Attention and MLP with inputs shifted and scaled, and outputs gated, by the condition of the frame."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, hidden)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor, allowed: Tensor) -> Tensor:
        return self.modulated(x, self.adaLN_modulation(c), allowed)

    def modulated(self, x: Tensor, modulation: Tensor, allowed: Tensor) -> Tensor:
        """The block with its modulation (B, N, 6 H) given: shift, scale, gate of the attention, then of the MLP."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = modulation.chunk(6, dim=-1)
        x = x + gate_a * self.attn(modulate(x, shift_a, scale_a), allowed)
        return x + gate_m * self.mlp(modulate(x, shift_m, scale_m))


class CrossBlock(nn.Module):
    """The cross-attention ablation: self-attention (unless `cross_only`), cross-attention, MLP, with affine norms."""

    def __init__(self, width: int, heads: int, hidden: int, cross_only: bool) -> None:
        super().__init__()
        self.norm1 = None if cross_only else nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = None if cross_only else Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.cross = CrossAttention(width, heads)
        self.norm3 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width, hidden)

    def forward(self, x: Tensor, c: Tensor, allowed: Tensor) -> Tensor:
        if self.attn is not None and self.norm1 is not None:
            x = x + self.attn(self.norm1(x), allowed)
        x = x + self.cross(self.norm2(x), c, allowed)
        return x + self.mlp(self.norm3(x))


class MotionEmbedder(nn.Module):
    """Motion latent -> token."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(latent_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class TimeEmbedder(nn.Module):
    """Flow time (B,) -> (B, H)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(time_features(t).to(next(self.mlp.parameters()).dtype))


class AdaLNHead(nn.Module):
    """Modulated norm, then tokens -> vector field."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.linear = nn.Linear(width, latent_dim)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.modulated(x, self.adaLN_modulation(c))

    def modulated(self, x: Tensor, modulation: Tensor) -> Tensor:
        """The head with its modulation (B, N, 2 H) given, shift first."""
        shift, scale = modulation.chunk(2, dim=-1)
        return self.linear(modulate(x, shift, scale))


class PlainHead(nn.Module):
    """Affine norm, then tokens -> vector field (cross-attention ablations)."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.linear = nn.Linear(width, latent_dim)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.linear(self.norm(x))


class FlowMatchingTransformer(nn.Module):
    """v(t, x | conditions).

    Args:
        config: D = dim_w, A = dim_a, E = dim_e, H = dim_h and the shape of the blocks; L = window, L' = previous;
            attention_window, the frames that a token sees to either side; conditioning, emotion_condition and
            pose_condition, the variants of the ablations.
    """

    pos_embed: Tensor
    alignment_mask: Tensor

    def __init__(self, config: FloatConfig = FLOAT_512) -> None:
        super().__init__()
        c, width = config, config.dim_h
        self.config = config
        length, hidden = c.window + c.previous, int(width * c.mlp_ratio)
        extra = (c.dim_e if c.emotion_condition != "none" else 0) + (POSE_DIM if c.pose_condition else 0)
        self.register_buffer("pos_embed", position_table(length, width))
        self.register_buffer("alignment_mask", blocked_mask(length, c.attention_window))
        self.x_embedder = MotionEmbedder(c.dim_w, width)
        self.t_embedder = TimeEmbedder(width)
        self.c_embedder = nn.Linear(c.dim_w + c.dim_a + extra, width)
        if c.conditioning == "adaln":
            blocks: list[nn.Module] = [AdaLNBlock(width, c.heads, hidden) for _ in range(c.depth)]
            self.decoder: AdaLNHead | PlainHead = AdaLNHead(width, c.dim_w)
        else:
            cross_only = c.conditioning == "cross_only"
            blocks = [CrossBlock(width, c.heads, hidden, cross_only) for _ in range(c.depth)]
            self.decoder = PlainHead(width, c.dim_w)
        self.blocks = nn.ModuleList(blocks)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier for linear layers, N(0, 0.02) for the time MLP, zero for modulations and output: v starts at 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        for layer in self.t_embedder.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        zeroed = [m.adaLN_modulation for m in self.modules() if isinstance(m, AdaLNBlock | AdaLNHead)]
        for module in (*zeroed, self.decoder.linear):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def columns(self, c: Conditions) -> Tensor:
        """The conditions of L' + L frames side by side, (B, L' + L, inputs): source motion, audio, emotion, pose."""
        sizes, batch = self.config, c.wa.shape[0]
        audio = self._with_previous(c.wa, c.prev_wa, "wa", batch, sizes.dim_a)
        length = audio.shape[1]
        columns = [_checked(c.wr, "wr", (batch, sizes.dim_w))[:, None].expand(-1, length, -1), audio]
        if sizes.emotion_condition != "none":
            we = audio.new_zeros(batch, 1, sizes.dim_e) if c.we is None else c.we
            if sizes.emotion_condition == "speech":
                we = _checked(we, "we", (batch, 1, sizes.dim_e)).expand(-1, length, -1)
            else:
                we = we.expand(-1, sizes.window, -1) if we.shape[1] == 1 else we
                we = self._with_previous(we, c.prev_we, "we", batch, sizes.dim_e)
            columns.append(we)
        if sizes.pose_condition:
            pose = audio.new_zeros(batch, sizes.window, POSE_DIM) if c.pose is None else c.pose
            columns.append(self._with_previous(pose, c.prev_pose, "pose", batch, POSE_DIM))
        return torch.cat(columns, dim=-1)

    def embed(self, conditions: Conditions) -> Tensor:
        """The embedded conditions of L' + L frames before the time is added, (B, L' + L, H)."""
        return self.c_embedder(self.columns(conditions))

    def forward(self, t: Tensor, x: Tensor, conditions: Conditions) -> Tensor:
        """The network output for previous and current frames, (B, L' + L, D); `FloatConfig.prediction` names it.

        Args:
            t: (B,) or (1,) or () flow time in [0, 1], or the diffusion step.
            x: (B, L, D) noisy motion latents.

        Raises:
            ValueError: a shape that does not fit, by name.
        """
        return self.evaluate(t, x, self.embed(conditions), conditions.prev_x)

    def evaluate(self, t: Tensor, x: Tensor, embedded: Tensor, prev_x: Tensor | None = None) -> Tensor:
        """As `forward`, with the result of `embed` given, (B, L' + L, H), and the clean previous motion (B, L', D)."""
        tokens = self._with_previous(x, prev_x, "x", embedded.shape[0], self.config.dim_w)
        tokens = self.x_embedder(tokens) + self.pos_embed
        c = embedded + self.t_embedder(t.reshape(-1))[:, None]
        allowed = ~self.alignment_mask
        for block in self.blocks:
            tokens = block(tokens, c, allowed)
        return self.decoder(tokens, c)

    def _with_previous(self, current: Tensor, previous: Tensor | None, name: str, batch: int, width: int) -> Tensor:
        """Previous (None: zeros) and current frames one after the other, (B, L' + L, width)."""
        current = _checked(current, name, (batch, self.config.window, width))
        expected = (batch, self.config.previous, width)
        previous = current.new_zeros(expected) if previous is None else _checked(previous, f"prev_{name}", expected)
        return torch.cat((previous, current), dim=1)


def _checked(value: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
    return value
