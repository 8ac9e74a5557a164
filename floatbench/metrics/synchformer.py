"""Synchformer: by how much are picture and sound of five seconds apart? Its network, under its file's key names.

A Motionformer (divided attention) reads 14 overlapping segments of 16 frames, an audio spectrogram transformer their
sound; each gives a few tokens a segment, and a small transformer puts the offset into one of 21 classes from -2 to 2 s.
Source: Iashin et al. (2024), arXiv 2401.16423; github.com/v-iashin/Synchformer at b66668a1, model 24-01-04T16-39-21.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

SEGMENTS, SEGMENT, STEP = 14, 16, 8
"""How many segments a window has, their frames, and the frames from one to the next."""
CLASSES = 21
BANDS, SPECTRUM = 128, 66
"""Mel bands and columns of a segment's spectrogram."""


@dataclass(frozen=True)
class Sizes:
    """Of the network; the defaults are the published ones.

    Attributes:
        width, heads: of both feature extractors and the last transformer (which has `last_heads`).
        depth, last_depth: blocks of a feature extractor, of the last transformer. side, patch: pixels.
    """

    width: int = 768
    heads: int = 12
    depth: int = 12
    last_heads: int = 8
    last_depth: int = 3
    side: int = 224
    patch: int = 16

    @property
    def places(self) -> int:
        """Tokens of one pair of frames."""
        return (self.side // self.patch) ** 2


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, width) each -> (B, N, width), scaled dot products by head."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class DividedAttention(nn.Module):
    """Attention along time (tokens of one place) or space (tokens of one time); the class token sees all, all see it.

    Args:
        along: `time` or `space`.
    """

    def __init__(self, width: int, heads: int, along: str) -> None:
        super().__init__()
        self.heads, self.along = heads, along
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, times: int) -> torch.Tensor:
        """(B, 1 + times * places, width) -> the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        first = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        rest = F.scaled_dot_product_attention(self._lines(q, times), self._lines(k, times, True),
                                              self._lines(v, times, True))  # fmt: skip
        if self.along == "time":
            rest = rest.transpose(2, 3)
        return self.proj(torch.cat([first, rest.flatten(2, 3)], 2).transpose(1, 2).flatten(2))

    def _lines(self, x: torch.Tensor, times: int, with_class: bool = False) -> torch.Tensor:
        """(B, heads, 1 + N, d) -> (B, heads, lines, tokens of a line, d), the class token before each if asked for."""
        lines = x[:, :, 1:].unflatten(2, (times, -1))
        if self.along == "time":
            lines = lines.transpose(2, 3)
        if not with_class:
            return lines
        first = x[:, :, None, :1].expand(-1, -1, lines.shape[2], -1, -1)
        return torch.cat([first, lines], 3)


class DividedBlock(nn.Module):
    """Time, then space, then MLP, each with its norm before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.attn = DividedAttention(width, heads, "space")
        self.timeattn = DividedAttention(width, heads, "time")
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, x: torch.Tensor, times: int) -> torch.Tensor:
        x = x + self.timeattn(self.norm3(x), times)
        x = x + self.attn(self.norm1(x), times)
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Gather(nn.TransformerEncoderLayer):
    """(B, N, width) -> (B, width): one encoder layer with a class token, whose row is what comes out."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(
            width, heads, 4 * width, dropout=0.0, activation=nn.GELU(), layer_norm_eps=1e-6, batch_first=True,
            norm_first=True,
        )  # fmt: skip
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self(torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1))[:, 0]


class _Patches(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.proj = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Motionformer(nn.Module):
    """(B, 3, 16, side, side) in [-1, 1] -> (B, 8, width), a token for two frames."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, patch = sizes.width, sizes.patch
        self.times = SEGMENT // 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + sizes.places, width))
        self.temp_embed = nn.Parameter(torch.zeros(1, self.times, width))
        self.patch_embed = _Patches(nn.Conv2d(3, width, patch, patch))  # in the file; the authors' code never asks it
        self.patch_embed_3d = _Patches(nn.Conv3d(3, width, (2, patch, patch), (2, patch, patch)))
        self.blocks = nn.ModuleList(DividedBlock(width, sizes.heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.spatial_attn_agg = Gather(width, sizes.heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch = len(x)
        place, time = self.pos_embed[:, 1:], self.temp_embed
        x = self.patch_embed_3d(x) + (time[:, :, None] + place[:, None]).flatten(1, 2)
        x = torch.cat([(self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1), x], 1)
        for block in self.blocks:
            x = block(x, self.times)
        x = self.norm(x[:, 1:]).unflatten(1, (self.times, -1)).flatten(0, 1)
        return self.spatial_attn_agg.gather(x).unflatten(0, (batch, self.times))


class SpectrogramLayer(nn.Module):
    """A pre-norm layer of the audio spectrogram transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        projections = {name: nn.Linear(width, width) for name in ("query", "key", "value")}
        dense = nn.ModuleDict({"dense": nn.Linear(width, width)})
        self.attention = nn.ModuleDict({"attention": nn.ModuleDict(projections), "output": dense})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = nn.ModuleDict({"dense": nn.Linear(4 * width, width)})
        self.layernorm_before, self.layernorm_after = (nn.LayerNorm(width, eps=1e-12) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layernorm_before(x)
        q, k, v = (self.attention.get_submodule(f"attention.{name}")(y) for name in ("query", "key", "value"))
        x = x + self.attention.get_submodule("output.dense")(attention(q, k, v, self.heads))
        return x + self.output["dense"](F.gelu(self.intermediate["dense"](self.layernorm_after(x))))


class SpectrogramEmbeddings(nn.Module):
    """(B, 66, 128) -> (B, 2 + 72, width): patches of 16 x 16, ten apart, behind two learned tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shape = ((BANDS - 16) // 10 + 1, (SPECTRUM - 16) // 10 + 1)
        self.cls_token, self.distillation_token = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 2 + self.shape[0] * self.shape[1], width))
        self.patch_embeddings = nn.ModuleDict({"projection": nn.Conv2d(1, width, 16, 10)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embeddings["projection"](x[:, None].transpose(2, 3)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token, self.distillation_token], 1).expand(len(x), -1, -1)
        return torch.cat([tokens, patches], 1) + self.position_embeddings


class _Layers(nn.Module):
    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layer = layers


class _Spectrogram(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        layers = nn.ModuleList(SpectrogramLayer(sizes.width, sizes.heads) for _ in range(sizes.depth))
        self.embeddings = SpectrogramEmbeddings(sizes.width)
        self.encoder = _Layers(layers)
        self.layernorm = nn.LayerNorm(sizes.width, eps=1e-12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embeddings(x)
        for layer in self.encoder.layer:
            x = layer(x)
        return self.layernorm(x)


class SpectrogramTransformer(nn.Module):
    """(B, 66, 128) normalised log-mel -> (B, 6, width), a token for a tenth of a second."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.ast = _Spectrogram(sizes)
        self.freq_attn_agg = Gather(sizes.width, sizes.heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bands, times = self.ast.embeddings.shape
        tokens = self.ast(x)[:, 2:].unflatten(1, (bands, times)).transpose(1, 2)
        return self.freq_attn_agg.gather(tokens.flatten(0, 1)).unflatten(0, (len(x), times))


class LastBlock(nn.Module):
    """A pre-norm block of the transformer that compares both."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.ModuleDict({name: nn.Linear(width, width) for name in ("key", "query", "value", "proj")})
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln1(x)
        q, k, v = (self.attn[name](y) for name in ("query", "key", "value"))
        x = x + self.attn["proj"](attention(q, k, v, self.heads))
        return x + self.mlp(self.ln2(x))


class _Position(nn.Module):
    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.pos_emb = nn.Parameter(torch.zeros(1, length, width))


class OffsetTransformer(nn.Module):
    """(B, 112, width) of pictures and (B, 84, width) of sound -> (B, 21) logits of the offset."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        length = 2 + SEGMENTS * (SEGMENT // 2 + SpectrogramEmbeddings(1).shape[1])
        self.vis_in_lnorm, self.aud_in_lnorm, self.ln_f = (nn.LayerNorm(width) for _ in range(3))
        self.OFF_tok, self.MOD_tok = (nn.Parameter(torch.zeros(1, 1, width)) for _ in range(2))
        self.pos_emb_cfg = _Position(length, width)
        self.blocks = nn.Sequential(*(LastBlock(width, sizes.last_heads) for _ in range(sizes.last_depth)))
        self.off_head = nn.Linear(width, CLASSES)

    def forward(self, pictures: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        tokens = (token.expand(len(pictures), -1, -1) for token in (self.OFF_tok, self.MOD_tok))
        first, between = tokens
        x = torch.cat([first, self.vis_in_lnorm(pictures), between, self.aud_in_lnorm(sound)], 1)
        return self.off_head(self.ln_f(self.blocks(x + self.pos_emb_cfg.pos_emb))[:, 0])


class Synchformer(nn.Module):
    """(14, 3, 16, side, side) segments in [-1, 1] and (14, 66, 128) spectrograms of one window -> (21,) logits."""

    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.vfeat_extractor = Motionformer(sizes)
        self.afeat_extractor = SpectrogramTransformer(sizes)
        self.vproj, self.aproj = (nn.Linear(sizes.width, sizes.width) for _ in range(2))
        self.transformer = OffsetTransformer(sizes)

    def forward(self, pictures: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([self.vfeat_extractor(segment[None]) for segment in pictures])  # one by one: memory
        seen, heard = self.vproj(seen), self.aproj(self.afeat_extractor(sound))
        return self.transformer(seen.flatten(0, 1)[None], heard.flatten(0, 1)[None])[0]
