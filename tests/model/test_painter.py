"""Painted faces: on the place where the camera sees them, only as far as the face has changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.errors import UsageError
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import CONFIGS, POSES
from floatbench.model.face_reader import on_front
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.painter import EYES, MOUTH, FacePainter, on_patch
from floatbench.synthetic.camera import project, rotation

SIZE = 128
PAINTS = replace(CONFIGS["float-tiny-64"], channel_max=16, transfer="anchored", reader=True, painter=True)


@pytest.fixture(scope="module")
def painter() -> FacePainter:
    torch.manual_seed(0)
    painter = FacePainter().eval().requires_grad_(False)
    for part in (painter.mouth, painter.eyes):
        part.last.bias.fill_(1.0)  # paints wherever it may
    return painter


def _numbers(count: int) -> torch.Tensor:
    return 0.2 * torch.randn(count, 20, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("part", ["mouth", "eyes"])
def test_a_pixel_finds_the_point_of_the_patch_that_the_camera_puts_there(painter, part):
    part = getattr(painter, part)
    height, width = part.patch.size
    pose = torch.tensor([[0.3, -0.1, 0.1, 0.05, 0.02, 0.1]])
    patch = on_patch(on_front(pose, SIZE), part.patch)[0].numpy()
    points = part.points.reshape(height, width, 3)[8 : height - 8 : 8, 16 : width - 16 : 8].reshape(-1, 3).numpy()
    rows, columns = np.arange(8, height - 8, 8), np.arange(16, width - 16, 8)
    at = project(points, rotation(*map(float, pose[0, :3])), pose[0, 3:].numpy(), SIZE).round().astype(int)
    v, u = np.meshgrid((2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1, indexing="ij")
    expected = np.stack((u.ravel(), v.ravel()), 1)
    apart = np.abs(patch[at[:, 1], at[:, 0]] - expected)
    assert apart.max() < 0.06  # half a pixel of 52 to a unit, on a surface that turns away, of a patch two units wide


def test_a_face_as_it_was_is_not_painted_and_a_changed_one_is_inside_of_the_patch_alone(painter):
    picture, rest, where = torch.rand(2, 3, SIZE, SIZE) * 2 - 1, _numbers(2), torch.zeros(2, SIZE, SIZE, 2)
    known, turned, spoken = torch.ones(2, 1, 1, 1), rest.clone(), rest.clone()
    turned[:, :POSES] += 0.1
    spoken[:, POSES] += 3.0
    assert torch.equal(painter(picture, where, rest, rest, known), picture)
    assert torch.equal(painter(picture, where, turned, rest, known), picture)
    assert torch.equal(painter(picture, where, spoken, rest, 0 * known), picture)
    raised = rest.clone()
    raised[:, POSES + 8] += 3.0  # brows
    front = on_front(rest[:, :POSES], SIZE)
    for face, patch in ((spoken, MOUTH), (raised, EYES)):
        inside = on_patch(front, patch).abs().amax(-1) < 1 + 1 / patch.size[0]
        changed = (painter(picture, where, face, rest, known) - picture).abs().amax(1)
        assert changed[inside].mean() > 0.1 and changed[~inside].max() == 0


def test_standardised_coefficients_are_told_as_before(painter):
    rest, mean = _numbers(1), torch.linspace(-1, 1, 20)
    again = FacePainter()
    again.mean.add_(mean)
    again.gain.mul_(1.7)
    assert torch.allclose(again.numbers(1.7 * (rest - mean)), rest, atol=1e-6)


def painting() -> MotionAutoencoder:
    torch.manual_seed(0)
    net = MotionAutoencoder(PAINTS).eval().requires_grad_(False)
    assert net.dec.painter is not None
    for part in (net.dec.painter.mouth, net.dec.painter.eyes):
        part.last.weight.normal_(std=0.1)
    return net


@torch.no_grad()
def test_the_decoder_paints_a_familiar_face_and_its_fast_twin_the_same():
    net = painting()
    latent, maps = net.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    latents = latent + net.motion(net.coefficients(latent) + 0.3 * torch.randn(3, PAINTS.dim_m))
    fast = FastDecoder(net.dec)
    made = []
    for unfamiliar in (False, True):
        here = net.resting_at(latent, maps, unfamiliar)
        made.append(net.decode(latents, here)[0])
        assert torch.allclose(fast(latents, fast.source(here)), made[-1], atol=1e-3)
    assert (made[0] - made[1]).abs().max() > 0.1


@torch.no_grad()
def test_lips_of_an_unfamiliar_face_part_and_those_of_the_fast_twin_the_same():
    net = painting()
    latent, maps = net.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    speaking = torch.zeros(1, PAINTS.dim_m)
    speaking[:, POSES] = 0.8  # the jaw
    latents = torch.cat([latent + net.motion(net.coefficients(latent) + way * speaking) for way in (0, 1)])
    shut = net.resting_at(latent, maps, unfamiliar=True)
    seen = net.with_lips(shut)
    assert torch.equal(net.resting_at(latent, maps)[-1], torch.ones(1, 1, 1, 1))  # a familiar one has no such map
    plain, parted = net.decode(latents, shut)[0], net.decode(latents, seen)[0]
    assert torch.allclose(parted[0], plain[0], atol=1e-4)
    assert (parted[1] - plain[1]).abs().max() > 0.1
    fast = FastDecoder(net.dec)
    assert torch.allclose(fast(latents, fast.source(seen)), parted, atol=1e-3)


def test_a_painter_changes_no_other_random_start():
    starts = []
    for paints in (True, False):
        torch.manual_seed(0)
        net = MotionAutoencoder(replace(PAINTS, painter=paints))
        starts.append((net.dec.conv1.conv.weight, torch.rand(1)))
    assert all(torch.equal(one, other) for one, other in zip(*starts, strict=True))


def test_a_face_is_painted_as_a_reader_says():
    with pytest.raises(UsageError, match="reader"):
        replace(PAINTS, reader=False)
