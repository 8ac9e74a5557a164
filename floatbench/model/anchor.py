"""How an anchored decoder keeps the source: what its flow fails to show of it moves along. B batch, R pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

FAINT = 1e-6
"""A mask that is all but closed at rest hides nothing more in motion."""


def single(x: Tensor) -> Tensor:
    """`x` in float32 at least: half precision is widened, float64 stays, so that a decoder in float64 is exact."""
    return x if x.dtype == torch.float64 else x.float()


def doubled(picture: Tensor) -> Tensor:
    """(B, 3, R, R) -> (B, 3, 2 R, 2 R): every pixel, and between each two what a Lanczos window of eight makes of them.

    Pixel i stays, as 2 i; the last row and column repeat the picture's edge.
    """
    at = torch.arange(-3.5, 4.0, dtype=torch.float64)
    taps = (torch.sinc(at) * torch.sinc(at / 4)).to(picture)
    taps = (taps / taps.sum()).expand(picture.shape[1], 1, -1)
    for dim in (3, 2):
        across = dim == 3
        padded = F.pad(picture, (3, 4, 0, 0) if across else (0, 0, 3, 4), mode="replicate")
        between = F.conv2d(padded, taps[:, :, None] if across else taps[..., None], groups=picture.shape[1])
        picture = torch.stack((picture, between), dim + 1).flatten(dim, dim + 1)
    return picture


def moved_picture(twice: Tensor, coordinates: Tensor) -> Tensor:
    """Doubled pictures (B, 3, 2 R, 2 R) at coordinates (B, R, R, 2) that count the pixels of the picture itself."""
    at = coordinates - 1 / twice.shape[-1]  # pixel i of R is pixel 2 i of 2 R
    return F.grid_sample(single(twice), at, "bicubic", "border", align_corners=False)


@dataclass(frozen=True)
class Anchor:
    """A source picture at rest, as the decoder shows it.

    Attributes:
        flows: (B, 2, R, R) of every level. missing: (B, 3, 2 R, 2 R), doubled, the picture less what is shown of it.
        mask: (B, 1, R, R) of the last level.
    """

    flows: tuple[Tensor, ...]
    missing: Tensor
    mask: Tensor

    def completed(self, shown: Tensor, coordinates: Tensor, mask: Tensor) -> Tensor:
        """A picture shown in motion (B, 3, R, R), with what is missing moved along and hidden where the mask closes."""
        missing = self.missing.expand(len(shown), -1, -1, -1)
        return shown + moved_picture(missing, coordinates) * ((mask + FAINT) / (self.mask + FAINT)).clamp(max=1.0)
