"""Phase 1 as the paper has it: Eq. 18 and nothing else, which the shortcuts of float-tiny leave as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from floatbench.model.float import FloatModel
from floatbench.training.autoencoder_phase import AutoencoderPhase
from floatbench.training.clips import ClipPool
from floatbench.training.config import AutoencoderConfig, TinyAutoencoderConfig, TrainConfig
from floatbench.training.devices import Devices
from floatbench.training.discriminators import TwoScaleDiscriminator
from floatbench.training.losses.adversarial import r1_penalty
from floatbench.training.losses.perceptual import RandomPyramid
from floatbench.training.tiny.phase import phase_class

WEIGHTS = {
    "l1": 1, "perceptual": 10, "component": 100, "full_adv": 1, "eye_adv": 1, "eye_style": 100, "lip_adv": 1,
    "lip_style": 100,
}  # fmt: skip
"""Of the supplement's Eq. 18."""


@pytest.fixture
def paper(toy, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """The paper's terms on the toy's sizes; the network of the perceptual terms is the one that needs no download."""
    monkeypatch.setattr(AutoencoderPhase, "perceptual_network", lambda self: RandomPyramid())
    phase = AutoencoderConfig(
        batch=4, component_from=1, r1_every=2, eye_size=16, lip_size=24, critic_max=8, critic_base=512,
        component_width=4, precision="float32",
    )  # fmt: skip
    return replace(toy, autoencoder=phase)


def losses(config: TrainConfig, clips, steps: int = 2) -> list[dict[str, float]]:
    torch.manual_seed(3)
    pool = ClipPool(clips, range(len(clips)), 8, 1)
    phase = phase_class(config.autoencoder)(config, FloatModel(config.model).motion_autoencoder, pool, Devices("cpu"))
    return [phase.step(step) for step in range(steps)]


def test_the_loss_is_the_weighted_sum_of_the_papers_eight_terms(paper, clips):
    first, second = losses(paper, clips)
    assert second["total"] == pytest.approx(sum(weight * second[name] for name, weight in WEIGHTS.items()), rel=1e-5)
    critics = {"full_critic", "eye_critic", "lip_critic"}
    assert set(second) == {"total", *WEIGHTS, *critics, "gradient_norm", "rate"}
    before = {name for name in WEIGHTS if name.startswith(("eye", "lip"))}
    assert set(first) == set(second) - before - {"eye_critic", "lip_critic"} | {"r1"}


def test_without_its_shortcuts_the_phase_of_float_tiny_is_the_papers(paper, clips):
    tiny = replace(paper, autoencoder=TinyAutoencoderConfig(**vars(paper.autoencoder)))
    assert type(tiny.autoencoder) is not type(paper.autoencoder)
    assert losses(tiny, clips) == losses(paper, clips)


def test_the_papers_phase_leaves_no_penalty_when_its_interval_is_zero(paper, clips):
    never = replace(paper, autoencoder=replace(paper.autoencoder, r1_every=0))
    assert "r1" not in losses(never, clips, 1)[0]


def test_the_penalty_is_on_the_sum_of_the_critics_of_both_scales():
    """|grad (D_fine + D_coarse)|^2, not the sum of the two squares: the two critics judge as one."""
    torch.manual_seed(0)
    both = TwoScaleDiscriminator(16, 4, 64)
    real = torch.rand(3, 3, 16, 16)
    x = real.clone().requires_grad_(True)
    fine, coarse = (torch.autograd.grad(both(x)[:, scale].sum(), x)[0] for scale in (0, 1))
    together = (fine + coarse).square().sum((1, 2, 3)).mean()
    apart = (fine.square() + coarse.square()).sum((1, 2, 3)).mean()
    assert float(r1_penalty(both, real)) == pytest.approx(float(together), rel=1e-5)
    assert float(r1_penalty(both, real)) != pytest.approx(float(apart), rel=1e-3)
