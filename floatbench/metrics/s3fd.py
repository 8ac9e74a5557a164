"""S3FD, the face detector of the SyncNet pipeline (`sfd_face.pth`): R-G-B input, quarter-size frames.

Source: Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector" (2017); settings of syncnet_python. It is not
the detector of face-alignment, whose weights have other key names and B-G-R input.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from floatbench.metrics.network import seeded_state

SCALE = 0.25
MEAN = (123.0, 117.0, 104.0)
STRIDES = (4, 8, 16, 32, 64, 128)
SIDES = tuple(4 * stride for stride in STRIDES)
THRESHOLD = 0.9
INNER_OVERLAP, OUTER_OVERLAP = 0.3, 0.1
MOST_CANDIDATES, MOST_FACES = 5000, 750
SETTINGS: dict[str, Any] = {"detector": "s3fd-sfd-face", "scale": SCALE, "threshold": THRESHOLD, "nms": OUTER_OVERLAP}

_VGG: tuple[int | str, ...] = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "ceil", 512, 512, 512, "pool")
_TAPS = (16, 23, 30)
"""Layers of `vgg` after which a normalised feature map is taken."""


class L2Norm(nn.Module):
    """Scales every position's channel vector to length 1, then each channel by a weight."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), float(scale)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight[None, :, None, None] * (x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10))


def _vgg() -> nn.ModuleList:
    layers: list[nn.Module] = []
    inputs = 3
    for item in (*_VGG, 512, 512, 512, "pool"):
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=item == "ceil"))
            continue
        layers += [nn.Conv2d(inputs, item, 3, padding=1), nn.ReLU(inplace=True)]
        inputs = item
    layers += [nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.ReLU(inplace=True)]
    layers += [nn.Conv2d(1024, 1024, 1), nn.ReLU(inplace=True)]
    return nn.ModuleList(layers)


class S3FDNet(nn.Module):
    """(B, 3, H, W) R-G-B minus the mean -> face scores (B, P) and box offsets (B, P, 4) of all priors.

    Key names of `sfd_face.pth`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vgg = _vgg()
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = L2Norm(256, 10), L2Norm(512, 8), L2Norm(512, 5)
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1),
                nn.Conv2d(256, 512, 3, 2, padding=1),
                nn.Conv2d(512, 128, 1),
                nn.Conv2d(128, 256, 3, 2, padding=1),
            ]
        )
        widths = (256, 512, 512, 1024, 512, 256)
        self.loc = nn.ModuleList(nn.Conv2d(width, 4, 3, padding=1) for width in widths)
        self.conf = nn.ModuleList(nn.Conv2d(w, 4 if i == 0 else 2, 3, padding=1) for i, w in enumerate(widths))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
        scores, offsets, sizes = [], [], []
        for level, source in enumerate(self._sources(x)):
            conf = self.conf[level](source)
            if level == 0:  # the best of three background scores: many small priors, few faces
                conf = torch.cat([conf[:, :3].amax(1, keepdim=True), conf[:, 3:]], 1)
            scores.append(conf.softmax(1)[:, 1].flatten(1))
            offsets.append(self.loc[level](source).permute(0, 2, 3, 1).flatten(1, 2))
            sizes.append((source.shape[2], source.shape[3]))
        return torch.cat(scores, 1), torch.cat(offsets, 1), sizes

    def _sources(self, x: torch.Tensor) -> list[torch.Tensor]:
        sources = []
        norms = dict(zip(_TAPS, (self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3), strict=True))
        for index, layer in enumerate(self.vgg, start=1):
            x = layer(x)
            if index in norms:
                sources.append(norms[index](x))
        sources.append(x)
        for index, layer in enumerate(self.extras):
            x = layer(x).relu_()
            if index % 2:
                sources.append(x)
        return sources


@cache
def priors(height: int, width: int, sizes: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(P, 4) float32 prior boxes (centre x, centre y, width, height) in shares of an input of `height` x `width`."""
    boxes = []
    for stride, side, (rows, columns) in zip(STRIDES, SIDES, sizes, strict=True):
        y, x = np.mgrid[:rows, :columns]
        box = np.stack([(x + 0.5) * stride / width, (y + 0.5) * stride / height, x * 0 + side / width], axis=-1)
        boxes.append(np.concatenate([box, np.full((rows, columns, 1), side / height)], axis=-1).reshape(-1, 4))
    return np.concatenate(boxes).astype(np.float32)


def prepare(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H/4, W/4) float32: bilinear quarter size, minus the mean colour."""
    small = cv2.resize(frame, (0, 0), fx=SCALE, fy=SCALE, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray((small.astype(np.float32) - np.array(MEAN, np.float32)).transpose(2, 0, 1))


def decode(scores: np.ndarray, offsets: np.ndarray, prior: np.ndarray, height: int, width: int) -> np.ndarray:
    """(n, 5) float64 faces x1 y1 x2 y2 score in pixels of a `height` x `width` frame, best first."""
    # a box can only be suppressed by a better one, so all below the threshold may go at once
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    order = order[scores[order] > THRESHOLD]
    loc, anchor = offsets[order], prior[order]
    centre = anchor[:, :2] + loc[:, :2] * np.float32(0.1) * anchor[:, 2:]
    size = anchor[:, 2:] * np.exp(loc[:, 2:] * np.float32(0.2))
    corner = centre - size / 2
    boxes = np.concatenate([corner, size + corner], axis=1)
    kept = suppress(boxes, INNER_OVERLAP)[:MOST_FACES]
    pixels = boxes[kept] * np.array([width, height, width, height], np.float32)
    faces = np.concatenate([pixels, scores[order][kept][:, None]], axis=1).astype(np.float64)
    return faces[suppress(faces[:, :4], OUTER_OVERLAP)]


def suppress(boxes: np.ndarray, overlap: float) -> list[int]:
    """Greedy non-maximum suppression of (n, 4) boxes sorted by score; boxes overlapping by more than `overlap` go."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept, rest = [], np.arange(len(boxes))
    while len(rest):
        first, rest = int(rest[0]), rest[1:]
        kept.append(first)
        sides = np.minimum(boxes[first, 2:], boxes[rest, 2:]) - np.maximum(boxes[first, :2], boxes[rest, :2])
        shared = np.maximum(sides, 0).prod(axis=1)
        rest = rest[shared / (areas[rest] - shared + areas[first]) <= overlap]
    return kept


def fabricate(path: Path, seed: int) -> None:
    """Seeded random weights whose coarsest level always sees a face and whose other levels never do.

    On a 512 x 512 frame (128 x 128 after the reduction) that is one face of half the frame in its middle, so that
    tracks form.
    """
    network = S3FDNet()
    state = seeded_state(network, seed)
    for name, tensor in state.items():
        if name.startswith(("loc", "conf")):
            state[name] = tensor * 0.01
    for level in range(len(STRIDES)):
        face = 4.0 if level == len(STRIDES) - 1 else -4.0
        state[f"conf.{level}.bias"] += torch.tensor([-face] * (3 if level == 0 else 1) + [face])
    state[f"loc.{len(STRIDES) - 1}.bias"] += torch.tensor([0.0, 0.0, -10.4, -10.4])  # 512 to 64 of 128 pixels
    torch.save(state, path)
