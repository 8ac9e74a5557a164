"""The sampler: windows, carried motion and audio, noise, seeds, batches and every kind of network."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from floatbench.errors import ClipError
from floatbench.model.conditions import Conditions
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.sampler import (
    MotionShape,
    SampledWindow,
    evaluation_times,
    sample_windows,
    window_noise,
)
from floatbench.sampling.windows import carry, cut, n_frames, pad_end, plan

SHAPE = MotionShape(window=6, previous=2, dim=4)
PLAIN = SamplingOptions(a_cfg=1.0, e_cfg=1.0, nfe=4)


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixing(c: Conditions) -> Callable[[Tensor, Tensor], Tensor]:
    """A small network that depends on every condition and stays bounded."""

    def evaluate(t: Tensor, x: Tensor) -> Tensor:
        out = torch.tanh(x + c.wr[:, None] + c.wa.sum(-1, keepdim=True) + t[:, None, None])
        out = out + 0.3 * c.prev_x.mean(1, keepdim=True) + 0.2 * c.prev_wa.mean((1, 2))[:, None, None]
        for extra in (c.we, c.prev_we, c.pose, c.prev_pose):
            out = out if extra is None else out + 0.1 * extra.mean((1, 2))[:, None, None]
        return out

    return evaluate


class Recorder:
    """Keeps the conditions of every window."""

    def __init__(self) -> None:
        self.seen: list[Conditions] = []

    def __call__(self, c: Conditions) -> Callable[[Tensor, Tensor], Tensor]:
        self.seen.append(c)
        return mixing(c)


def _inputs(total: int, batch: int = 1, emotion: bool = True, wr: Tensor | None = None) -> list[Conditions]:
    wr = _draw(batch, SHAPE.dim, seed=7) if wr is None else wr
    we = _draw(batch, 1, 7, seed=6) if emotion else None
    return list(cut(Conditions(wr, _draw(batch, total, 3, seed=5), we), SHAPE.window))


def _run(network, inputs, seeds=(11,), options=PLAIN) -> list[SampledWindow]:
    return list(sample_windows(network, inputs, seeds, options, SHAPE))


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (640, 1), (641, 2), (16_000, 25), (240_640, 376)])
def test_frames_are_samples_over_640_rounded_up(samples: int, frames: int):
    assert n_frames(samples) == frames


@pytest.mark.parametrize("total", [1, 5, 6, 7, 12, 13])
def test_windows_cover_every_frame_once(total: int):
    covered = [f for w in plan(total, 6) for f in range(w.start, w.start + w.length)]
    assert covered == list(range(total))
    assert len(plan(total, 6)) == -(-total // 6)


def test_padding_repeats_the_last_frame_and_carrying_keeps_the_last_ones():
    x = torch.arange(3.0).reshape(1, 3, 1)
    assert pad_end(x, 5).flatten().tolist() == [0, 1, 2, 2, 2]
    assert carry(x, 2).flatten().tolist() == [1, 2]
    assert carry(x, 5).flatten().tolist() == [0, 0, 0, 1, 2]


@pytest.mark.parametrize("total", [1, 6, 7, 13])
def test_every_length_gives_whole_windows_from_one_frame_on(total: int):
    windows = _run(mixing, _inputs(total))
    assert [w.motion.shape for w in windows] == [(1, SHAPE.window, SHAPE.dim)] * -(-total // SHAPE.window)


def test_the_first_window_sees_zeros_and_later_ones_the_end_of_the_one_before():
    network, inputs = Recorder(), _inputs(13)
    windows = _run(network, inputs)
    first, second, third = network.seen
    assert not first.prev_x.any() and not first.prev_wa.any()
    assert torch.equal(second.prev_x, windows[0].motion[:, -2:])
    assert torch.equal(second.prev_wa, inputs[0].wa[:, -2:])
    assert torch.equal(third.prev_x, windows[1].motion[:, -2:])
    assert torch.equal(third.wa, third.wa[:, :1].expand(-1, 6, -1))  # one frame, repeated to a whole window


def test_the_end_of_a_clip_does_not_change_the_windows_before_it():
    long, short = _run(mixing, _inputs(13)), _run(mixing, _inputs(13)[:2])
    for a, b in zip(short, long, strict=False):
        assert torch.equal(a.motion, b.motion)


def test_given_previous_audio_replaces_the_carried_one():
    network, before = Recorder(), _draw(1, 2, 3, seed=9)
    inputs = _inputs(12)
    _run(network, [inputs[0], replace(inputs[1], prev_wa=before)])
    assert torch.equal(network.seen[1].prev_wa, before)


def test_each_item_of_a_batch_gets_what_it_gets_alone():
    inputs = _inputs(13, batch=3)
    together = torch.cat([w.motion for w in _run(mixing, inputs, (1, 2, 3))], 1)
    for item in (2, 0, 1):
        result = torch.cat([w.motion for w in _run(mixing, [i.item(item) for i in inputs], (item + 1,))], 1)
        torch.testing.assert_close(result, together[item : item + 1], rtol=0, atol=1e-6)


def test_an_adaptive_solver_treats_the_items_of_a_batch_one_by_one():
    options = SamplingOptions(a_cfg=1.0, e_cfg=1.0, solver="dopri5", rtol=1e-3, atol=1e-3)
    wr = torch.cat([_draw(1, SHAPE.dim, seed=7), 40 * _draw(1, SHAPE.dim, seed=8)])  # a stiff neighbour
    inputs = _inputs(6, batch=2, wr=wr)
    together = _run(mixing, inputs, (1, 2), options)[0]
    alone = _run(mixing, [inputs[0].item(0)], (1,), options)[0]
    torch.testing.assert_close(together.motion[:1], alone.motion, rtol=0, atol=1e-6)
    assert together.evaluations > alone.evaluations > 5


def test_equal_seeds_repeat_and_other_seeds_differ():
    a, b, c = (_run(mixing, _inputs(7), (seed,))[0].motion for seed in (11, 11, 12))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_noise_is_independent_by_window_unless_shared():
    independent = [window_noise([5], i, SHAPE) for i in range(2)]
    shared = [window_noise([5], i, SHAPE, shared=True) for i in range(2)]
    assert not torch.equal(*independent) and torch.equal(*shared)


def test_noise_of_an_item_does_not_depend_on_its_neighbours():
    assert torch.equal(window_noise([5, 6], 3, SHAPE)[1], window_noise([6], 3, SHAPE)[0])


def test_noise_is_standard_normal():
    noise = window_noise(range(40), 0, MotionShape())
    assert float(noise.mean()) == pytest.approx(0, abs=0.005) and float(noise.std()) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(
    ("options", "evaluations", "branches"),
    [
        (SamplingOptions(nfe=10), 10, 3),
        (SamplingOptions(nfe=10, ode_grid="official"), 9, 3),
        (SamplingOptions(nfe=10, a_cfg=1.0), 10, 1),
        (SamplingOptions(nfe=10, solver="midpoint"), 10, 3),
        (SamplingOptions(nfe=10, solver="midpoint", ode_grid="official"), 18, 3),
        (SamplingOptions(nfe=8, solver="rk4", a_cfg=2.0, e_cfg=2.0), 8, 2),
        (SamplingOptions(prediction="x0"), 50, 3),
    ],
)
def test_the_reported_evaluations_and_rows_are_what_ran(options: SamplingOptions, evaluations: int, branches: int):
    batches: list[int] = []

    def counting(c: Conditions):
        inner = mixing(c)

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            batches.append(x.shape[0])
            return inner(t, x)

        return evaluate

    (window,) = _run(counting, _inputs(6, batch=2), (1, 2), options)
    assert (window.evaluations, window.rows) == (evaluations, evaluations * branches * 2)
    assert (len(batches), sum(batches)) == (window.evaluations, window.rows)
    assert options.evaluations() == evaluations


def test_framewise_emotion_and_pose_come_with_their_previous_frames():
    network, total = Recorder(), 13
    wa, we, pose = _draw(1, total, 3), _draw(1, total, 7, seed=2), _draw(1, total, 6, seed=3)
    inputs = cut(Conditions(_draw(1, SHAPE.dim, seed=7), wa, we, pose), SHAPE.window)
    _run(network, inputs)
    first, second, third = network.seen
    assert first.prev_we is not None and not first.prev_we.any()
    assert first.prev_pose is not None and not first.prev_pose.any()
    assert torch.equal(second.prev_we, we[:, 4:6]) and torch.equal(second.we, we[:, 6:12])
    assert torch.equal(third.prev_pose, pose[:, 10:12])
    assert torch.equal(third.pose, pose[:, 12:].expand(-1, 6, -1))
    assert torch.equal(third.we, we[:, 12:].expand(-1, 6, -1)) and torch.equal(third.prev_we, we[:, 10:12])


def test_an_exact_velocity_field_reaches_the_data_in_one_step():
    data = _draw(1, SHAPE.window, SHAPE.dim, seed=4)
    noise = window_noise([11], 0, SHAPE)
    (window,) = _run(lambda c: lambda t, x: data - noise, _inputs(6), options=SamplingOptions(a_cfg=1.0, nfe=1))
    torch.testing.assert_close(window.motion, data, rtol=0, atol=1e-6)


def test_damaged_weights_are_an_error_and_not_a_video():
    with pytest.raises(ClipError, match="not_finite"):
        _run(lambda c: lambda t, x: x * float("nan"), _inputs(6))


@pytest.mark.parametrize(
    "options",
    [
        PLAIN,
        SamplingOptions(a_cfg=1.0, e_cfg=1.0, nfe=8, solver="rk4"),
        SamplingOptions(a_cfg=1.0, e_cfg=1.0, prediction="x0"),
        SamplingOptions(a_cfg=1.0, e_cfg=1.0, prediction="epsilon", diffusion_time="fraction"),
    ],
)
def test_the_times_that_are_prepared_are_those_the_network_is_asked_for(options: SamplingOptions):
    asked: list[float] = []

    def noting(c: Conditions):
        inner = mixing(c)

        def evaluate(t: Tensor, x: Tensor) -> Tensor:
            asked.append(float(t[0]))
            return inner(t, x)

        return evaluate

    _run(noting, _inputs(6), options=options)
    assert evaluation_times(options) == list(dict.fromkeys(asked))


def test_an_adaptive_solver_has_no_times_to_prepare():
    assert evaluation_times(SamplingOptions(solver="dopri5")) == []
