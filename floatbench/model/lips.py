"""Lips of a face that is not painted: where they meet in the source picture, and how they part as its jaw falls.

A warp alone pulls a closed mouth longer, but never open. The line between the lips is the dark valley that is found in
the source, unwrapped by the head's pose as `floatbench.model.face_reader` does; what lies near it moves along with the
decoder's flow and gives way to the dark of a mouth. B batch, R pixels.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.model.face_reader import NOWHERE, on_front, on_skull, unwrapped

JAW, WIDTH, ROUND, PRESS, SMILE = 0, 1, 2, 3, 5
"""Numbers of a face, in the order of `floatbench.synthetic.expression`."""
PATCH, SIDE = (-0.5, 0.5, -0.14, -1.1), 96
"""Left, right, top and bottom of the part of a head's front that is searched, head units, and its rows and columns."""
WIDE = 2.0
"""Standard deviation of the Gaussian whose second derivative a valley is seen with, rows."""
DEEPEST = 0.15
"""Depth above which a valley counts no more, of colours in [-1, 1]: nostrils and teeth are deeper than lips."""
FAINTEST = 0.06
"""A mean depth below this is not taken for lips: nothing opens. Of 13 portraits the least has 0.08, a dog 0.05."""
USUAL = -0.5
"""Height at which lips lie on most heads."""
SEEN = 0.18
"""Half of the width along which the valley is sought."""
HALF = 0.2
"""Half of a mouth's width at rest."""
OPEN = 0.085
"""How far from the line lips give way for a jaw that falls by 1, head units of the source; chosen by eye."""
SOFT = 0.012
"""Width of the edge of the dark, half a pixel of 128."""
DARK = (0.34, 0.2, 0.2)
"""Brightness of a mouth's inside, of that of the lips' line."""


@cache
def _lines() -> tuple[Tensor, Tensor, Tensor]:
    """Lines that may be one: height, bend, tilt and middle (N, 4), their points (N, P, 2), what they cost (N,)."""
    heights = [-0.34 - 0.01 * step for step in range(40)]
    middles = [0.04 * step for step in range(-5, 6)]
    lines = torch.tensor(list(product(heights, (-0.3, 0.0, 0.3, 0.6, 0.9, 1.2), (-0.1, 0.0, 0.1), middles)))
    height, bend, tilt, middle = lines[:, :, None].unbind(1)
    x = torch.linspace(-SEEN, SEEN, 19)
    left, right, top, bottom = PATCH
    points = torch.stack((x + middle, height + bend * x * x + tilt * x), -1)
    points = (2 * points - torch.tensor([left + right, top + bottom])) / torch.tensor([right - left, bottom - top])
    cost = 0.03 * (middle / 0.2) ** 2 + 0.05 * (height - USUAL).abs() + 0.1 * tilt.abs()
    return lines, points, cost[:, 0]


def _valleys(bright: Tensor) -> Tensor:
    """(B, 1, H, W) -> how much darker every place is than what lies above and below it, of the same shape."""
    at = torch.arange(-8.0, 9.0, device=bright.device)
    bell = torch.exp(-(at / WIDE).square() / 2)
    bell = bell / bell.sum()
    across = F.conv2d(F.pad(bright, (8, 8, 8, 8), mode="replicate"), bell.view(1, 1, 1, -1))
    return F.conv2d(across, (bell * ((at / WIDE).square() - 1)).view(1, 1, -1, 1))


def line_between_lips(picture: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Height, bend, tilt and middle (B, 4) of the line between the lips, head units, and its mean depth (B,).

    Args:
        picture: (B, 3, R, R) in [-1, 1]. pose: (B, 6) of the heads, natural units.
    """
    lines, points, cost = (part.to(picture.device) for part in _lines())
    seen = unwrapped(picture.float(), pose, on_skull(PATCH, (SIDE, SIDE)).to(picture.device), (SIDE, SIDE))
    depths = F.grid_sample(_valleys(seen.mean(1, keepdim=True)), points.expand(len(picture), -1, -1, -1),
                           align_corners=False)  # fmt: skip
    score = depths[:, 0].clamp(max=DEEPEST).mean(-1) - cost
    best = score.argmax(1)
    return lines[best], score.gather(1, best[:, None])[:, 0]


def lips(picture: Tensor, pose: Tensor) -> Tensor:
    """What `parted` needs to know of a source, (B, 5, R, R).

    Every pixel's place along the line (-1 to 1 from corner to corner), its height over it (head units), and the colour
    of the mouth's inside. Where no lips are seen all places are `NOWHERE`.

    Args:
        picture: (B, 3, R, R) in [-1, 1]. pose: (B, 6) of the heads, natural units.
    """
    picture = picture.float()
    line, depth = line_between_lips(picture, pose)
    height, bend, tilt, middle = line[:, :, None, None].unbind(1)
    x, y = on_front(pose, picture.shape[-1]).unbind(-1)
    x = x - middle
    places = torch.stack((x / HALF, y - (height + bend * x * x + tilt * x)), 1).clamp(-NOWHERE, NOWHERE)
    near = ((places[:, 0].abs() < 1) & (places[:, 1].abs() < 0.03))[:, None]
    colour = (picture * near).sum((2, 3)) / near.sum((2, 3)).clamp(min=1)
    dark = (colour + 1) * picture.new_tensor(DARK) - 1
    places = torch.where((depth >= FAINTEST)[:, None, None, None], places, NOWHERE)
    return torch.cat((places, dark[:, :, None, None].expand_as(picture)), 1)


def parted(picture: Tensor, coordinates: Tensor, wanted: Tensor, rest: Tensor, mouth: Tensor) -> Tensor:
    """Pictures (B, 3, R, R) whose lips part as far as their jaws hang lower than the source's.

    Args:
        coordinates: (B, R, R, 2), where every pixel comes from in the source.
        wanted, rest: numbers of the faces (B, F) of the pictures and of the source, natural units.
        mouth: (1 or B, 5, R, R) of `lips`.
    """
    moved = F.grid_sample(
        mouth.expand(len(picture), -1, -1, -1), coordinates, "bilinear", "border", align_corners=False
    )
    number = wanted[:, :, None, None].unbind(1)
    wide = 1 + 0.24 * number[WIDTH] + 0.22 * number[SMILE].clamp(min=0) - 0.42 * number[ROUND]
    along, above = moved[:, 0] / wide.clamp(min=0.5), moved[:, 1]
    fallen = (number[JAW] - rest[:, JAW, None, None]).clamp(0, 1) * (1 - number[PRESS].clamp(0, 1))
    reach = OPEN * fallen.pow(0.8) * (1 - along.square()).clamp(min=0).pow(0.6)
    strong = ((reach - above.abs()) / SOFT + 0.5).clamp(0, 1) * (reach / SOFT).clamp(max=1)
    return torch.lerp(picture, moved[:, 2:], strong[:, None])
