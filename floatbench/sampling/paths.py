"""Probability paths between noise and motion, and the conversions between what a network may predict.

Time runs from noise (0) to motion (1) on the flow path; a diffusion counts its steps from motion (0) to noise (N - 1).
Shapes: x, noise, data (B, L, D); t (B,) or a scalar tensor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MAX_BETA = 0.999
"""Largest noise share of one diffusion step; keeps alpha-bar above zero (Nichol and Dhariwal 2021, section 3.2)."""


def _like(value: Tensor, x: Tensor) -> Tensor:
    """Appends axes so that a (B,) or scalar value multiplies (B, L, D)."""
    value = value.to(x)
    return value.reshape(value.shape + (1,) * (x.ndim - 1)) if value.ndim == 1 else value


@dataclass(frozen=True)
class FlowPath:
    """The straight path of optimal-transport flow matching, x_t = (1 - t) noise + t data (FLOAT, Eq. 4 and 5)."""

    def interpolate(self, noise: Tensor, data: Tensor, t: Tensor) -> Tensor:
        """x_t, (B, L, D)."""
        t = _like(t, data)
        return (1 - t) * noise + t * data

    def target(self, noise: Tensor, data: Tensor) -> Tensor:
        """The velocity dx_t/dt = data - noise, the same at every t."""
        return data - noise

    def to_data(self, velocity: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The end of the straight line through x with this velocity."""
        return x + (1 - _like(t, x)) * velocity

    def to_noise(self, velocity: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """The start of the straight line through x with this velocity."""
        return x - _like(t, x) * velocity


@dataclass(frozen=True)
class DiffusionPath:
    """A variance-preserving diffusion, x_k = sqrt(abar_k) data + sqrt(1 - abar_k) noise, with the cosine schedule.

    Attributes:
        steps: number of training steps N (FLOAT's ablation: 500).
        offset: s of the cosine schedule, cos^2((k/N + s) / (1 + s) * pi / 2) (Nichol and Dhariwal 2021, Eq. 17).
    """

    steps: int = 500
    offset: float = 0.008

    @cached_property
    def alpha_bar(self) -> Tensor:
        """(N,) float64 on the CPU: the signal share after each step, from step sizes clipped at `MAX_BETA`."""
        k = torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        curve = torch.cos((k + self.offset) / (1 + self.offset) * (math.pi / 2)) ** 2
        beta = (1 - curve[1:] / curve[:-1]).clamp(max=MAX_BETA)
        return torch.cumprod(1 - beta, dim=0)

    def scales(self, k: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(abar_k), sqrt(1 - abar_k)), shaped to multiply x; k holds step indices."""
        abar = self.alpha_bar.to(k.device)[k.long()]
        return _like(abar.sqrt(), x), _like((1 - abar).sqrt(), x)

    def interpolate(self, noise: Tensor, data: Tensor, k: Tensor) -> Tensor:
        """x_k, (B, L, D)."""
        signal, sigma = self.scales(k, data)
        return signal * data + sigma * noise

    def epsilon_to_data(self, epsilon: Tensor, x: Tensor, k: Tensor) -> Tensor:
        """The data that, with this noise, gives x at step k."""
        signal, sigma = self.scales(k, x)
        return (x - sigma * epsilon) / signal

    def data_to_epsilon(self, data: Tensor, x: Tensor, k: Tensor) -> Tensor:
        """The noise that, with this data, gives x at step k."""
        signal, sigma = self.scales(k, x)
        return (x - signal * data) / sigma

    def ddim_indices(self, count: int) -> list[int]:
        """Step indices of `count` DDIM steps, evenly spaced and starting from 0, in the order they are walked.

        500 steps and 50 evaluations give 490, 480, ..., 0 (Song et al. 2021, appendix D.3).
        """
        if not 1 <= count <= self.steps or self.steps % count:
            raise ValueError(f"{count} DDIM steps do not divide the {self.steps} steps of the diffusion")
        return list(range(0, self.steps, self.steps // count))[::-1]

    def ddim_step(self, data: Tensor, epsilon: Tensor, k_next: int | None) -> Tensor:
        """The deterministic (eta = 0) step to index `k_next`, or to the data itself when it is None."""
        if k_next is None:
            return data
        signal, sigma = self.scales(torch.tensor(k_next), data)
        return signal * data + sigma * epsilon
