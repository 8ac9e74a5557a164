"""Mouths as their coefficients say, painted where a head's pose puts them: teeth and tongue that no closed mouth shows.

A small network sees the mouth that the decoder made, unwrapped as `floatbench.model.face_reader` does, and the numbers
of the source's face and of the wanted one; it paints on the same patch of the ellipsoid, which is then seen through the
camera in the wanted pose. Where the face stays as it is, nothing is painted. B batch, R pixels, M motion numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.model.config import FACES, POSES
from floatbench.model.face_reader import (
    DISTANCE,
    HALF_VIEW,
    MOUTH_BOX,
    MOUTH_SIZE,
    SKULL,
    on_skull,
    rotations,
    unwrapped,
)

LIPS = 8
"""The first numbers of a face move the mouth: jaw to sneer."""
STILL = 0.1
"""Squared change of these numbers, in their spread, at which the paint is two thirds as strong as far from rest."""
SHUT = 2.0
"""Taken from the painted share before the sigmoid, so that little is painted at the start."""
SLOPE = 0.2
WIDTHS = (24, 48, 64)
"""Channels at half, quarter and eighth of the patch's size."""


def on_patch(pose: Tensor, size: int) -> Tensor:
    """Where every pixel's ray meets the ellipsoid's front, as coordinates (B, R, R, 2) of the mouth's patch in [-1, 1].

    Rays that miss it lie far outside.

    Args:
        pose: (B, 6).
    """
    axis = ((torch.arange(size, device=pose.device) + 0.5) / size * 2 - 1) * (HALF_VIEW / DISTANCE)
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    ray = torch.stack((x, y, -torch.ones_like(x)), -1).flatten(0, 1)  # (P, 3)
    turn = rotations(pose)
    eye = (pose.new_tensor([0.0, 0.0, DISTANCE]) - pose[:, 3:])[:, None] @ turn  # (B, 1, 3), head coordinates
    axes = pose.new_tensor(SKULL)
    way = ray @ turn
    o, d = eye / axes, way / axes
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    under = b * b - a * c
    t = (-b - under.clamp(min=0).sqrt()) / a
    at = eye[..., :2] + t[..., None] * way[..., :2]
    left, right, top, bottom = MOUTH_BOX
    u = (2 * at[..., 0] - left - right) / (right - left)
    v = (2 * at[..., 1] - top - bottom) / (bottom - top)
    return torch.where(under > 0, torch.stack((u, v)), 9.0).permute(1, 2, 0).reshape(-1, size, size, 2)


class MouthPainter(nn.Module):
    """Paints the mouth of pictures (B, 3, R, R) in [-1, 1].

    Attributes:
        spread: (M,) natural size of each number. mean: (M,), gain: (1,) of the coefficients, see `standardise`.
    """

    points: Tensor
    spread: Tensor
    mean: Tensor
    gain: Tensor

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.seen = nn.ModuleList(nn.Conv2d(*sizes, 3, 2, 1) for sizes in ((3, a), (a, b), (b, c)))
        self.told = nn.Sequential(nn.Linear(2 * FACES + POSES, 128), nn.ReLU(), nn.Linear(128, 2 * sum(WIDTHS)))
        self.mixed = nn.ModuleList(nn.Conv2d(*sizes, 3, 1, 1) for sizes in ((c, c), (c + b, b), (b + a, a)))
        self.fine, self.last = nn.Conv2d(a + 3, 16, 3, 1, 1), nn.Conv2d(16, 4, 3, 1, 1)
        self.register_buffer("spread", torch.ones(POSES + FACES))
        self.register_buffer("mean", torch.zeros(POSES + FACES))
        self.register_buffer("gain", torch.ones(1))
        self.restore_constants()

    def restore_constants(self) -> None:
        """Computes the points that no file stores."""
        self.register_buffer("points", on_skull(MOUTH_BOX, MOUTH_SIZE), persistent=False)

    def numbers(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, M) of the model as motion numbers in units of their spread."""
        return coefficients / self.gain + self.mean

    def forward(self, picture: Tensor, wanted: Tensor, rest: Tensor, known: Tensor) -> Tensor:
        """Pictures (B, 3, R, R) with their mouths painted.

        Args:
            wanted, rest: coefficients (B, M) of the picture and of the source, of which there may be one.
            known: 1 where a mouth is to be painted, else 0, (B, 1, 1, 1).
        """
        paint, share = self.painted(picture, self.numbers(wanted), self.numbers(rest), known)
        return torch.lerp(picture, paint, share)

    def painted(self, picture: Tensor, wanted: Tensor, rest: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (B, 3, R, R) and how much of a pixel they cover (B, 1, R, R), of motion numbers (B, M)."""
        rest, pose = rest.expand_as(wanted), wanted[:, :POSES] * self.spread[:POSES]
        told = self.told(torch.cat((rest[:, POSES:], wanted), 1)).split([2 * width for width in WIDTHS[::-1]], 1)
        maps = [unwrapped(picture, pose, self.points, MOUTH_SIZE)]
        for layer in self.seen:
            maps.append(F.leaky_relu(layer(maps[-1]), SLOPE))
        x = maps.pop()
        for layer, numbers in zip(self.mixed, told, strict=True):
            gain, shift = numbers[:, :, None, None].chunk(2, 1)
            x = F.leaky_relu(layer(x) * (1 + gain) + shift, SLOPE)
            x = torch.cat((F.interpolate(x, scale_factor=2.0), maps.pop()), 1)
        x = self.last(F.leaky_relu(self.fine(x), SLOPE))
        x = torch.cat((torch.tanh(x[:, :3]), torch.sigmoid(x[:, 3:] - SHUT) * _window(x)), 1)
        change = (wanted - rest)[:, POSES : POSES + LIPS].square().sum(1)
        strong = known * (1 - torch.exp(-change / STILL))[:, None, None, None]
        seen = F.grid_sample(x, on_patch(pose, picture.shape[-1]), align_corners=False)  # nothing outside of the patch
        return seen[:, :3], seen[:, 3:] * strong


def _window(x: Tensor) -> Tensor:
    """1 inside of a patch (B, C, H, W), falling to 0 at its edges, (1, 1, H, W)."""
    rows, columns = (
        (8 * torch.sin(torch.pi * (torch.arange(n, device=x.device) + 0.5) / n).square()).clamp(max=1)
        for n in x.shape[-2:]
    )
    return (rows[:, None] * columns)[None, None]
