"""The one sampler: conditions of window after window in, motion latents out.

It serves velocity, epsilon and x0 networks, with or without emotion, frame-wise emotion and pose, so that the rows of
FLOAT's ablation tables differ by options and networks only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from floatbench.errors import ClipError
from floatbench.model.conditions import Conditions
from floatbench.sampling.ahead import later, on_device
from floatbench.sampling.guidance import Branch, Network, Predictor, branches, guided
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.solvers import NfeMeter, integrate, integrate_adaptive, time_grid
from floatbench.sampling.windows import carry
from floatbench.seeds import cpu_generator, window_seed


@dataclass(frozen=True)
class MotionShape:
    """Sizes of a window: current frames L, previous frames P, motion width D."""

    window: int = 50
    previous: int = 10
    dim: int = 512


@dataclass(frozen=True)
class SampledWindow:
    """Motion of one window, (B, L, D), with the evaluations and network rows that it took."""

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
    windows: Iterable[Conditions],
    seeds: Sequence[int],
    options: SamplingOptions,
    shape: MotionShape,
) -> Iterator[SampledWindow]:
    """Samples window after window; each sees the motion sampled before it (FLOAT, section 4.2).

    Args:
        windows: of B clips, L frames each, see `floatbench.sampling.windows.cut`. Previous frames that a window does
            not bring itself are the last ones of the window before it, zeros before the first. Clips of several lengths
            come longest first: a window holds the first ones, as many as last that long.
        seeds: one a clip.

    Raises:
        ClipError: `not_finite` when a network returns NaN or infinity; on CUDA after the window that follows, since
            asking earlier would wait for the device.
    """
    before: dict[str, Tensor] = {}
    finite: list[Callable[[], bool]] = []
    for index, given in enumerate(windows):
        count = len(given.wr)
        before = {name: value[:count] for name, value in before.items()}
        noise = window_noise(seeds[:count], index, shape, options.window_noise == "shared")
        noise = on_device(noise, given.wr.device)
        meter = NfeMeter()
        motion = solve_window(network, _continued(given, before, shape.previous), noise, options, meter)
        finite.append(later(torch.isfinite(motion).all()))
        _check(finite[: index if motion.is_cuda else index + 1])
        before = {"x": motion} | given.framewise()
        yield SampledWindow(index, motion, meter.evaluations, meter.rows)
    _check(finite)


def _check(finite: Sequence[Callable[[], bool]]) -> None:
    """Raises ClipError unless the last one of these windows is finite; each was the last one once."""
    if finite and not finite[-1]():
        raise ClipError("not_finite", f"the motion of window {len(finite) - 1} is not finite; are the weights damaged?")


def _continued(given: Conditions, before: dict[str, Tensor], previous: int) -> Conditions:
    """A window with the last frames of the one before it, unless it brings its own."""
    current = {"x": given.wr[:, None]} | given.framewise()
    last = {f"prev_{name}": carry(before.get(name, value[:, :0]), previous) for name, value in current.items()}
    return replace(given, **(last | given.items()))


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
        index = torch.tensor(k)  # on the CPU, as the times of `integrate`
        time = index.to(x.dtype) / (path.steps if options.diffusion_time == "fraction" else 1)
        prediction = predict(time, x).to(x.dtype)
        if options.prediction == "epsilon":
            data, epsilon = path.epsilon_to_data(prediction, x, index), prediction
        else:
            data, epsilon = prediction, path.data_to_epsilon(prediction, x, index)
        x = path.ddim_step(data, epsilon, k_next)
    return x


def evaluation_times(options: SamplingOptions) -> list[float]:
    """The times at which the network is evaluated in a window, in order; empty when an adaptive solver decides."""
    times: list[float] = []

    def note(t: Tensor, x: Tensor) -> Tensor:
        times.append(float(t))
        return x

    if options.prediction != "velocity":
        ddim(note, torch.zeros(1), options)
    elif not options.adaptive:
        integrate(note, torch.zeros(1), time_grid(options.solver, options.nfe, options.ode_grid), options.solver)
    return list(dict.fromkeys(times))
