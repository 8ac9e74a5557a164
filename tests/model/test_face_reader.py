"""A face reader unwraps a head as the camera saw it, and writes what it reads where the coefficients are taken from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.errors import UsageError
from floatbench.metrics import tiny_networks
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import CONFIGS, POSES
from floatbench.model.face_reader import EYES_SIZE, MOUTH_SIZE, FaceReader, turned, unwrapped
from floatbench.synthetic.camera import project, rotation

READS = replace(CONFIGS["float-tiny-64"], channel_max=16, reader=True)


@pytest.fixture(scope="module")
def reader() -> FaceReader:
    torch.manual_seed(0)
    return FaceReader(64).eval().requires_grad_(False)


def _poses(count: int) -> torch.Tensor:
    wide = torch.tensor([0.5, 0.3, 0.2, 0.1, 0.1, 0.2])
    return wide * (2 * torch.rand(count, POSES, generator=torch.Generator().manual_seed(3)) - 1)


def test_heads_turn_as_before_the_synthetic_camera(reader):
    pose = _poses(3)
    at = turned(reader.mouth_points, pose).numpy()
    for here, numbers in zip(at, pose.numpy(), strict=True):
        expected = reader.mouth_points.numpy() @ rotation(*map(float, numbers[:3])).T + numbers[3:]
        assert np.abs(here - expected).max() < 1e-5


def test_a_painted_point_is_found_where_the_camera_puts_it(reader):
    """A picture whose red and green are its own columns and rows says, unwrapped, where points were projected to."""
    size, pose = 128, _poses(2)
    axis = torch.arange(size, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    picture = torch.stack((x, y, 0 * x))[None].repeat(2, 1, 1, 1)
    for points, shape in ((reader.eye_points, EYES_SIZE), (reader.mouth_points, MOUTH_SIZE)):
        seen = unwrapped(picture, pose, points, shape)[:, :2].flatten(2).mT.numpy()
        for here, numbers in zip(seen, pose.numpy(), strict=True):
            expected = project(points.numpy(), rotation(*map(float, numbers[:3])), numbers[3:], size)
            assert np.abs(here - expected.clip(0, size - 1)).max() < 0.01  # pixels; float32 coordinates of 128 of them


def test_it_looks_at_the_same_places_as_the_network_behind_the_tiny_metrics(reader):
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    pose = _poses(2)
    pictures = torch.from_numpy(tiny_networks.scaled(frames))
    parts = tiny_networks.face_parts(frames, pose.numpy().astype(np.float64))
    for points, shape, part in zip(
        (reader.eye_points, reader.mouth_points), (EYES_SIZE, MOUTH_SIZE), parts, strict=True
    ):
        apart = unwrapped(pictures, pose, points, shape) - torch.from_numpy(tiny_networks.scaled(part))
        assert apart.abs().mean() < 0.01  # fixed-point coordinates of 1/32 pixel there


def test_its_numbers_are_counted_in_their_spread(reader):
    pictures = torch.rand(2, 3, 128, 128) * 2 - 1
    plain = reader(pictures)
    reader.spread.mul_(2)
    halved = reader(pictures)
    reader.spread.div_(2)
    assert torch.allclose(halved, plain / 2)


def test_what_it_reads_is_written_into_the_latent_and_can_be_taken_back():
    torch.manual_seed(0)
    net = MotionAutoencoder(READS).eval().requires_grad_(False)
    read = net.enc.reader
    assert read is not None
    read.place.copy_(2 * torch.linalg.qr(torch.randn(READS.dim_w, READS.dim_m))[0])
    picture = torch.rand(2, 3, 64, 64) * 2 - 1
    blind, latent = net.enc.net_app(picture)[0], net.encode(picture)[0]
    assert torch.allclose((latent - blind) @ read.place / 4, read(picture), atol=1e-5)
    taken = net.with_face_of(blind[0] * 0, latent)
    assert ((taken @ read.place[:, POSES:]).abs().max()) < 1e-5
    assert torch.allclose(taken @ read.place[:, :POSES], latent @ read.place[:, :POSES], atol=1e-5)


def test_it_needs_a_coefficient_for_each_of_its_numbers():
    with pytest.raises(UsageError, match="dim_m 20"):
        replace(READS, dim_m=12)
