"""The losses of phase 2 against their closed forms."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from floatbench.errors import UsageError
from floatbench.model.conditions import Conditions
from floatbench.model.config import CONFIGS
from floatbench.sampling.paths import DiffusionPath
from floatbench.training.config import FlowConfig, TrainConfig
from floatbench.training.ema import Ema, half_life_decay
from floatbench.training.flow_phase import UNHEARD, FlowPhase
from floatbench.training.losses.dropout import DropRates, drop_conditions
from floatbench.training.losses.flow import flow_terms, noisy_motion, sample_times

B, L, P, D = 2, 5, 3, 4


def _tensors():
    g = torch.Generator().manual_seed(0)
    return torch.randn(B, L, D, generator=g), torch.randn(B, P, D, generator=g)


def test_a_perfect_output_costs_nothing():
    current, previous = _tensors()
    terms = flow_terms(torch.cat((previous, current), 1), current, previous)
    assert float(terms.total(1, 1)) == 0.0


def test_a_constant_error_shows_in_both_position_terms_and_not_in_the_differences():
    current, previous = _tensors()
    terms = flow_terms(torch.cat((previous - 0.5, current + 0.25), 1), current, previous, boundary=False)
    assert torch.allclose(terms.current, torch.tensor(0.25)) and torch.allclose(terms.previous, torch.tensor(0.5))
    assert float(terms.velocity) == pytest.approx(0.0, abs=1e-6)
    assert float(terms.total(2, 3)) == pytest.approx(2 * 0.75, rel=1e-5)


def test_the_boundary_difference_counts_one_frame_in_all_of_them():
    current, previous = _tensors()
    output = torch.cat((previous, current + 0.25), 1)
    with_it = flow_terms(output, current, previous, boundary=True).velocity
    assert float(with_it) == pytest.approx(0.25 / (P + L - 1), rel=1e-5)
    assert float(flow_terms(output, current, previous, boundary=False).velocity) == pytest.approx(0.0, abs=1e-6)


def test_a_ramp_error_costs_its_slope_per_frame():
    current, previous = _tensors()
    ramp = 0.1 * torch.arange(P + L)[None, :, None]
    assert float(flow_terms(torch.cat((previous, current), 1) + ramp, current, previous).velocity) == pytest.approx(
        0.1, rel=1e-4
    )


def test_without_the_previous_loss_previous_frames_do_not_matter():
    current, previous = _tensors()
    output = torch.cat((torch.randn(B, P, D) * 100, current), 1)
    assert float(flow_terms(output, current, previous, previous_loss="none").total(1, 1)) == 0.0


def test_the_noisy_motion_and_its_target_are_those_of_each_path():
    data, _ = _tensors()
    noise, t = torch.randn(B, L, D), torch.tensor([0.0, 0.25])
    x, target = noisy_motion("velocity", data, noise, t, DiffusionPath())
    assert torch.equal(x[0], noise[0]) and torch.allclose(x[1], 0.75 * noise[1] + 0.25 * data[1])
    assert torch.equal(target, data - noise)
    path, k = DiffusionPath(), torch.tensor([0.0, 499.0])
    x, target = noisy_motion("epsilon", data, noise, k, path)
    assert target is noise and torch.allclose(x[1], noise[1], atol=0.1) and torch.allclose(x[0], data[0], atol=0.05)
    assert noisy_motion("x0", data, noise, k, path)[1] is data


def test_times_are_uniform_logit_normal_or_step_numbers():
    g = torch.Generator().manual_seed(1)
    uniform = sample_times("velocity", 20_000, DiffusionPath(), g)
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01) and float(uniform.var()) == pytest.approx(
        1 / 12, abs=3e-3
    )
    logits = torch.logit(sample_times("velocity", 20_000, DiffusionPath(), g, logit_normal=True))
    assert float(logits.mean()) == pytest.approx(0.0, abs=0.03) and float(logits.std()) == pytest.approx(1.0, abs=0.03)
    steps = sample_times("epsilon", 20_000, DiffusionPath(), g)
    assert set(steps.unique().tolist()) <= set(range(500)) and float(steps.mean()) == pytest.approx(249.5, abs=4)


def _conditions(n: int) -> Conditions:
    return Conditions(
        wr=torch.ones(n, D), wa=torch.ones(n, L, D), prev_wa=torch.ones(n, P, D), prev_x=torch.ones(n, P, D),
        we=torch.ones(n, 1, 7),
    )  # fmt: skip


def test_conditions_are_dropped_for_whole_samples_at_their_rates_and_independently():
    n = 20_000
    dropped = drop_conditions(_conditions(n), DropRates(), torch.Generator().manual_seed(0))
    gone = {}
    for name, rate in (("wa", 0.1), ("wr", 0.1), ("we", 0.1), ("prev_x", 0.5), ("prev_wa", 0.5)):
        value = getattr(dropped, name).reshape(n, -1)
        assert torch.equal(value.amin(1), value.amax(1))  # a sample is kept or dropped as a whole
        gone[name] = value[:, 0] == 0
        assert float(gone[name].float().mean()) == pytest.approx(rate, abs=0.012)
    together = torch.corrcoef(torch.stack([g.float() for g in gone.values()]))
    assert float((together - torch.eye(5)).abs().max()) < 0.03


def test_dropping_writes_to_nothing_so_that_a_shared_target_stays_clean():
    c = _conditions(8)
    drop_conditions(c, DropRates(1, 1, 1, 1, 1), torch.Generator().manual_seed(0))
    assert all(float(getattr(c, name).min()) == 1.0 for name in ("wa", "wr", "we", "prev_x", "prev_wa"))


def test_the_average_converges_geometrically_after_its_warm_up():
    layer = torch.nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    ema = Ema(layer, 0.5)
    ema.updates = 1000
    layer.weight.data.fill_(1.0)
    for _ in range(3):
        ema.update(layer)
    assert float(ema.module.weight.detach()) == pytest.approx(1 - 0.5**3)
    assert half_life_decay(10_000, 8) ** (10_000 / 8) == pytest.approx(0.5)


def test_without_the_boundary_every_other_difference_still_counts():
    current, previous = _tensors()
    output = torch.cat((previous, current), 1)
    for frame in (P - 1, P):  # the frames on both sides of the boundary have one counted neighbour each
        wrong = output.clone()
        wrong[:, frame] += 0.5
        found = flow_terms(wrong, current, previous, boundary=False).velocity
        assert float(found) == pytest.approx(0.5 / (P + L - 2), rel=1e-5)


def _motion_terms(
    made: torch.Tensor,
    wanted: torch.Tensor,
    before: torch.Tensor,
    given: tuple[float, ...] = (1.0, 1.0),
    **weights: Any,
) -> dict[str, float]:
    """The terms of motion coefficients of a phase with these weights."""
    phase: Any = SimpleNamespace(config=FlowConfig(**weights), model=SimpleNamespace(project=lambda value: value))
    terms = FlowPhase._motion_terms(phase, torch.cat((before, made), 1), wanted, before, torch.tensor(given))
    return {name: float(term) for name, term in terms.items()}


def test_squared_differences_count_what_no_sound_tells_and_the_faces_velocity_leaves_the_head_out():
    before, wanted = torch.zeros(2, 3, 20), torch.zeros(2, 4, 20)
    assert _motion_terms(wanted, wanted, before) == {}
    pose, face = wanted.clone(), wanted.clone()
    pose[:, 1, UNHEARD], face[:, 1, 6:17] = 2.0, 2.0
    weights: dict[str, Any] = {"head_square": 1.0, "face_velocity": 1.0}
    of_pose, of_face = (_motion_terms(made, wanted, before, **weights) for made in (pose, face))
    # one frame of four is off by 2: two of six steps are wrong by 2
    assert of_pose == {"head_square": pytest.approx(4 / 4), "face_velocity": pytest.approx(3 / 14 * 2 * 2 / 6)}
    assert of_face == {"head_square": 0.0, "face_velocity": pytest.approx(11 / 14 * 2 * 2 / 6)}


def test_the_seam_counts_the_frames_after_a_previous_window_where_it_is_seen():
    before, wanted = torch.zeros(2, 3, 20), torch.zeros(2, 5, 20)
    near, far = wanted.clone(), wanted.clone()
    near[:, 2], far[:, 3] = 2.0, 2.0
    assert _motion_terms(near, wanted, before, seam=1.0) == {"seam": pytest.approx(2 / 3)}
    assert _motion_terms(near, wanted, before, (1.0, 0.0), seam=1.0) == {"seam": pytest.approx(1 / 3)}
    assert _motion_terms(far, wanted, before, seam=1.0) == {"seam": 0.0}


@pytest.mark.parametrize("name", ["face_velocity", "head_square"])
def test_weights_of_face_and_head_need_coefficients_that_are_known(name):
    weight: dict[str, Any] = {name: 1.0}
    with pytest.raises(UsageError, match=name):
        TrainConfig("toy", CONFIGS["float-tiny-64"], flow=FlowConfig(**weight))
