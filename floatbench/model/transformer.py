"""The flow-matching transformer (FLOAT section 3.2): motion latents and frame-wise conditions -> a vector field.

Module names are the keys of the official state dict. B batch, L window (50), L' previous frames (10), D motion latent,
H width, A audio features, E emotion classes, P pose numbers.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Conditioning = Literal["adaln", "cross", "cross_only"]
EmotionCondition = Literal["speech", "none", "image"]
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
    """v(t, x | audio, source motion, emotion, previous frames).

    Args:
        latent_dim: D. audio_dim: A. emotion_dim: E. width: H. heads, depth, mlp_ratio: of the blocks.
        window, previous: L and L'. reach: frames a token sees to either side.
        conditioning: `adaln` (the paper), `cross` or `cross_only` (its ablation).
        emotion: one vector per clip (`speech`), one per frame (`image`) or none.
        pose: also take 6 pose numbers per frame.
    """

    pos_embed: Tensor
    alignment_mask: Tensor

    def __init__(
        self,
        latent_dim: int = 512,
        audio_dim: int = 512,
        emotion_dim: int = 7,
        width: int = 1024,
        heads: int = 8,
        depth: int = 8,
        mlp_ratio: float = 4.0,
        window: int = 50,
        previous: int = 10,
        reach: int = 2,
        conditioning: Conditioning = "adaln",
        emotion: EmotionCondition = "speech",
        pose: bool = False,
    ) -> None:
        super().__init__()
        self.latent_dim, self.audio_dim, self.emotion_dim, self.width = latent_dim, audio_dim, emotion_dim, width
        self.window, self.previous, self.reach = window, previous, reach
        self.conditioning, self.emotion, self.pose = conditioning, emotion, pose
        length, hidden = window + previous, int(width * mlp_ratio)
        inputs = latent_dim + audio_dim + (emotion_dim if emotion != "none" else 0) + (POSE_DIM if pose else 0)
        self.register_buffer("pos_embed", position_table(length, width))
        self.register_buffer("alignment_mask", blocked_mask(length, reach))
        self.x_embedder = MotionEmbedder(latent_dim, width)
        self.t_embedder = TimeEmbedder(width)
        self.c_embedder = nn.Linear(inputs, width)
        if conditioning == "adaln":
            blocks: list[nn.Module] = [AdaLNBlock(width, heads, hidden) for _ in range(depth)]
            self.decoder: AdaLNHead | PlainHead = AdaLNHead(width, latent_dim)
        else:
            blocks = [CrossBlock(width, heads, hidden, conditioning == "cross_only") for _ in range(depth)]
            self.decoder = PlainHead(width, latent_dim)
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

    def columns(
        self,
        wa: Tensor,
        wr: Tensor,
        we: Tensor | None,
        prev_wa: Tensor | None = None,
        pose: Tensor | None = None,
        prev_pose: Tensor | None = None,
        prev_we: Tensor | None = None,
    ) -> Tensor:
        """The conditions of L' + L frames side by side, (B, L' + L, inputs). None means zeros.

        Order of the columns: source motion, audio, emotion, pose. Shapes are those of `forward`.
        """
        batch = wa.shape[0]
        frames = self._with_previous(wa, prev_wa, "wa", (batch, self.window, self.audio_dim))
        columns = [self._checked(wr, "wr", (batch, self.latent_dim))[:, None].expand(-1, frames.shape[1], -1), frames]
        if self.emotion == "speech":
            we = self._zeros(we, frames, 1, self.emotion_dim)
            columns.append(self._checked(we, "we", (batch, 1, self.emotion_dim)).expand(-1, frames.shape[1], -1))
        elif self.emotion == "image":
            we = self._zeros(we, frames, self.window, self.emotion_dim)
            columns.append(self._with_previous(we, prev_we, "we", (batch, self.window, self.emotion_dim)))
        if self.pose:
            pose = self._zeros(pose, frames, self.window, POSE_DIM)
            columns.append(self._with_previous(pose, prev_pose, "pose", (batch, self.window, POSE_DIM)))
        return torch.cat(columns, dim=-1)

    def conditions(
        self,
        wa: Tensor,
        wr: Tensor,
        we: Tensor | None,
        prev_wa: Tensor | None = None,
        pose: Tensor | None = None,
        prev_pose: Tensor | None = None,
        prev_we: Tensor | None = None,
    ) -> Tensor:
        """The embedded conditions of L' + L frames before the time is added, (B, L' + L, H); see `columns`."""
        return self.c_embedder(self.columns(wa, wr, we, prev_wa, pose, prev_pose, prev_we))

    def forward(
        self,
        t: Tensor,
        x: Tensor,
        wa: Tensor,
        wr: Tensor,
        we: Tensor | None = None,
        prev_x: Tensor | None = None,
        prev_wa: Tensor | None = None,
        *,
        pose: Tensor | None = None,
        prev_pose: Tensor | None = None,
        prev_we: Tensor | None = None,
    ) -> Tensor:
        """The network output for previous and current frames, (B, L' + L, D); `FloatConfig.prediction` names it.

        Args:
            t: (B,) or (1,) or () flow time in [0, 1], or the diffusion step.
            x: (B, L, D) noisy motion latents. wa: (B, L, A) audio. wr: (B, D) source motion.
            we: (B, 1, E), or (B, L, E) for the image-emotion ablation; None without emotion input.
            prev_x: (B, L', D) clean previous latents, None = zeros. prev_wa: (B, L', A), None = zeros.
            pose, prev_pose, prev_we: (B, L, 6), (B, L', 6), (B, L', E) of the ablations.
        """
        c = self.conditions(wa, wr, we, prev_wa, pose, prev_pose, prev_we)
        return self.evaluate(t, x, c, prev_x)

    def evaluate(self, t: Tensor, x: Tensor, conditions: Tensor, prev_x: Tensor | None = None) -> Tensor:
        """As `forward`, with the result of `conditions` given, (B, L' + L, H)."""
        tokens = self._with_previous(x, prev_x, "x", (conditions.shape[0], self.window, self.latent_dim))
        tokens = self.x_embedder(tokens) + self.pos_embed
        c = conditions + self.t_embedder(t.reshape(-1))[:, None]
        allowed = ~self.alignment_mask
        for block in self.blocks:
            tokens = block(tokens, c, allowed)
        return self.decoder(tokens, c)

    def _with_previous(self, current: Tensor, previous: Tensor | None, name: str, shape: tuple[int, ...]) -> Tensor:
        self._checked(current, name, shape)
        expected = (shape[0], self.previous, shape[2])
        if previous is None:
            previous = current.new_zeros(expected)
        return torch.cat((self._checked(previous, f"prev_{name}", expected), current), dim=1)

    @staticmethod
    def _zeros(value: Tensor | None, like: Tensor, frames: int, width: int) -> Tensor:
        return like.new_zeros(like.shape[0], frames, width) if value is None else value

    @staticmethod
    def _checked(value: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        if tuple(value.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
        return value
