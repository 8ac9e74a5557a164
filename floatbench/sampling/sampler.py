"""The one sampler: conditions of window after window in, motion latents out.

It serves velocity, epsilon and x0 networks, with or without emotion, frame-wise emotion and pose, so that the rows of
FLOAT's ablation tables differ by options and networks only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from floatbench.errors import ClipError
from floatbench.sampling.guidance import Branch, Conditions, Network, Predictor, branches, guided
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.solvers import NfeMeter, integrate, integrate_adaptive, time_grid
from floatbench.sampling.windows import carry, pad_end
from floatbench.seeds import cpu_generator, window_seed


@dataclass(frozen=True)
class MotionShape:
    """Sizes of a window: current frames L, previous frames P, motion width D."""

    window: int = 50
    previous: int = 10
    dim: int = 512


@dataclass(frozen=True)
class WindowInput:
    """The conditions of one window for B clips of one length; n <= L frames, fewer only in the last window.

    Attributes:
        wa: (B, n, A) audio features.
        prev_wa: (B, P, A) features before the window; None carries the last ones over (zeros in the first window).
        we: (B, 1, E) emotion, (B, n, E) frame by frame, or None.
        pose: (B, n, 6) head pose, or None.
    """

    wa: Tensor
    prev_wa: Tensor | None = None
    we: Tensor | None = None
    pose: Tensor | None = None


@dataclass(frozen=True)
class SampledWindow:
    """Motion of one window, (B, n, D), with the evaluations and network rows that it took."""

    index: int
    motion: Tensor
    evaluations: int
    rows: int


def window_noise(seeds: Sequence[int], index: int, shape: MotionShape, shared: bool = False) -> Tensor:
    """(B, L, D) standard normal noise from CPU generators: the item's own whatever the batch holds.

    Args:
        seeds: the clip seed of each item.
        shared: give every window of a clip the same noise.
    """
    return torch.stack(
        [
            torch.randn(shape.window, shape.dim, generator=cpu_generator(seed if shared else window_seed(seed, index)))
            for seed in seeds
        ]
    )


@torch.no_grad()
def sample_windows(
    network: Network,
    wr: Tensor,
    inputs: Iterable[WindowInput],
    seeds: Sequence[int],
    options: SamplingOptions,
    shape: MotionShape,
) -> Iterator[SampledWindow]:
    """Samples window after window; each sees the motion sampled before it (FLOAT, section 4.2).

    Args:
        wr: (B, D) motion of the source picture.
        seeds: one a clip.

    Raises:
        ClipError: `not_finite` when a network returns NaN or infinity.
    """
    previous: _Carried | None = None
    for index, given in enumerate(inputs):
        conditions, following = _window_conditions(wr, given, previous, shape)
        noise = window_noise(seeds, index, shape, options.window_noise == "shared").to(wr.device)
        meter = NfeMeter()
        motion = solve_window(network, conditions, noise, options, meter)
        if not torch.isfinite(motion).all():
            raise ClipError("not_finite", f"the motion of window {index} is not finite; are the weights damaged?")
        previous = following(motion)
        yield SampledWindow(index, motion[:, : given.wa.shape[1]], meter.evaluations, meter.rows)


@dataclass(frozen=True)
class _Carried:
    """The last P frames of a window: motion, audio, and what else is given frame by frame."""

    x: Tensor
    wa: Tensor
    we: Tensor | None
    pose: Tensor | None


def _window_conditions(
    wr: Tensor, given: WindowInput, previous: _Carried | None, shape: MotionShape
) -> tuple[Conditions, Callable[[Tensor], _Carried]]:
    """The conditions of a window, and what makes from its motion the frames that the next one will see."""
    wa = pad_end(given.wa, shape.window)
    framewise = given.we is not None and given.we.shape[1] > 1
    we = pad_end(given.we, shape.window) if framewise and given.we is not None else given.we
    pose = pad_end(given.pose, shape.window) if given.pose is not None else None

    def before(current: Tensor | None, carried: Tensor | None) -> Tensor | None:
        if current is None:
            return None
        return current.new_zeros(current.shape[0], shape.previous, current.shape[2]) if carried is None else carried

    prev_x = wr.new_zeros(wr.shape[0], shape.previous, shape.dim) if previous is None else previous.x
    prev_wa = given.prev_wa if given.prev_wa is not None else before(wa, previous.wa if previous else None)
    assert prev_wa is not None
    conditions = Conditions(
        wr=wr,
        wa=wa,
        prev_wa=prev_wa,
        prev_x=prev_x,
        we=we,
        prev_we=before(we, previous.we if previous else None) if framewise else None,
        pose=pose,
        prev_pose=before(pose, previous.pose if previous else None),
    )

    def following(motion: Tensor) -> _Carried:
        def tail(x: Tensor | None) -> Tensor | None:
            return None if x is None else carry(x, shape.previous)

        return _Carried(
            carry(motion, shape.previous), carry(wa, shape.previous), tail(we if framewise else None), tail(pose)
        )

    return conditions, following


def solve_window(
    network: Network, conditions: Conditions, noise: Tensor, options: SamplingOptions, meter: NfeMeter
) -> Tensor:
    """Noise (B, L, D) -> motion (B, L, D) of one window, whatever the network predicts."""
    chosen = branches(
        options.a_cfg, options.e_cfg, options.r_cfg, options.reference_branch, emotion=conditions.we is not None
    )
    if options.prediction == "velocity" and options.adaptive and noise.shape[0] > 1:
        # The step size follows the error of the whole batch, so that every item gets a solve of its own.
        items = [
            _solve(network, conditions.item(b), chosen, noise[b : b + 1], options, meter) for b in range(len(noise))
        ]
        return torch.cat(items)
    return _solve(network, conditions, chosen, noise, options, meter)


def _solve(
    network: Network,
    conditions: Conditions,
    chosen: tuple[Branch, ...],
    noise: Tensor,
    options: SamplingOptions,
    meter: NfeMeter,
) -> Tensor:
    predict = guided(network, conditions, chosen, options.unconditional_audio == "keep", meter)
    if options.prediction != "velocity":
        return ddim(predict, noise, options)
    if options.adaptive:
        return integrate_adaptive(predict, noise, options.solver, options.rtol, options.atol)
    return integrate(predict, noise, time_grid(options.solver, options.nfe, options.ode_grid), options.solver)


def ddim(predict: Predictor, x: Tensor, options: SamplingOptions) -> Tensor:
    """Walks a diffusion from noise to data without randomness (Song et al. 2021, Eq. 12 with eta = 0)."""
    path = options.diffusion
    indices = path.ddim_indices(options.ddim_steps)
    for k, k_next in zip(indices, [*indices[1:], None], strict=True):
        index = torch.tensor(k, device=x.device)
        told = index.to(x) / (path.steps if options.diffusion_time == "fraction" else 1)
        prediction = predict(told, x).to(x.dtype)
        if options.prediction == "epsilon":
            data, epsilon = path.epsilon_to_data(prediction, x, index), prediction
        else:
            data, epsilon = prediction, path.data_to_epsilon(prediction, x, index)
        x = path.ddim_step(data, epsilon, k_next)
    return x


def evaluation_times(options: SamplingOptions) -> list[float]:
    """What the network is told at each evaluation of a window, in order; empty when an adaptive solver decides."""
    told: list[float] = []

    def note(t: Tensor, x: Tensor) -> Tensor:
        told.append(float(t))
        return x

    if options.prediction != "velocity":
        ddim(note, torch.zeros(1), options)
    elif not options.adaptive:
        integrate(note, torch.zeros(1), time_grid(options.solver, options.nfe, options.ode_grid), options.solver)
    return list(dict.fromkeys(told))
