"""The two large video transformers whose features replace I3D's: VideoMAE V2 and V-JEPA, under their files' key names.

Both cut 16 frames of 224 x 224 into tubes of two frames, add fixed positions and run pre-norm blocks. VideoMAE's
attention has no bias on its keys; V-JEPA's file keeps its positions, and an attentive probe pools its tokens.
Source: Wang et al. (2023), arXiv 2303.16727; Bardes et al. (2024), arXiv 2404.08471; Luo et al. (2025),
arXiv 2410.05203.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FRAMES = 16
SIDE = 224
TUBE = 2
EPSILON = 1e-6


class VideoMLP(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    """(B, N, width) -> (B, N, width); `key_bias=False` leaves queries and values their biases only."""

    def __init__(self, width: int, heads: int, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=key_bias)
        if not key_bias:
            self.q_bias = nn.Parameter(torch.zeros(width))
            self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = self.qkv.bias
        if bias is None:
            bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        q, k, v = F.linear(x, self.qkv.weight, bias).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm block of self-attention and MLP."""

    def __init__(self, width: int, heads: int, hidden: int, key_bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = SelfAttention(width, heads, key_bias)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = VideoMLP(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TubeEmbedding(nn.Module):
    """(B, 3, T, H, W) -> (B, N, width), one token for a square of two frames, time first, then rows."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        size = (TUBE, patch, patch)
        self.proj = nn.Conv3d(3, width, size, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class VideoMAE(nn.Module):
    """(B, 3, 16, 224, 224) in [0, 1] -> (B, width): the normalised mean of the tokens, before the classes.

    Defaults: ViT-g/14 fine-tuned on Something-Something V2, whose 174 classes stay in the file and are not computed.
    """

    def __init__(
        self, width: int = 1408, depth: int = 40, heads: int = 16, hidden: int = 6144, patch: int = 14,
        classes: int = 174,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_embed = TubeEmbedding(width, patch)
        positions = sinusoids(FRAMES // TUBE * (SIDE // patch) ** 2, width)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, key_bias=False) for _ in range(depth))
        self.fc_norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.fc_norm(x.mean(1))


def sinusoids(length: int, width: int) -> torch.Tensor:
    """(1, length, width) float32: sines in even, cosines in odd columns, wavelengths from 2 pi to 10000 * 2 pi."""
    column = np.arange(width)
    angles = np.arange(length)[:, None] / 10000.0 ** (2 * (column // 2) / width)
    return torch.from_numpy(np.where(column % 2 == 0, np.sin(angles), np.cos(angles))).float()[None]


class VJEPA(nn.Module):
    """(B, 3, 16, 224, 224), ImageNet-normalised -> (B, N, width) tokens; defaults: ViT-H/16."""

    def __init__(
        self, width: int = 1280, depth: int = 32, heads: int = 16, hidden: int = 5120, patch: int = 16
    ) -> None:
        super().__init__()
        self.patch_embed = TubeEmbedding(width, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, FRAMES // TUBE * (SIDE // patch) ** 2, width))
        self.blocks = nn.ModuleList(Block(width, heads, hidden, key_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed(x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class PoolingAttention(nn.Module):
    """One query to all tokens. The file has an output projection that the authors' code never applies."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, query: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        q = self.q(query).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _PoolingBlock(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.xattn = PoolingAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = VideoMLP(width, hidden)

    def forward(self, query: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        query = query + self.xattn(query, self.norm1(x))
        return query + self.mlp(self.norm2(query))


class AttentivePooler(nn.Module):
    """(B, N, width) -> (B, width): what a learned query makes of all tokens."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.cross_attention_block = _PoolingBlock(width, heads, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cross_attention_block(self.query_tokens.expand(len(x), -1, -1), x)[:, 0]


class AttentiveProbe(nn.Module):
    """(B, N, width) tokens -> (B, width) pooled; the classes stay in the file and are not computed."""

    def __init__(self, width: int = 1280, heads: int = 16, hidden: int = 5120, classes: int = 174) -> None:
        super().__init__()
        self.pooler = AttentivePooler(width, heads, hidden)
        self.linear = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pooler(x)


class ProbedVJEPA(nn.Module):
    """(B, 3, 16, 224, 224), ImageNet-normalised -> (B, width): V-JEPA's tokens, pooled by the probe."""

    def __init__(self, encoder: VJEPA | None = None, probe: AttentiveProbe | None = None) -> None:
        super().__init__()
        self.encoder = encoder or VJEPA()
        self.probe = probe or AttentiveProbe()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.probe(self.encoder(x))
