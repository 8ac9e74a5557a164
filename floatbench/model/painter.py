"""A face as its coefficients say, painted where a head's pose puts it: teeth, lids and brows that no warp brings there.

A small network for the mouth and one for the eyes see the part that the decoder made, unwrapped as
`floatbench.model.face_reader` does, and the numbers of the source's face and of the wanted one; they paint on the same
patch of the ellipsoid, which is then seen through the camera in the wanted pose. What they paint is a change of colour,
so that skin keeps its grain, and nothing where a part stays as it is. B batch, R pixels, M motion numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.model.config import FACES, POSES
from floatbench.model.face_reader import on_front, on_skull, unwrapped
from floatbench.model.lips import parted

STILL = 0.1
"""Squared change of a part's numbers, in their spread, at which the paint is two thirds as strong as far from rest."""
SLOPE = 0.2
WIDTHS = (24, 48, 64)
"""Channels at half, quarter and eighth of the patch's size."""


@dataclass(frozen=True)
class Patch:
    """A part of the head's front that is painted.

    Attributes:
        box: left, right, top and bottom, head units. size: rows and columns, multiples of eight.
        moved_by: the numbers of a face that change it.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    moved_by: tuple[int, ...]


MOUTH = Patch((-0.5, 0.5, -0.14, -1.1), (64, 64), tuple(range(8)))
"""Moved by jaw, lips, smile, tongue and sneer."""
EYES = Patch((-0.64, 0.64, 0.5, -0.16), (48, 88), (5, 7, *range(8, FACES)))
"""Eyes and brows, moved by brows, lids and gaze, and by smile and sneer, which lift the cheeks."""


def on_patch(front: Tensor, patch: Patch) -> Tensor:
    """Places on the head's front (..., 2) as coordinates of a patch, -1 to 1 from edge to edge."""
    left, right, top, bottom = patch.box
    u = (2 * front[..., 0] - left - right) / (right - left)
    v = (2 * front[..., 1] - top - bottom) / (bottom - top)
    return torch.stack((u, v), -1)


class PatchPainter(nn.Module):
    """Paints one part of the faces of pictures (B, 3, R, R) in [-1, 1]."""

    points: Tensor
    window: Tensor

    def __init__(self, patch: Patch) -> None:
        super().__init__()
        self.patch = patch
        a, b, c = WIDTHS
        self.seen = nn.ModuleList(nn.Conv2d(*sizes, 3, 2, 1) for sizes in ((3, a), (a, b), (b, c)))
        self.told = nn.Sequential(nn.Linear(2 * FACES + POSES, 128), nn.ReLU(), nn.Linear(128, 2 * sum(WIDTHS)))
        self.mixed = nn.ModuleList(nn.Conv2d(*sizes, 3, 1, 1) for sizes in ((c, c), (c + b, b), (b + a, a)))
        self.fine, self.last = nn.Conv2d(a + 3, 16, 3, 1, 1), nn.Conv2d(16, 3, 3, 1, 1)
        nn.init.zeros_(self.last.weight)  # paints nothing at first
        nn.init.zeros_(cast("Tensor", self.last.bias))
        self.restore_constants()

    def restore_constants(self) -> None:
        """Computes what no file stores: the patch's points, and 1 inside of it that falls to 0 at its edges."""
        rows, columns = (
            (8 * torch.sin(torch.pi * (torch.arange(count) + 0.5) / count).square()).clamp(max=1)
            for count in self.patch.size
        )
        self.register_buffer("points", on_skull(self.patch.box, self.patch.size), persistent=False)
        self.register_buffer("window", rows[:, None] * columns, persistent=False)

    def forward(
        self, picture: Tensor, wanted: Tensor, rest: Tensor, pose: Tensor, front: Tensor, known: Tensor
    ) -> Tensor:
        """What is added to the pictures' colours, (B, 3, R, R).

        Args:
            wanted, rest: motion numbers (B, M) of the picture and of the source, in units of their spread.
            pose: (B, 6) of the picture, natural units. front: (B, R, R, 2) of `on_front`.
            known: 1 where a face is to be painted, else 0, (B, 1, 1, 1).
        """
        told = self.told(torch.cat((rest[:, POSES:], wanted), 1)).split([2 * width for width in WIDTHS[::-1]], 1)
        maps = [unwrapped(picture, pose, self.points, self.patch.size)]
        for layer in self.seen:
            maps.append(F.leaky_relu(layer(maps[-1]), SLOPE))
        x = maps.pop()
        for layer, numbers in zip(self.mixed, told, strict=True):
            gain, shift = numbers[:, :, None, None].chunk(2, 1)
            x = F.leaky_relu(layer(x) * (1 + gain) + shift, SLOPE)
            x = torch.cat((F.interpolate(x, scale_factor=2.0), maps.pop()), 1)
        x = 2 * torch.tanh(self.last(F.leaky_relu(self.fine(x), SLOPE))) * self.window
        change = (wanted - rest)[:, POSES:].square()
        moved = torch.stack([change[:, number] for number in self.patch.moved_by]).sum(0)
        strong = known * (1 - torch.exp(-moved / STILL))[:, None, None, None]
        return strong * F.grid_sample(x, on_patch(front, self.patch), align_corners=False)  # 0 outside of the patch


class FacePainter(nn.Module):
    """Paints mouth and eyes of pictures (B, 3, R, R) in [-1, 1].

    Attributes:
        spread: (M,) natural size of each number. mean: (M,), gain: (1,) of the coefficients, see `standardise`.
    """

    spread: Tensor
    mean: Tensor
    gain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mouth, self.eyes = PatchPainter(MOUTH), PatchPainter(EYES)
        self.register_buffer("spread", torch.ones(POSES + FACES))
        self.register_buffer("mean", torch.zeros(POSES + FACES))
        self.register_buffer("gain", torch.ones(1))

    def numbers(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, M) of the model as motion numbers in units of their spread."""
        return coefficients / self.gain + self.mean

    def forward(
        self,
        picture: Tensor,
        coordinates: Tensor,
        wanted: Tensor,
        rest: Tensor,
        known: Tensor,
        mouth: Tensor | None = None,
    ) -> Tensor:
        """Pictures (B, 3, R, R) with their faces painted.

        Args:
            coordinates: (B, R, R, 2), where every pixel comes from in the source.
            wanted, rest: coefficients (B, M) of the picture and of the source, of which there may be one.
            known: 1 where a face is to be painted, else 0, (B, 1, 1, 1).
            mouth: what `lips` sees of a source whose lips part instead.
        """
        wanted, rest = self.numbers(wanted), self.numbers(rest)
        if mouth is not None:
            face, still = ((numbers * self.spread)[:, POSES:] for numbers in (wanted, rest))
            picture = parted(picture, coordinates, face, still, mouth)
        lips, eyes = self.changes(picture, wanted, rest, known)
        return picture + lips + eyes

    def changes(self, picture: Tensor, wanted: Tensor, rest: Tensor, known: Tensor) -> list[Tensor]:
        """What is added to mouth and to eyes, (B, 3, R, R) each, of motion numbers (B, M)."""
        rest, pose = rest.expand_as(wanted), wanted[:, :POSES] * self.spread[:POSES]
        front = on_front(pose, picture.shape[-1])
        return [part(picture, wanted, rest, pose, front, known) for part in (self.mouth, self.eyes)]
