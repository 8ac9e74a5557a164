"""Memory and time of a phase before its first step, reckoned from its networks and a measured speed of the device.

Networks are built without storage (torch's fake tensors), one sample goes through all losses of a step forward and
backward, and its multiplications and the tensors that the backward pass needs are counted. Time is those
multiplications at the speed of a large matrix product on the device, of which training reaches a part (`REACHED`, an
assumption until a run is timed).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from floatbench.device import pick_device
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.float import FloatModel
from floatbench.training.autoencoder_phase import Critics, Reconstruct, adversarial_terms
from floatbench.training.config import AutoencoderConfig, FlowConfig, TinyAutoencoderConfig, TrainConfig
from floatbench.training.cost import blocks, recompute
from floatbench.training.losses.adversarial import discriminator_loss, r1_penalty
from floatbench.training.losses.perceptual import RandomPyramid, Vgg19, masked_perceptual_loss, perceptual_loss
from floatbench.training.tiny.phase import TinyReconstruct

REACHED = 0.35
"""Of a matrix product's speed, what a training step with convolutions of many sizes reaches."""
GIB = 2**30


@dataclass(frozen=True)
class Projection:
    """What a phase is expected to take.

    Attributes:
        trained, frozen: numbers in the networks. samples: rows that one process computes at once.
        weights_gib: weights, gradients, two Adam moments and the running average, float32.
        saved_gib: what the backward pass of these rows needs. sample_tflop: of one row, forward and backward, with
            every loss of the step; of R1 what is its share in a mean step.
        device_tflops: measured, in tera-operations a second.
    """

    phase: str
    device: str
    batch: int
    samples: int
    steps: int
    trained: int
    frozen: int
    weights_gib: float
    saved_gib: float
    sample_tflop: float
    device_tflops: float
    step_seconds: float
    hours: float

    def record(self) -> dict[str, Any]:
        """JSON types."""
        return asdict(self)

    def text(self) -> str:
        """One paragraph."""
        held = f"{self.saved_gib:.1f} GiB for the {self.samples} of {self.batch} rows that a process computes at once"
        return (
            f"{self.phase}: {self.trained / 1e6:.1f} M numbers trained, {self.frozen / 1e6:.1f} M frozen\n"
            f"memory: {self.weights_gib:.1f} GiB of weights and moments, {held}\n"
            f"time: {self.sample_tflop:.3f} TFLOP a row, {REACHED:.0%} of {self.device_tflops:.2f} TFLOP/s reached on "
            f"{self.device}: {self.step_seconds:.2f} s a step, {self.hours:.1f} hours for {self.steps} steps "
            "(projected, not measured)"
        )


def project(config: TrainConfig, phase: Literal["autoencoder", "flow"], device: str = "auto") -> Projection:
    """The projection for this process's share of the batch.

    Raises:
        UsageError, DependencyError: see `floatbench.device.pick_device`.
    """
    part = config.autoencoder if phase == "autoencoder" else config.flow
    where = pick_device(device)
    rows = max(1, part.batch // int(os.environ.get("WORLD_SIZE", "1")))
    samples = max(1, rows // part.accumulate)
    with FakeTensorMode(allow_non_fake_inputs=True):
        if phase == "autoencoder":
            networks, again, passes = _first(config, config.autoencoder)
        else:
            networks, again, passes = _second(config, config.flow)
        recompute(again)
        saved, flops = _counted(passes, part.precision == "bfloat16", again)
        trained = sum(p.numel() for network in networks for p in network.parameters() if p.requires_grad)
        frozen = sum(p.numel() for network in networks for p in network.parameters() if not p.requires_grad)
    speed = measured_speed(where, part.precision)
    seconds = rows * flops / (REACHED * speed)
    return Projection(
        phase, where, part.batch, samples, part.steps, trained, frozen,
        (20 * trained + 4 * frozen) / GIB, samples * saved / GIB, flops / 1e12, speed / 1e12,
        seconds, seconds * part.steps / 3600,
    )  # fmt: skip


class Pass(NamedTuple):
    """A loss of a step, of one row, and the share of the steps that reckon it."""

    loss: Callable[[], Tensor]
    share: float = 1.0


Reckoned = tuple[list[nn.Module], list[nn.Module], list[Pass]]
"""Networks of a phase, their parts that are computed again, and what a step passes backward through, in turn."""


def _first(config: TrainConfig, c: AutoencoderConfig) -> Reckoned:
    """Phase 1, as `AutoencoderPhase.step` has it: the generator, the critics, and R1 every `r1_every` steps."""
    autoencoder, size = FloatModel(config.model).motion_autoencoder, config.model.image_size
    reconstruct = _reconstruct(autoencoder, c)
    small = getattr(c, "network", "vgg19") == "random"
    network = (RandomPyramid() if small else Vgg19(None)).requires_grad_(False)
    networks: list[nn.Module] = [autoencoder, network]
    critics = Critics(size, c) if c.adversarial else None
    real, boxes = torch.zeros(1, 3, size, size), torch.zeros(1, 3, 4)

    def generator() -> Tensor:
        made = reconstruct(real, real).picture
        terms = {"l1": (made.float() - real).abs().mean()}
        if c.perceptual:
            terms["perceptual"] = perceptual_loss(network, made, real, c.scales)
        if c.component:
            everywhere = torch.ones(1, 1, size, size)
            terms["component"] = masked_perceptual_loss(network, made, real, everywhere, c.component_levels)
        if critics is not None:
            critics.requires_grad_(False)
            with torch.no_grad():
                known = critics(real, boxes)
            terms |= adversarial_terms(critics(made, boxes), known, components=True)
            critics.requires_grad_(True)
        return torch.stack(list(terms.values())).sum()

    passes = [Pass(generator)]
    if critics is not None:
        networks.append(critics)
        passes += _of_critics(critics, real, boxes, c)
    return networks, [*blocks(autoencoder), network] if c.recompute else [], passes


def _reconstruct(autoencoder: MotionAutoencoder, c: AutoencoderConfig) -> Reconstruct:
    """The transfer of the phase, with what it freezes."""
    if not isinstance(c, TinyAutoencoderConfig):
        return Reconstruct(autoencoder)
    if autoencoder.dec.painter is not None:
        autoencoder.dec.painter.requires_grad_(False)
    if c.encoder == "regression":
        autoencoder.enc.requires_grad_(False)
        autoencoder.dec.direction.requires_grad_(False)
    return TinyReconstruct(autoencoder, c.both_ways)


def _of_critics(critics: Critics, real: Tensor, boxes: Tensor, c: AutoencoderConfig) -> list[Pass]:
    """The discriminators' own losses."""

    def told_apart() -> Tensor:
        on_fake, on_real = critics(real, boxes), critics(real, boxes)
        return torch.stack([discriminator_loss(on_real[part], on_fake[part]) for part in ("full", "eye", "lip")]).sum()

    def smooth() -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return r1_penalty(lambda x: critics.full(1 * x), real)  # the counter cannot follow a leaf's gradient

    return [Pass(told_apart), *([Pass(smooth, 1 / c.r1_every)] if c.r1 and c.r1_every else [])]


def _second(config: TrainConfig, c: FlowConfig) -> Reckoned:
    """Phase 2; the frozen speech networks count where they hear every window."""
    from floatbench.training.flow_phase import frozen

    model = FloatModel(config.model)
    frozen(model, config.emotion_first)
    sizes = config.model
    frames = sizes.window + sizes.previous
    again = list(model.fmt.blocks) if c.recompute else []

    def loss() -> Tensor:
        from floatbench.model.conditions import Conditions

        wave = torch.zeros(1, 640 * frames)
        if c.hearing == "window":
            wa = model.audio_encoder(wave, frames)
            we = model.emotion_encoder(wave)[:, None] if model.emotion_encoder is not None else None
        else:
            wa, we = torch.zeros(1, frames, sizes.dim_a), torch.zeros(1, 1, sizes.dim_e)
        if sizes.emotion_condition != "speech":
            we = None
        zeros = torch.zeros(1, frames, sizes.dim_w)
        previous, current = zeros[:, : sizes.previous], zeros[:, sizes.previous :]
        given = Conditions(
            zeros[:, 0], wa[:, sizes.previous :], we, None, previous, wa[:, : sizes.previous], None, None
        )
        return model.fmt(torch.zeros(1), current, given).square().mean()

    networks = [model.fmt, model.audio_encoder, *([model.emotion_encoder] if model.emotion_encoder else [])]
    return networks, again, [Pass(loss)]


def _counted(passes: Sequence[Pass], half: bool, again: Sequence[nn.Module]) -> tuple[float, float]:
    """Bytes that the backward pass of one sample needs at most, and operations of a mean step, forward and backward.

    Modules that are computed `again` keep what goes into them; what is inside one of them for a moment is not counted.
    """
    held: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        if not isinstance(value, nn.Parameter):
            storage = value.untyped_storage()
            held[storage._cdata] = storage.nbytes()
        return value

    def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
        for value in given:
            if isinstance(value, Tensor):
                pack(value)

    for module in again:
        module.register_forward_pre_hook(keep)
    most, operations = 0, 0.0
    for loss, share in passes:
        held.clear()
        counter = FlopCounterMode(display=False)
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=half)
        with counter, saved_tensors_hooks(pack, lambda value: value), autocast:
            loss().backward()
        most = max(most, sum(held.values()))
        operations += share * counter.get_total_flops()
    return float(most), operations


def measured_speed(device: str, precision: str, side: int = 2048, seconds: float = 0.5) -> float:
    """Operations a second of a matrix product on the device."""
    if device == "cpu":
        side //= 2
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    a = torch.ones(side, side, dtype=kind, device=device)

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    _ = a @ a
    wait()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        _ = a @ a
        wait()
        done += 1
    return 2.0 * side**3 * done / (time.perf_counter() - start)
