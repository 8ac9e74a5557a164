"""Guidance: scale 1 is no guidance, and a skipped branch changes nothing."""

import itertools

import pytest
import torch
from torch import Tensor

from floatbench.sampling.guidance import Branch, Conditions, branches, guided, mask_conditions
from floatbench.sampling.solvers import NfeMeter


def _conditions(batch: int = 2, emotion: bool = True) -> Conditions:
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator, dtype=torch.float64)

    return Conditions(
        wr=draw(4),
        wa=draw(5, 3),
        prev_wa=draw(2, 3),
        prev_x=draw(2, 4),
        we=draw(1, 7) if emotion else None,
    )


def network(c: Conditions):
    """A row-wise function that sees every condition."""

    def evaluate(t: Tensor, x: Tensor) -> Tensor:
        out = torch.sin(x + t[:, None, None]) + c.wr[:, None].cos() + c.wa.sum(-1, keepdim=True).tanh()
        out = out + c.prev_wa.sum((1, 2)).tanh()[:, None, None] + c.prev_x.sum((1, 2)).sin()[:, None, None]
        return out if c.we is None else out + (c.we.sum((1, 2)) * c.wa.mean((1, 2))).tanh()[:, None, None]

    return evaluate


def full_formula(c: Conditions, t: Tensor, x: Tensor, ga: float, ge: float, gr: float, keep: bool) -> Tensor:
    """Eq. 14 with all branches evaluated one by one."""

    def branch(wr: bool, wa: bool, we: bool) -> Tensor:
        masked = mask_conditions(c, Branch("", 1.0, wr=wr, wa=wa, we=we), keep)
        return network(masked)(t.expand(x.shape[0]), x)

    none, reference = branch(False, False, False), branch(True, False, False)
    audio, everything = branch(True, True, False), branch(True, True, True)
    return none + gr * (reference - none) + ga * (audio - reference) + ge * (everything - audio)


def _run(c: Conditions, ga: float, ge: float, gr: float = 1.0, fourth: bool = False, keep: bool = False):
    meter = NfeMeter()
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    t = torch.tensor(0.3, dtype=torch.float64)
    chosen = branches(ga, ge, gr, fourth, emotion=c.we is not None)
    return guided(network, c, chosen, keep, meter)(t, x), x, t, meter


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("ga", "ge"), itertools.product([0.0, 1.0, 2.0, 3.5], repeat=2))
def test_skipping_branches_equals_the_full_formula(ga: float, ge: float, keep: bool):
    c = _conditions()
    result, x, t, _ = _run(c, ga, ge, keep=keep)
    torch.testing.assert_close(result, full_formula(c, t, x, ga, ge, 1.0, keep), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ga", "ge", "gr"), [(2.0, 1.0, 1.5), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1.0, 1.0, 0.5)])
def test_the_reference_branch_equals_the_four_branch_formula(ga: float, ge: float, gr: float):
    c = _conditions()
    result, x, t, _ = _run(c, ga, ge, gr, fourth=True)
    torch.testing.assert_close(result, full_formula(c, t, x, ga, ge, gr, False), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("ga", "ge", "names"),
    [
        (2.0, 1.0, "UAF"),  # the default: e_cfg = 1 alone drops nothing
        (1.0, 1.0, "F"),
        (1.0, 2.0, "AF"),  # only a_cfg = 1 drops U
        (2.0, 2.0, "UF"),  # only a_cfg = e_cfg drops A
        (2.0, 0.0, "UA"),  # only e_cfg = 0 drops F
        (0.0, 0.0, "U"),
    ],
)
def test_only_a_zero_weight_drops_a_branch(ga: float, ge: float, names: str):
    chosen = branches(ga, ge)
    assert "".join(b.name for b in chosen) == names
    assert sum(b.weight for b in chosen) == pytest.approx(1.0)


def test_all_scales_one_is_the_conditional_network_itself():
    c = _conditions()
    result, x, t, meter = _run(c, 1.0, 1.0)
    assert torch.equal(result, network(c)(t.expand(2), x))
    assert (meter.evaluations, meter.rows) == (1, 2)


def test_r_cfg_without_its_branch_is_dead_as_in_the_released_code():
    assert branches(2.0, 1.0, 3.0, False) == branches(2.0, 1.0, 1.0, False)


def test_a_network_without_emotion_has_two_branches():
    c = _conditions(emotion=False)
    result, x, t, meter = _run(c, 2.0, 1.0)
    assert meter.rows == 4
    audio = network(c)(t.expand(2), x)
    none = network(mask_conditions(c, Branch("U", 1, wa=False, we=False), False))(t.expand(2), x)
    torch.testing.assert_close(result, none + 2.0 * (audio - none), rtol=1e-12, atol=1e-12)


def test_the_meter_counts_rows_of_all_branches():
    _, _, _, meter = _run(_conditions(), 2.0, 1.0)
    assert (meter.evaluations, meter.rows) == (1, 6)


def test_previous_audio_stays_in_the_unconditional_branch_only_when_asked():
    c, branch = _conditions(), Branch("U", 1.0, wa=False, we=False)
    assert torch.equal(mask_conditions(c, branch, True).prev_wa, c.prev_wa)
    dropped = mask_conditions(c, branch, False)
    assert not dropped.prev_wa.any() and not dropped.wa.any()
    assert dropped.we is not None and not dropped.we.any()
    assert torch.equal(dropped.prev_x, c.prev_x) and torch.equal(dropped.wr, c.wr)
