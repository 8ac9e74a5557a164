"""Phase 2: what the flow-matching transformer is taught (FLOAT, Eq. 11 to 13).

The network gives L' previous and L current frames. For the current frames it must give the velocity w - x0 of the
straight path; for the previous frames the paper asks for the clean motion itself (not a velocity). The velocity term
compares one-frame differences over all L' + L frames.

    L_OT  = |v_current - (w - x0)| + |v_previous - w_previous|
    L_vel = |d v - d u|,  d y_i = y_{i+1} - y_i,  u = [w_previous, w - x0]

|.| is the mean of absolute values. B batch, L window, L' previous frames, D latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from floatbench.model.config import Prediction
from floatbench.sampling.paths import DiffusionPath, FlowPath

PreviousLoss = Literal["clean", "none", "velocity"]


@dataclass(frozen=True)
class FlowTerms:
    """The parts of the loss, scalars: current frames, previous frames, one-frame differences."""

    current: Tensor
    previous: Tensor
    velocity: Tensor

    def total(self, ot_weight: float, velocity_weight: float) -> Tensor:
        """lambda_OT (current + previous) + lambda_vel velocity."""
        return ot_weight * (self.current + self.previous) + velocity_weight * self.velocity


def flow_terms(
    output: Tensor, current: Tensor, previous: Tensor, boundary: bool = True, previous_loss: PreviousLoss = "clean"
) -> FlowTerms:
    """Compares the output (B, L' + L, D) with the targets of current (B, L, D) and previous frames (B, L', D).

    Args:
        boundary: keep the difference between the last previous and the first current frame, which mixes a motion
            and a velocity (the literal reading of Eq. 12).
        previous_loss: `clean` as above; `velocity` expects a target that is a velocity and differs in name only;
            `none` leaves the previous frames out of every term.
    """
    length = previous.shape[1]
    out_previous, out_current = output[:, :length], output[:, length:]
    on_current = (out_current - current).abs().mean()
    if previous_loss == "none":
        return FlowTerms(on_current, on_current.new_zeros(()), _differences(out_current, current).abs().mean())
    on_previous = (out_previous - previous).abs().mean()
    steps = _differences(output, torch.cat((previous, current), dim=1))
    if not boundary:
        steps = torch.cat((steps[:, : length - 1], steps[:, length:]), dim=1)
    return FlowTerms(on_current, on_previous, steps.abs().mean())


def _differences(output: Tensor, target: Tensor) -> Tensor:
    return output.diff(dim=1) - target.diff(dim=1)


def noisy_motion(
    prediction: Prediction, data: Tensor, noise: Tensor, t: Tensor, diffusion: DiffusionPath
) -> tuple[Tensor, Tensor]:
    """What the network sees and what it must give for the current frames, (B, L, D) each.

    Args:
        prediction: `velocity`: x_t on the straight path and w - x0, t (B,) in [0, 1]. `epsilon`, `x0` (ablations): x_k
            of the diffusion and its noise or its data, t (B,) step indices.
    """
    if prediction == "velocity":
        path = FlowPath()
        return path.interpolate(noise, data, t), path.target(noise, data)
    return diffusion.interpolate(noise, data, t), noise if prediction == "epsilon" else data


def sample_times(
    prediction: Prediction, count: int, diffusion: DiffusionPath, generator: torch.Generator, logit_normal: bool = False
) -> Tensor:
    """(count,) times of a batch: uniform in [0, 1] or logit-normal (0, 1), or uniform step indices of a diffusion."""
    if prediction != "velocity":
        return torch.randint(diffusion.steps, (count,), generator=generator).float()
    if logit_normal:
        return torch.sigmoid(torch.randn(count, generator=generator))
    return torch.rand(count, generator=generator)
