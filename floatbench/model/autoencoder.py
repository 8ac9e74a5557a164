"""The motion auto-encoder: a picture becomes an identity latent and M motion coefficients, and a latent a picture.

It is LIA's (Wang et al., ICLR 2022) at 512 px as FLOAT (Ki et al., ICCV 2025, section 3.1) uses it. Module names are
the keys of the official state dict. B batch, D latent, M directions, R resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.model.anchor import Anchor, doubled, moved_picture, single
from floatbench.model.config import POSES, FloatConfig, GridKind, Warp
from floatbench.model.face_reader import FaceReader
from floatbench.model.layers import (
    ConvLayer,
    EqualConv2d,
    EqualLinear,
    ModulatedConv2d,
    ResidualBlock,
    StyledConv,
    Unused,
    Upsample,
)
from floatbench.model.lips import lips
from floatbench.model.painter import FacePainter

FLOW_LEVEL = 64
"""The level whose flow the decoder returns: 64 x 64."""
SHARP_LEVEL = 64
"""From this level on maps are sampled as `FloatConfig.warp` says; what is smaller is smooth."""


def channels_at(resolution: int, channel_max: int, channel_base: int) -> int:
    """Channels of a level: base / resolution, at most max (16,384 and 512 give FLOAT's 512 ... 32 at 512 px)."""
    return min(channel_max, channel_base // resolution)


def sampling_grid(resolution: int, kind: GridKind, device: torch.device | str | None = None) -> Tensor:
    """(1, R, R, 2) coordinates of a zero flow for `grid_sample(align_corners=False)`; channel 0 is x.

    `lia` spans -1 ... 1, which with these conventions stretches the picture by R / (R - 1): the released weights are
    trained with it. `pixel_centre` is the identity.
    """
    if kind == "lia":
        axis = torch.linspace(-1.0, 1.0, resolution, dtype=torch.float64, device=device)
    else:
        axis = (torch.arange(resolution, dtype=torch.float64, device=device) * 2 + 1) / resolution - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((x, y), dim=-1)[None].float()


class AppearanceNet(nn.Module):
    """The convolutional backbone: (B, 3, R, R) -> latent (B, D) and the feature maps the decoder warps."""

    def __init__(self, size: int, latent_dim: int, channel_max: int, channel_base: int) -> None:
        super().__init__()
        channels = channels_at(size, channel_max, channel_base)
        convs: list[nn.Module] = [ConvLayer(3, channels, 1)]
        for level in range(int(math.log2(size)) - 1, 1, -1):
            following = channels_at(2**level, channel_max, channel_base)
            convs.append(ResidualBlock(channels, following))
            channels = following
        convs.append(EqualConv2d(channels, latent_dim, 4))
        self.convs = nn.ModuleList(convs)

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = []
        x = image
        for conv in self.convs:
            x = conv(x)
            maps.append(x)
        return x.flatten(1), maps[-3::-1]  # the 4 x 4 map is not handed on


class Encoder(nn.Module):
    """Picture -> identity latent, feature maps; latent -> motion coefficients.

    The coefficient head is five equalised linear layers with nothing between them, hence one affine map. With
    `FloatConfig.reader` a network of its own writes pose and face into the latent.
    """

    def __init__(self, config: FloatConfig) -> None:
        super().__init__()
        self.net_app = AppearanceNet(config.image_size, config.dim_w, config.channel_max, config.channel_base)
        widths = [config.dim_w] * 5 + [config.dim_m]
        self.fc = nn.Sequential(*(EqualLinear(a, b) for a, b in pairwise(widths)))
        self.reader = FaceReader(config.dim_w) if config.reader else None

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, R, R) in [-1, 1] -> (B, D) and maps from 8 x 8 up to R x R."""
        latent, maps = self.net_app(image)
        return (latent if self.reader is None else latent + self.reader.written(image)), maps

    def coefficients(self, latent: Tensor) -> Tensor:
        """(B, D) -> (B, M), layer by layer."""
        return self.fc(latent)

    @torch.no_grad()
    def affine(self) -> tuple[Tensor, Tensor]:
        """The head as one map: A (M, D) and b (M,) with coefficients = A s + b, collapsed in float64."""
        layers = cast("list[EqualLinear]", list(self.fc))
        first = layers[0].weight
        matrix = torch.eye(first.shape[1], dtype=torch.float64, device=first.device)
        offset = torch.zeros(first.shape[1], dtype=torch.float64, device=first.device)
        for layer in layers:
            weight = layer.weight.double() * layer.scale
            matrix, offset = weight @ matrix, weight @ offset + layer.bias.double()
        return matrix.float(), offset.float()


class MotionBasis(nn.Module):
    """The orthonormal motion directions: Q of the reduced Householder QR of the stored weight.

    The signs are LAPACK's (the diagonal of R may be negative); another orthogonalisation would flip directions of
    the released weights. In training Q is recomputed with gradient at every call; in evaluation it is computed once on
    the CPU in float32 and kept until the weight changes.
    """

    def __init__(self, latent_dim: int, n_directions: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(latent_dim, n_directions))
        self._cached: tuple[tuple[int, int, torch.device], Tensor] | None = None

    def basis(self) -> Tensor:
        """Q (D, M), float32."""
        if self.training:
            return torch.linalg.qr(self.weight.float())[0]
        key = (self.weight.data_ptr(), self.weight._version, self.weight.device)
        if self._cached is None or self._cached[0] != key:
            q = torch.linalg.qr(self.weight.detach().float().cpu())[0]
            self._cached = (key, q.to(self.weight.device))
        return self._cached[1]

    def forward(self, coefficients: Tensor) -> Tensor:
        """(..., M) -> motion latent (..., D), float32 under autocast too."""
        with torch.autocast(self.weight.device.type, enabled=False):
            return coefficients.float() @ self.basis().T


class ToFlow(nn.Module):
    """Style-steered 1x1 head: features -> flow (2 channels) and mask (1), accumulated over the levels before tanh."""

    def __init__(self, channels: int, resolution: int, config: FloatConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample()
        self.conv = ModulatedConv2d(channels, 3, 1, config.dim_w, demodulate=False)
        self.resolution, self.limit = resolution, config.flow_limit
        self.warp: Warp = config.warp if resolution >= SHARP_LEVEL else "bilinear"
        self.grid_kind: GridKind = config.grid
        self.restore_constants()

    grid: Tensor

    def restore_constants(self) -> None:
        """Computes the coordinates that no file stores."""
        self.register_buffer("grid", sampling_grid(self.resolution, self.grid_kind), persistent=False)

    def forward(
        self, x: Tensor, feature: Tensor, latent: Tensor, raw: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, feature (B, C, R, R), raw (B, 3, R/2, R/2) -> warped and masked feature, blend, raw, coordinates."""
        with torch.autocast(x.device.type, enabled=False):  # flow, grid and warp are float32 in every precision
            raw_here = self.raw(x, latent, raw)
            coordinates = self.coordinates(torch.tanh(raw_here[:, :2]))
            mask = torch.sigmoid(raw_here[:, 2:])
            warped = F.grid_sample(single(feature), coordinates, self.warp, "zeros", align_corners=False) * mask
        return warped, warped + x * (1.0 - mask), raw_here, coordinates

    def raw(self, x: Tensor, latent: Tensor, below: Tensor | None) -> Tensor:
        """Flow and mask before tanh and sigmoid (B, 3, R, R), added to those of the level below."""
        here = self.conv(single(x), single(latent)) + self.bias
        return here if below is None else here + self.upsample(below)

    def coordinates(self, flow: Tensor) -> Tensor:
        """Flow (B, 2, R, R) -> where each pixel takes its colour from, (B, R, R, 2)."""
        return self.grid + flow.permute(0, 2, 3, 1)

    def anchored(self, flow: Tensor, rest: Tensor) -> Tensor:
        """Coordinates of a flow that counts from the one at rest (B, 2, R, R), no farther than the limit."""
        return self.coordinates(self.limit * torch.tanh((flow - rest) / self.limit))


class ToRGB(nn.Module):
    """Warped source features -> RGB, added to the picture of the level below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))
        self.upsample = Upsample()
        self.conv = ConvLayer(channels, 3, 1)

    def forward(self, warped: Tensor, rgb: Tensor | None) -> Tensor:
        return self.finished(self.conv[0](warped), rgb)

    def finished(self, colours: Tensor, rgb: Tensor | None) -> Tensor:
        """The same of what the convolution made (B, 3, R, R)."""
        here = self.conv[1](colours) + self.bias
        return here if rgb is None else here + self.upsample(rgb)


class ConstantInput(nn.Module):
    """The learned (1, C, 4, 4) start of the decoder."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.randn(1, channels, 4, 4))

    def forward(self, batch: int) -> Tensor:
        return self.input.expand(batch, -1, -1, -1)


class Decoder(nn.Module):
    """Latent + source feature maps -> picture. All colour comes from warped source features; the style path only
    steers flow and masks. With `FloatConfig.painter` an anchored decoder also paints what no warp brings."""

    def __init__(self, config: FloatConfig) -> None:
        super().__init__()
        self.size, latent_dim, self.anchored = config.image_size, config.dim_w, config.transfer == "anchored"
        self.direction = MotionBasis(latent_dim, config.dim_m)
        channels = channels_at(4, config.channel_max, config.channel_base)
        self.input = ConstantInput(channels)
        self.conv1 = StyledConv(channels, channels, latent_dim)
        self.to_rgb1 = Unused({"bias": (1, 3, 1, 1)})
        self.to_rgb1.conv = nn.Sequential(Unused({"weight": (3, channels, 1, 1)}), Unused({"bias": (1, 3, 1, 1)}))
        self.convs, self.to_rgbs, self.to_flows = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(3, int(math.log2(self.size)) + 1):
            here = channels_at(2**level, config.channel_max, config.channel_base)
            self.convs.append(StyledConv(channels, here, latent_dim, up=True))
            self.convs.append(StyledConv(here, here, latent_dim))
            self.to_flows.append(ToFlow(here, 2**level, config))
            self.to_rgbs.append(ToRGB(here))
            channels = here
        with torch.random.fork_rng(devices=[]):  # it learns by itself: what it draws changes no other random start
            self.painter = FacePainter() if config.painter else None

    def forward(self, latent: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """latent (B, D), maps of B sources or of one -> unclamped picture (B, 3, R, R), coordinates (B, 64, 64, 2)."""
        self.check(latent, features)
        if self.anchored:
            return self._anchored(latent, features)
        batch = latent.shape[0]
        x = self.conv1(self.input(batch), latent)
        raw: Tensor | None = None
        rgb: Tensor | None = None
        flow: Tensor | None = None
        for level, feature in enumerate(features):
            feature = feature.expand(batch, -1, -1, -1)
            x = self.convs[2 * level](x, latent)
            x = self.convs[2 * level + 1](x, latent)
            warped, x, raw, coordinates = self.to_flows[level](x, feature, latent, raw)
            rgb = self.to_rgbs[level](warped, rgb)
            if x.shape[-1] == FLOW_LEVEL:
                flow = coordinates
        assert rgb is not None and flow is not None  # sizes are at least 64, see FloatConfig
        return rgb, flow

    def _anchored(self, latent: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The same of an anchored decoder; the features end with the source picture and the latent at rest.

        Behind them comes, where faces are painted, whether this one is to be: 1 or 0 (B, 1, 1, 1), and what is known of
        its lips where these part instead.
        """
        maps, (picture, rest, *known) = features[: len(self.to_flows)], features[len(self.to_flows) :]
        shown, flows, _, mask, _ = self._shown(rest, maps, None)
        anchor = Anchor(flows, doubled(picture - shown), mask)
        shown, _, coordinates, mask, flow = self._shown(latent, maps, anchor)
        made = anchor.completed(shown, coordinates, mask)
        if self.painter is not None:
            wanted, still = (value.float() @ self.direction.basis() for value in (latent, rest))
            made = self.painter(made, coordinates, wanted, still, *known)
        return made, flow

    def _shown(
        self, latent: Tensor, maps: Sequence[Tensor], anchor: Anchor | None
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor, Tensor, Tensor]:
        """What the decoder itself shows: picture, flows, last coordinates and mask, coordinates at 64 x 64.

        Without an anchor it is at rest, where every flow counts from itself.
        """
        batch = latent.shape[0]
        x, raw, rgb, flows = self.conv1(self.input(batch), latent), None, None, []
        coordinates = mask = flow_level = latent
        for level, feature in enumerate(maps):
            head, colours = cast("ToFlow", self.to_flows[level]), cast("ToRGB", self.to_rgbs[level])
            x = self.convs[2 * level](x, latent)
            x = self.convs[2 * level + 1](x, latent)
            raw = head.raw(x, latent, raw)
            flows.append(torch.tanh(raw[:, :2]))
            coordinates = head.anchored(flows[-1], flows[-1] if anchor is None else anchor.flows[level])
            mask = torch.sigmoid(raw[:, 2:])
            if x.shape[-1] == FLOW_LEVEL:
                flow_level = coordinates
            if level == len(maps) - 1:  # the projection to RGB commutes with the warp
                sharp = doubled(colours.conv[0](feature)).expand(batch, -1, -1, -1)
                rgb = colours.finished(moved_picture(sharp, coordinates) * mask, rgb)
            else:
                feature = single(feature).expand(batch, -1, -1, -1)
                warped = F.grid_sample(feature, coordinates, head.warp, "border", align_corners=False) * mask
                x, rgb = warped + x * (1.0 - mask), colours(warped, rgb)
        assert rgb is not None
        return rgb, tuple(flows), coordinates, mask, flow_level

    def check(self, latent: Tensor, features: Sequence[Tensor]) -> None:
        """Raises ValueError when latents and feature maps do not fit this decoder or each other."""
        features = features[: len(self.to_flows)] if self.anchored else features
        width = self.direction.weight.shape[0]
        if latent.ndim != 2 or latent.shape[1] != width:
            raise ValueError(f"latent must be (B, {width}), got {tuple(latent.shape)}")
        heads = cast("list[ToFlow]", list(self.to_flows))
        expected = [(head.conv.weight.shape[2], 2 ** (i + 3)) for i, head in enumerate(heads)]
        found = [(f.shape[1], f.shape[-1]) for f in features]
        if found != expected or any(f.shape[0] not in (1, latent.shape[0]) for f in features):
            raise ValueError(f"feature maps must have (channels, size) {expected} and batch 1 or {len(latent)}")


class MotionAutoencoder(nn.Module):
    """Encoder, motion basis and decoder, with LIA's two ways of transfer.

    Args:
        config: R = image_size, D = dim_w, M = dim_m, the channels of the levels and the grid.
    """

    def __init__(self, config: FloatConfig) -> None:
        super().__init__()
        self.enc, self.dec = Encoder(config), Decoder(config)
        self._affine: tuple[tuple[int, ...], Tensor, Tensor] | None = None

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, R, R) in [-1, 1] -> identity latent s_r (B, D) and feature maps from 8 x 8 up to R x R.

        An anchored decoder also needs the picture and the latent at which it rests: they end the maps, and for one that
        paints faces, whether this one is.
        """
        size = self.dec.size
        if image.ndim != 4 or image.shape[1:] != (3, size, size):
            raise ValueError(f"image must be (B, 3, {size}, {size}), got {tuple(image.shape)}")
        latent, maps = self.enc(image)
        if not self.dec.anchored:
            return latent, maps
        painted = [] if self.dec.painter is None else [image.new_ones(len(image), 1, 1, 1)]
        return latent, self.resting_at(latent, [*maps, image, latent, *painted])

    def resting_at(self, latent: Tensor, maps: list[Tensor], unfamiliar: bool = False) -> list[Tensor]:
        """The maps of a source whose latent is taken for this one (B, D): an anchored decoder's rest moves with it.

        Args:
            unfamiliar: it is not painted.
        """
        if not self.dec.anchored:
            return maps
        at = len(self.dec.to_flows) + 1
        rest, painted = latent.float() + self.motion(self.coefficients(latent)), maps[at + 1 :]
        return [*maps[:at], rest, *(0 * known if unfamiliar else known for known in painted)]

    def with_lips(self, maps: list[Tensor]) -> list[Tensor]:
        """The maps of a source at rest that is not painted, and what is seen of its lips, so that its mouth opens."""
        painter, at = self.dec.painter, len(self.dec.to_flows)
        if painter is None:
            return maps
        picture, rest = maps[at : at + 2]
        numbers = painter.numbers(rest.float() @ self.dec.direction.basis()) * painter.spread
        return [*maps, lips(picture, numbers[:, :POSES])]

    def with_face_of(self, other: Tensor, latent: Tensor) -> Tensor:
        """A latent (B, D) with the face that a reader saw replaced by that in another one (D,)."""
        if self.enc.reader is None:
            return latent
        places = F.normalize(self.enc.reader.place[:, POSES:].to(latent), dim=0)  # orthogonal, see `solve_encoder`
        return latent + (other - latent) @ places @ places.T

    def coefficients(self, latent: Tensor) -> Tensor:
        """(B, D) -> motion coefficients (B, M); in evaluation through the collapsed affine map."""
        if self.training:
            return self.enc.coefficients(latent)
        key = tuple(v for p in self.enc.fc.parameters() for v in (p.data_ptr(), p._version))
        if self._affine is None or self._affine[0] != key:
            self._affine = (key, *self.enc.affine())
        with torch.autocast(latent.device.type, enabled=False):
            return F.linear(latent.float(), self._affine[1], self._affine[2])

    def motion(self, coefficients: Tensor) -> Tensor:
        """(..., M) -> motion latent r (..., D) = Q lambda."""
        return self.dec.direction(coefficients)

    def project(self, motion: Tensor) -> Tensor:
        """Any latent (..., D) -> its coefficients in the motion space (..., M) = Q^T r."""
        with torch.autocast(motion.device.type, enabled=False):
            return motion.float() @ self.dec.direction.basis()

    def decode(self, latent: Tensor, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """latent (B, D) -> unclamped picture (B, 3, R, R) and the coordinates at 64 x 64 (B, 64, 64, 2)."""
        return self.dec(latent, features)

    def transfer(self, source: Tensor, driving: Tensor, start: Tensor | None = None) -> Tensor:
        """The source picture with the driving picture's motion, (B, 3, R, R).

        Absolute without `start`: decode(s_r + Q lambda_driving). Relative with the first driving picture as `start`:
        decode(s_r + Q lambda_driving - Q lambda_start + Q lambda_source).
        """
        s_r, features = self.encode(source)
        weights = self.coefficients(self.encode(driving)[0])
        if start is not None:
            weights = weights - self.coefficients(self.encode(start)[0]) + self.coefficients(s_r)
        return self.decode(s_r + self.motion(weights), features)[0]
