"""What a training step costs, phase by phase, and what that projects to for the paper's number of steps.

    python benchmarks/training.py [--config float-tiny] [--phase both] [--steps 5] [--batch B] [--device cpu] [--json]

Pictures and sounds are random: only time is measured. `data` is drawing a batch of synthetic clips held in memory.
CPU seconds are given beside wall seconds, as other work on a machine lengthens only the latter. The wav2vec 2.0 and
VGG-19 networks have random weights where their files are absent, which costs the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from floatbench import weights
from floatbench.model.float import FLOAT
from floatbench.training import autoencoder_phase
from floatbench.training.batches import MotionClip, draw_pairs, draw_windows
from floatbench.training.clips import ClipPool, ClipSet, TrainingClip
from floatbench.training.config import TrainConfig, load_config
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.losses.perceptual import Vgg19

PAPER_STEPS = {"autoencoder": 460_000, "flow": 2_000_000}


class RandomClips(ClipSet):
    """Clips of noise."""

    def __init__(self, size: int, count: int = 4, frames: int = 80) -> None:
        rng = np.random.default_rng(0)
        parts = [[0.3, 0.6, 0.7, 0.9], [0.2, 0.3, 0.4, 0.5], [0.6, 0.3, 0.8, 0.5]]
        box = np.tile(np.array(parts, np.float32), (frames, 1, 1))
        self.clips = [
            TrainingClip(
                str(i),
                str(i),
                rng.integers(0, 256, (frames, size, size, 3), np.uint8),
                rng.integers(-3000, 3000, 640 * frames).astype(np.int16),
                box,
                i % 7,
                {
                    "pose": rng.normal(0, 0.1, (frames, 6)).astype(np.float32),
                    "expression": rng.random((frames, 14)).astype(np.float32),
                    "tracks": rng.random((frames, 180, 3)).astype(np.float16),
                },
            )
            for i in range(count)
        ]

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int) -> TrainingClip:
        return self.clips[index]


class Stopwatch:
    """Wall and CPU seconds of named parts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.parts: dict[str, list[tuple[float, float]]] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time added to a part."""

        def wrapper(*arguments: Any, **named: Any) -> Any:
            self._wait()
            wall, cpu = time.perf_counter(), time.process_time()
            result = function(*arguments, **named)
            self._wait()
            self.parts.setdefault(name, []).append((time.perf_counter() - wall, time.process_time() - cpu))
            return result

        return wrapper

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def _phase(config: TrainConfig, name: str, devices: Devices) -> Any:
    clips = RandomClips(config.model.image_size)
    if name == "autoencoder":
        if config.autoencoder.network == "vgg19" and not weights.available("vgg19"):
            autoencoder_phase.perceptual_network = lambda _: Vgg19(None)
        pool = ClipPool(clips, range(len(clips)), 99, 1)
        return autoencoder_phase.AutoencoderPhase(config, FLOAT(config.model).motion_autoencoder, pool, devices)
    rng = np.random.default_rng(1)
    motions = [
        MotionClip(c.id, rng.standard_normal((80, config.model.dim_m)).astype(np.float32), c.audio, c.emotion)
        for c in clips.clips
    ]
    return FlowPhase(config, FLOAT(config.model), motions, devices)


def measure(config: TrainConfig, name: str, steps: int, device: str) -> dict[str, Any]:
    """Seconds a step (median), its parts (mean), and the projection."""
    part = config.autoencoder if name == "autoencoder" else config.flow
    devices = Devices(device, part.precision)
    phase = _phase(config, name, devices)
    watch = Stopwatch(devices.device)

    def data(step: int) -> Any:
        if name == "autoencoder":
            return draw_pairs(phase.pool, part.batch, 0, step, True)
        return draw_windows(phase.clips, part.batch, 60, 0, step, "any")

    draw, whole = watch.timed("data", data), watch.timed("step", phase.step)
    phase.step(0)
    phase.devices.backward = watch.timed("backward", phase.devices.backward)
    phase.optimiser.step = watch.timed("optimiser", phase.optimiser.step)
    for step in range(1, steps + 1):
        draw(step)
        whole(step)
    wall, cpu = (float(np.median([row[i] for row in watch.parts["step"]])) for i in (0, 1))
    parts = {key: sum(row[1] for row in rows) / steps for key, rows in watch.parts.items() if key != "step"}
    parts["forward and rest"] = max(0.0, cpu - sum(parts.values()))
    days = wall * PAPER_STEPS[name] / 86_400
    return {
        "config": config.name,
        "phase": name,
        "batch": part.batch,
        "device": str(devices.device),
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in phase.optimiser.param_groups[0]["params"]),
        "step_seconds": round(wall, 4),
        "step_cpu_seconds": round(cpu, 4),
        "cpu_seconds_by_part": {key: round(value, 4) for key, value in parts.items()},
        "days_for_the_papers_steps": round(days, 2),
    }


def main() -> None:
    """Prints a line a phase, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="float-tiny")
    parser.add_argument("--phase", choices=("autoencoder", "flow", "both"), default="both")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config = load_config(options.config)
    if options.batch:
        config = replace(
            config,
            autoencoder=replace(config.autoencoder, batch=options.batch),
            flow=replace(config.flow, batch=options.batch),
        )
    names = ("autoencoder", "flow") if options.phase == "both" else (options.phase,)
    rows = [measure(config, name, options.steps, options.device) for name in names]
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        parts = ", ".join(f"{key} {value:.3f}" for key, value in row["cpu_seconds_by_part"].items())
        print(
            f"{row['config']} {row['phase']:<12} batch {row['batch']}: {row['step_seconds']:.3f} s a step "
            f"({row['step_cpu_seconds']:.3f} CPU: {parts}); {row['days_for_the_papers_steps']} days for the paper"
        )


if __name__ == "__main__":
    main()
