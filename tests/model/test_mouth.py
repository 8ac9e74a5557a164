"""Painted mouths: on the place where the camera sees them, only as far as the face has changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.errors import UsageError
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import CONFIGS, POSES
from floatbench.model.face_reader import MOUTH_SIZE
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.mouth import MouthPainter, on_patch
from floatbench.synthetic.camera import project, rotation

SIZE = 128
PAINTS = replace(CONFIGS["float-tiny-64"], channel_max=16, transfer="anchored", reader=True, mouth=True)


@pytest.fixture(scope="module")
def painter() -> MouthPainter:
    torch.manual_seed(0)
    painter = MouthPainter().eval().requires_grad_(False)
    painter.last.bias[3] = 3.0  # paints wherever it may
    return painter


def _numbers(count: int) -> torch.Tensor:
    return 0.2 * torch.randn(count, 20, generator=torch.Generator().manual_seed(5))


def test_a_pixel_finds_the_point_of_the_patch_that_the_camera_puts_there(painter):
    pose = torch.tensor([[0.3, -0.1, 0.1, 0.05, 0.02, 0.1]])
    patch = on_patch(pose, SIZE)[0].numpy()
    points = painter.points.reshape(*MOUTH_SIZE, 3)[8:40:8, 8:56:8].reshape(-1, 3).numpy()
    rows, columns = (np.arange(8, stop, 8) for stop in (40, 56))
    at = project(points, rotation(*map(float, pose[0, :3])), pose[0, 3:].numpy(), SIZE).round().astype(int)
    v, u = np.meshgrid((2 * rows + 1) / MOUTH_SIZE[0] - 1, (2 * columns + 1) / MOUTH_SIZE[1] - 1, indexing="ij")
    expected = np.stack((u.ravel(), v.ravel()), 1)
    apart = np.abs(patch[at[:, 1], at[:, 0]] - expected)
    assert apart.max() < 0.06  # half a pixel of 52 to a unit, on a surface that turns away, of a patch two units wide


def test_a_face_as_it_was_is_not_painted_and_a_changed_one_is_inside_of_the_patch_alone(painter):
    picture, rest = torch.rand(2, 3, SIZE, SIZE) * 2 - 1, _numbers(2)
    known, turned, spoken = torch.ones(2, 1, 1, 1), rest.clone(), rest.clone()
    turned[:, :POSES] += 0.1
    spoken[:, POSES] += 3.0
    assert torch.equal(painter(picture, rest, rest, known), picture)
    assert torch.equal(painter(picture, turned, rest, known), picture)
    assert torch.equal(painter(picture, spoken, rest, 0 * known), picture)
    changed = (painter(picture, spoken, rest, known) - picture).abs().amax(1)
    inside = on_patch(spoken[:, :POSES], SIZE).abs().amax(-1) < 1 + 1 / MOUTH_SIZE[0]
    assert changed[inside].mean() > 0.1 and changed[~inside].max() == 0


def test_standardised_coefficients_are_told_as_before(painter):
    rest, mean = _numbers(1), torch.linspace(-1, 1, 20)
    again = MouthPainter()
    again.mean.add_(mean)
    again.gain.mul_(1.7)
    assert torch.allclose(again.numbers(1.7 * (rest - mean)), rest, atol=1e-6)


@torch.no_grad()
def test_the_decoder_paints_a_familiar_mouth_and_its_fast_twin_the_same():
    torch.manual_seed(0)
    net = MotionAutoencoder(PAINTS).eval().requires_grad_(False)
    assert net.dec.mouth is not None
    net.dec.mouth.last.bias[3] = 3.0
    latent, maps = net.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    latents = latent + net.motion(net.coefficients(latent) + 0.3 * torch.randn(3, PAINTS.dim_m))
    fast = FastDecoder(net.dec)
    made = []
    for unfamiliar in (False, True):
        here = net.resting_at(latent, maps, unfamiliar)
        made.append(net.decode(latents, here)[0])
        assert torch.allclose(fast(latents, fast.source(here)), made[-1], atol=1e-3)
    assert (made[0] - made[1]).abs().max() > 0.1


def test_a_mouth_is_painted_as_a_reader_says():
    with pytest.raises(UsageError, match="reader"):
        replace(PAINTS, reader=False)
