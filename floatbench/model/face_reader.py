"""A small network that reads pose and face off a picture, for encoders that are too small to see them by themselves.

A pose network looks at the whole picture. By its pose the surface of an ellipsoid that stands for every head is read
off the picture, so that eyes and mouth lie in one place wherever the head turns, and a tower for each of them reads the
face. B batch, M = 6 + 14 motion numbers, D latent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from floatbench.model.config import FACES, POSES

DISTANCE, HALF_VIEW = 7.0, 1.4
"""Of the camera that sees the heads: camera to origin, and half of the picture's side at the origin's depth."""
SKULL = (0.80, 1.25, 0.82)
"""Half axes of the ellipsoid, head units."""
EYES_BOX, MOUTH_BOX = (-0.64, 0.64, 0.42, -0.16), (-0.5, 0.5, -0.14, -1.1)
"""Left, right, top and bottom on the head's front, head units."""
EYES_SIZE, MOUTH_SIZE = (40, 88), (64, 64)
SEEN = 128
"""Side of the picture from which parts are unwrapped; the pose network sees half of it."""
NOWHERE = 9.0
"""Coordinates of what no ray meets."""
_HIDDEN = 192


def block(c_in: int, c_out: int, stride: int = 2) -> nn.Sequential:
    """Convolution and ReLU."""
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, stride, 1), nn.ReLU(inplace=True))


def on_skull(box: tuple[float, float, float, float], size: tuple[int, int]) -> Tensor:
    """Points (rows * columns, 3) of the ellipsoid's front, evenly spaced as seen from before it."""
    left, right, top, bottom = box
    rows, columns = ((torch.arange(count) + 0.5) / count for count in size)
    y, x = torch.meshgrid(top + rows * (bottom - top), left + columns * (right - left), indexing="ij")
    depth = SKULL[2] * (1 - (x / SKULL[0]) ** 2 - (y / SKULL[1]) ** 2).clamp(min=0.05).sqrt()
    return torch.stack((x, y, depth), -1).flatten(0, 1)


def rotations(pose: Tensor) -> Tensor:
    """Poses (B, 6) -> head to camera rotations (B, 3, 3): yaw, then pitch, then roll."""
    yaw, pitch, roll = pose[:, 0], -pose[:, 1], -pose[:, 2]
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (torch.cos, torch.sin))
    around_y = torch.stack((cy, zero, sy, zero, one, zero, -sy, zero, cy), 1).view(-1, 3, 3)
    around_x = torch.stack((one, zero, zero, zero, cp, -sp, zero, sp, cp), 1).view(-1, 3, 3)
    around_z = torch.stack((cr, -sr, zero, sr, cr, zero, zero, zero, one), 1).view(-1, 3, 3)
    return around_z @ around_x @ around_y


def turned(points: Tensor, pose: Tensor) -> Tensor:
    """Points (P, 3) of heads in poses (B, 6) -> (B, P, 3) in the camera's coordinates."""
    return points @ rotations(pose).mT + pose[:, None, 3:]


def unwrapped(pictures: Tensor, pose: Tensor, points: Tensor, size: tuple[int, int]) -> Tensor:
    """What pictures (B, 3, R, R) show at points (rows * columns, 3) of heads in poses (B, 6): (B, 3, rows, columns)."""
    at = turned(points, pose)
    scale = DISTANCE / (DISTANCE - at[..., 2:]) / HALF_VIEW
    grid = torch.cat((at[..., :1] * scale, -at[..., 1:2] * scale), -1).view(-1, *size, 2)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def on_front(pose: Tensor, size: int) -> Tensor:
    """Where every pixel's ray meets the ellipsoid's front, x and y in head units, (B, R, R, 2).

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
    return torch.where(under[..., None] > 0, at, NOWHERE).view(-1, size, size, 2)


class FaceReader(nn.Module):
    """Pictures (B, 3, R, R) in [-1, 1] -> motion numbers (B, M) in units of `spread`.

    Args:
        latent_dim: D.

    Attributes:
        place: (D, M), where in the latent the numbers are written. spread: (M,) natural size of each number.
    """

    spread: Tensor
    eye_points: Tensor
    mouth_points: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        channels = ((3, 16, 2), (16, 32, 2), (32, 48, 2), (48, 64, 1), (64, 96, 2))
        trunk = nn.Sequential(*(block(*sizes) for sizes in channels), nn.Flatten())
        self.pose = nn.Sequential(trunk, nn.Linear(96 * 16, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, POSES))
        channels = ((3, 24, 2), (24, 48, 2), (48, 64, 1), (64, 96, 2), (96, 128, 2))
        self.eyes, self.mouth = (nn.Sequential(*(block(*sizes) for sizes in channels), nn.Flatten()) for _ in range(2))
        self.face = nn.Sequential(nn.Linear(128 * (18 + 16), _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, FACES))
        self.place = nn.Parameter(torch.zeros(latent_dim, POSES + FACES))
        self.register_buffer("spread", torch.ones(POSES + FACES))
        self.restore_constants()

    def restore_constants(self) -> None:
        """Computes the points that no file stores."""
        self.register_buffer("eye_points", on_skull(EYES_BOX, EYES_SIZE), persistent=False)
        self.register_buffer("mouth_points", on_skull(MOUTH_BOX, MOUTH_SIZE), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        seen = F.interpolate(pictures, (SEEN, SEEN), mode="area") if pictures.shape[-1] != SEEN else pictures
        pose = self.posed(seen)
        return torch.cat((pose, self.faced(seen, pose)), 1) / self.spread

    def posed(self, seen: Tensor) -> Tensor:
        """Pictures (B, 3, 128, 128) -> pose (B, 6), natural units."""
        return self.pose(F.avg_pool2d(seen, 2))

    def faced(self, seen: Tensor, pose: Tensor) -> Tensor:
        """Pictures (B, 3, 128, 128) of heads in poses (B, 6) -> face (B, 14), natural units."""
        eyes = self.eyes(unwrapped(seen, pose, self.eye_points, EYES_SIZE))
        mouth = self.mouth(unwrapped(seen, pose, self.mouth_points, MOUTH_SIZE))
        return self.face(torch.cat((eyes, mouth), 1))

    def written(self, pictures: Tensor) -> Tensor:
        """What the pictures' numbers add to their latents (B, D)."""
        return self(pictures) @ self.place.T
