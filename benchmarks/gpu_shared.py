"""What the steps of `gpu_day.py` share: the model and how its time, memory and arithmetic are seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import metrics_speed
import numpy as np
import torch
from torch import Tensor

from floatbench.model.config import config
from floatbench.model.float import FloatModel
from floatbench.model.randomise import randomise
from floatbench.sampling.animator import Animator
from floatbench.sampling.loading import Origin, load_model
from floatbench.sampling.options import SamplingOptions
from floatbench.types import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]


@dataclass
class Day:
    """What the steps share.

    Attributes:
        device: that is looked at, beside the CPU. small: seconds on a CPU instead of minutes on a GPU.
        weights: a model's name or file; empty for seeded random weights, which cost the same.
    """

    device: str
    small: bool = False
    weights: str = ""
    _animators: dict[str, Animator] = field(default_factory=dict)

    @cached_property
    def network(self) -> FloatModel:
        """The networks, on the CPU until an animator takes them."""
        if self.weights:
            return load_model(self.weights, "plain")[0].eval().requires_grad_(False)
        network = FloatModel(config("float-tiny-64" if self.small else "float-512"), "plain")
        randomise(network, 0)
        return network.eval().requires_grad_(False)

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    def animator(self, **how: Any) -> Animator:
        """A model on the device; made once for each way to compute."""
        key = json.dumps(how)
        if key not in self._animators:
            self._animators[key] = Animator(self.network, Origin("random weights", {}), self.device, **how)
        return self._animators[key]

    def picture(self) -> np.ndarray:
        size = self.network.config.image_size
        return metrics_speed.moving_picture(1, size)[0]

    def sound(self, seconds: float) -> np.ndarray:
        return np.random.default_rng(0).normal(0, 3000, int(seconds * SAMPLE_RATE)).astype(np.int16)

    def options(self, **changes: Any) -> SamplingOptions:
        return replace(SamplingOptions(nfe=2) if self.small else SamplingOptions(), **changes)

    def ways(self) -> dict[str, dict[str, Any]]:
        """Name -> how a model computes, from the plainest to the fastest that needs no compiler."""
        named: dict[str, dict[str, Any]] = {"plain": {"impl": "plain"}, "fast": {}, "bf16": {"dtype": "bfloat16"}}
        if self.cuda:
            named |= {"fp16": {"dtype": "float16"}, "graphs": {"graphs": True}}
            named |= {"bf16 graphs": {"dtype": "bfloat16", "graphs": True}}
        return named

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object], repeats: int = 1) -> float:
        """Wall seconds of a call, the least of some."""
        found = []
        for _ in range(repeats):
            self.wait()
            before = time.perf_counter()
            call()
            self.wait()
            found.append(time.perf_counter() - before)
        return min(found)


def peak_mib(day: Day) -> float:
    """Peak of the device's memory since the last call; 0 on a CPU, whose peak never falls."""
    if not day.cuda:
        return 0.0
    peak = torch.cuda.max_memory_allocated(day.device) / 2**20
    torch.cuda.reset_peak_memory_stats(day.device)
    return peak


def difference(found: Tensor, expected: Tensor) -> tuple[float, float]:
    """Relative rms and the largest difference, in float64."""
    off, base = found.detach().double().cpu() - expected.detach().double().cpu(), expected.detach().double().cpu()
    rms = float(off.square().mean().sqrt() / base.square().mean().sqrt().clamp_min(1e-30))
    return rms, float(off.abs().max())
