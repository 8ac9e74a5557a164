"""The losses of phase 1 against their closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from floatbench.training.batches import mirror_points
from floatbench.training.discriminators import (
    ComponentDiscriminator,
    Discriminator,
    TwoScaleDiscriminator,
    batch_deviation,
)
from floatbench.training.losses.adversarial import discriminator_loss, generator_loss, r1_penalty
from floatbench.training.losses.components import (
    component_mask,
    crop,
    enlarge,
    eyes_and_lips,
    gram,
    polygon,
    style_loss,
)
from floatbench.training.losses.perceptual import (
    PerceptualNetwork,
    RandomPyramid,
    Vgg19,
    level_mask,
    masked_perceptual_loss,
    perceptual_loss,
    shrink,
)


class _Pixels(PerceptualNetwork):
    """Two levels: the picture, and every second pixel of it."""

    def forward(self, picture: Tensor) -> list[Tensor]:
        return [picture, picture[:, :, ::2, ::2]]


def test_a_constant_difference_costs_itself_once_a_level_and_scale():
    real = torch.full((2, 3, 16, 16), 0.25)
    assert float(perceptual_loss(_Pixels(), real + 0.5, real, scales=(1,))) == pytest.approx(2 * 0.5)


def test_the_masked_loss_is_the_mean_inside_the_mask_and_blind_outside():
    real = torch.zeros(1, 3, 8, 8)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 2:6, 2:6] = 1
    generated = torch.full_like(real, 9.0) * (1 - mask) + 0.5 * mask
    assert float(masked_perceptual_loss(_Pixels(), generated, real, mask, levels=1)) == pytest.approx(0.5)
    assert float(masked_perceptual_loss(_Pixels(), generated, real, torch.zeros_like(mask))) == 0.0


def test_a_mask_too_small_for_a_level_takes_the_pixels_it_touches():
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 5, 5] = 1
    coarse = level_mask(mask, 4)
    assert float(coarse.sum()) == 1 and float(coarse[0, 0, 1, 1]) == 1
    assert torch.equal(level_mask(torch.ones(1, 1, 16, 16), 4), torch.ones(1, 1, 4, 4))


def test_shrinking_keeps_a_constant_away_from_the_border_and_kills_the_finest_stripes():
    x = torch.ones(1, 1, 32, 32)
    assert torch.allclose(shrink(x, 4)[..., 3:5, 3:5], torch.ones(1, 1, 2, 2))
    stripes = torch.ones(1, 1, 32, 32)
    stripes[..., ::2] = -1
    assert float(shrink(stripes, 4)[..., 3:5, 3:5].abs().max()) < 1e-3
    assert shrink(x, 1) is x


def test_the_stand_in_network_is_the_same_for_the_same_seed_and_never_trained():
    picture = torch.randn(1, 3, 32, 32)
    first, again = RandomPyramid()(picture), RandomPyramid()(picture)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True)) and torch.equal(first[0], picture)
    assert not any(p.requires_grad for p in RandomPyramid().parameters())


def test_vgg_gives_five_maps_after_the_first_activation_of_each_block():
    maps = Vgg19(None)(torch.rand(1, 3, 32, 32) * 2 - 1)
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 2, 2)]
    assert all(float(m.min()) >= 0 for m in maps)


def test_masks_boxes_and_crops_agree():
    boxes = torch.tensor([[[0.25, 0.5, 0.75, 1.0], [0, 0, 0, 0], [0, 0, 0, 0]]])
    mask = component_mask(boxes, 8)
    assert float(mask.sum()) == 16 and float(mask[0, 0, 4:, 2:6].min()) == 1
    picture = torch.randn(1, 3, 8, 8)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    assert torch.allclose(crop(picture, whole, 8), picture, atol=1e-5)
    assert torch.allclose(crop(picture, boxes[:, 0], 4), picture[..., 4:, 2:6], atol=1e-5)
    grown = enlarge(torch.tensor([0.4, 0.4, 0.6, 0.5]), 2.0)
    assert torch.allclose(grown, torch.tensor([0.3, 0.25, 0.7, 0.65]))


def test_the_right_eye_is_shown_mirrored():
    picture = torch.randn(1, 3, 16, 16)
    picture = torch.cat((picture[..., :8], picture[..., :8].flip(-1)), -1)  # a symmetric face
    boxes = torch.tensor([[[0.3, 0.7, 0.7, 0.9], [0.1, 0.2, 0.4, 0.5], [0.6, 0.2, 0.9, 0.5]]])
    eyes, _ = eyes_and_lips(picture, boxes, 6, 6)
    assert torch.allclose(eyes[0], eyes[1], atol=1e-5)


def test_gram_and_style_have_their_closed_forms():
    features = torch.zeros(1, 2, 2, 2)
    features[0, 0] = 1.0
    assert torch.allclose(gram(features), torch.tensor([[[4.0, 0.0], [0.0, 0.0]]]) / 8)
    zero = torch.zeros_like(features)
    assert float(style_loss([features, features], [zero, zero])) == pytest.approx(1.5 * 0.5 / 4)


def test_adversarial_losses_at_known_scores():
    zero = torch.zeros(4, 1)
    assert float(generator_loss(zero)) == pytest.approx(math.log(2))
    assert float(discriminator_loss(zero, zero)) == pytest.approx(2 * math.log(2))
    assert float(generator_loss(torch.tensor([[3.0]]))) == pytest.approx(math.log1p(math.exp(-3.0)))


def test_r1_of_a_linear_critic_is_the_norm_of_its_weights():
    weight = torch.randn(3, 4, 4)
    assert float(r1_penalty(lambda x: (x * weight).sum((1, 2, 3)), torch.randn(5, 3, 4, 4))) == pytest.approx(
        float(weight.square().sum()), rel=1e-5
    )


def test_batch_deviation_is_zero_for_equal_samples_and_the_spread_else():
    x = torch.randn(1, 2, 3, 3).repeat(4, 1, 1, 1)
    assert float(batch_deviation(x)[:, -1].max()) < 2e-4
    x = torch.cat((torch.ones(2, 2, 3, 3), -torch.ones(2, 2, 3, 3)))
    assert torch.allclose(batch_deviation(x)[:, -1], torch.ones(4, 3, 3))


def test_critics_have_the_shapes_and_scales_they_promise():
    picture = torch.randn(4, 3, 32, 32)
    assert Discriminator(32, 16, 256)(picture).shape == (4, 1)
    assert TwoScaleDiscriminator(32, 16, 256)(picture).shape == (4, 2)
    score, maps = ComponentDiscriminator(4)(picture)
    assert score.shape == (4, 1, 8, 8) and [tuple(m.shape) for m in maps] == [(4, 8, 16, 16), (4, 16, 8, 8)]


def test_known_lips_stand_instead_of_the_box_of_the_mouth_and_unknown_ones_leave_it():
    boxes = torch.zeros(2, 3, 4)
    boxes[:, 0] = torch.tensor([0.2, 0.2, 0.8, 0.8])
    turn = torch.arange(20) / 20 * 2 * torch.pi
    lips = torch.stack([0.5 + 0.2 * torch.cos(turn), 0.5 + 0.1 * torch.sin(turn)], -1)[None].repeat(2, 1, 1)
    lips[1] = 0
    mask = component_mask(boxes, 200, lips)
    assert torch.equal(mask[1], component_mask(boxes[1:], 200)[0])
    width, margin = 0.4, 0.04
    area = float(mask[0].mean())
    # an ellipse of half axes 0.2 and 0.1 and a band of the margin about it (Steiner: area + perimeter m + pi m^2)
    perimeter = float((lips[0] - lips[0].roll(-1, 0)).norm(dim=-1).sum())
    corners = 10 * 0.2 * 0.1 * float(torch.sin(torch.tensor(2 * torch.pi / 20)))
    assert margin == pytest.approx(0.1 * width)
    assert area == pytest.approx(corners + perimeter * margin + torch.pi * margin**2, rel=0.01)
    assert mask[0, 0, 100, 100] == 1 and mask[0, 0, 50, 60] == 0  # the middle, and a corner of the box


def test_the_region_of_mirrored_lips_is_the_mirrored_region():
    rng = np.random.default_rng(0)
    lips = (0.5 + 0.2 * rng.standard_normal((1, 20, 2))).clip(0.1, 0.9).astype(np.float32)
    first, mirrored = (polygon(torch.from_numpy(points), 64, 0.0) for points in (lips, mirror_points(lips)))
    assert float((first.flip(-1) != mirrored).float().mean()) < 1e-3
