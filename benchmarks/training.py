"""What a training step costs, phase by phase, and what that projects to for the paper's number of steps.

    python benchmarks/training.py [--config float-tiny] [--phase both] [--steps 5] [--batch B] [--device cpu] [--json]

Pictures and sounds are random: only time is measured. `data` is drawing a batch of synthetic clips held in memory.
CPU seconds are given beside wall seconds, as other work on a machine lengthens only the latter. The wav2vec 2.0 and
VGG-19 networks have random weights where their files are absent, which costs the same; the row says so. Phase 1 is
timed with its eye and lip terms; its steps with the R1 penalty are timed apart and count in the projection as often as
they come.

    python benchmarks/training.py --config mine.toml --loading [--steps 8] [--wait SECONDS]

times phase 1 on the configuration's own clips, whose pool must be smaller than the data, with and without loading the
next clip ahead: turn about in blocks of two turn-overs, `--steps` blocks of each, wall seconds. With `--wait` clips
stay in memory and loading one is waiting so long, as for a slow disk: that takes no processor from the step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from floatbench import weights
from floatbench.errors import UsageError
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.training import autoencoder_phase
from floatbench.training.batches import MotionClip, draw_windows
from floatbench.training.clips import ClipPool, ClipSet, TrainingClip, usable
from floatbench.training.config import TrainConfig
from floatbench.training.configs import load_config
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.losses.perceptual import Vgg19
from floatbench.training.tiny.phase import phase_class
from floatbench.training.train import clip_set

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


class WaitingClips(ClipSet):
    """Clips in memory that take a while to come."""

    def __init__(self, clips: ClipSet, seconds: float) -> None:
        self.clips, self.seconds = [clips.load(index) for index in range(len(clips))], seconds

    def __len__(self) -> int:
        return len(self.clips)

    def load(self, index: int) -> TrainingClip:
        time.sleep(self.seconds)
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
        return _first_phase(config, ClipPool(clips, range(len(clips)), 99, 1), devices)
    rng = np.random.default_rng(1)
    motions = [
        MotionClip(c.id, rng.standard_normal((80, config.model.dim_m)).astype(np.float32), c.audio, c.emotion)
        for c in clips.clips
    ]
    return FlowPhase(config, FloatModel(config.model), motions, devices)


def _first_phase(config: TrainConfig, pool: ClipPool, devices: Devices) -> autoencoder_phase.AutoencoderPhase:
    if _random_vgg19(config):
        autoencoder_phase.AutoencoderPhase.perceptual_network = lambda self: Vgg19(None)
    phase = phase_class(config.autoencoder)
    return phase(config, FloatModel(config.model).motion_autoencoder, pool, devices)


def _random_vgg19(config: TrainConfig) -> bool:
    return getattr(config.autoencoder, "network", "vgg19") == "vgg19" and not weights.available("vgg19")


def _steps(config: TrainConfig, name: str, count: int) -> tuple[int | None, list[int]]:
    """A step with the R1 penalty, None without one, and numbers of steps without it, all with every term."""
    c = config.autoencoder
    if name == "flow" or not c.adversarial or not c.r1:
        first = c.component_from if name == "autoencoder" else 0
        return None, list(range(first, first + count))
    plain = (step for step in itertools.count(c.component_from) if step % c.r1_every)
    return -(-c.component_from // c.r1_every) * c.r1_every, list(itertools.islice(plain, count))


def measure(config: TrainConfig, name: str, steps: int, device: str) -> dict[str, Any]:
    """Seconds a step (median), its parts (mean), and the projection."""
    part = config.autoencoder if name == "autoencoder" else config.flow
    torch.manual_seed(0)
    devices = Devices(device, part.precision)
    phase = _phase(config, name, devices)
    watch = Stopwatch(devices.device)

    def data(step: int) -> Any:
        if name == "autoencoder":
            return phase.drawn(step)
        return draw_windows(phase.clips, part.batch, 60, 0, step, "any")

    penalty, (warm_up, *plain) = _steps(config, name, steps + 1)
    phase.step(warm_up)
    if penalty is not None:
        watch.timed("r1 step", phase.step)(penalty)
    draw, whole = watch.timed("data", data), watch.timed("step", phase.step)
    phase.devices.backward = watch.timed("backward", phase.devices.backward)
    for optimiser in (phase.optimiser, getattr(phase, "critic_optimiser", None)):
        if optimiser is not None:
            optimiser.step = watch.timed("optimiser", optimiser.step)
    for step in plain:
        draw(step)
        whole(step)
    wall, cpu = (float(np.median([row[i] for row in watch.parts["step"]])) for i in (0, 1))
    parts = {
        key: sum(row[1] for row in rows) / steps for key, rows in watch.parts.items() if key not in ("step", "r1 step")
    }
    parts["forward and rest"] = max(0.0, cpu - sum(parts.values()))
    (r1_wall, r1_cpu), every = watch.parts.get("r1 step", [(wall, cpu)])[0], config.autoencoder.r1_every
    days = (wall + (r1_wall - wall) / every) * PAPER_STEPS[name] / 86_400
    return {
        "config": config.name,
        "phase": name,
        "batch": part.batch,
        "precision": part.precision,
        "device": str(devices.device),
        "threads": torch.get_num_threads(),
        "random_networks": ["vgg19"] if name == "autoencoder" and _random_vgg19(config) else [],
        "parameters": sum(p.numel() for p in phase.optimiser.param_groups[0]["params"]),
        "step_seconds": round(wall, 4),
        "step_cpu_seconds": round(cpu, 4),
        "r1_step_seconds": round(r1_wall, 4),
        "r1_step_cpu_seconds": round(r1_cpu, 4),
        "cpu_seconds_by_part": {key: round(value, 4) for key, value in parts.items()},
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "days_for_the_papers_steps": round(days, 2),
    }


def measure_loading(config: TrainConfig, blocks: int, device: str, wait: float) -> dict[str, Any]:
    """Wall seconds a step (median of blocks) with clips loaded in the step and ahead of it, and their paired ratio."""
    data, c = config.data, config.autoencoder
    clips = clip_set(config, NullProgress(), pairs=True)
    if wait:
        clips = WaitingClips(clips, wait)
    good = usable(clips, 2, NullProgress())
    if not data.pool:
        raise UsageError("pairs come straight from the files", fix="python benchmarks/training_data.py")
    if data.pool >= len(good):
        raise UsageError(f"the pool of {data.pool} holds all {len(good)} clips", fix="set data.pool below that")
    pool = ClipPool(clips, good, data.pool, data.refresh)
    torch.manual_seed(0)
    phase = _first_phase(config, pool, Devices(device, c.precision))
    for step in range(data.refresh):
        phase.step(step)
    begin = time.perf_counter()
    for index in good:
        clips.load(index)
    load = (time.perf_counter() - begin) / len(good)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    step, length = data.refresh, 2 * data.refresh
    for block in range(blocks):
        for ahead in (False, True) if block % 2 else (True, False):
            phase.step(step)  # the turn-over before the block, and with it the beginning of the load ahead
            with pool if ahead else nullcontext():
                pool.at(step)
                begin = time.perf_counter()
                for number in range(step + 1, step + 1 + length):
                    phase.step(number)
                seconds[ahead].append((time.perf_counter() - begin) / length)
            step += length
    ratios = [alone / ahead for alone, ahead in zip(seconds[False], seconds[True], strict=True)]
    return {
        "config": config.name,
        "clips": len(good),
        "pool": data.pool,
        "refresh": data.refresh,
        "load_seconds": round(load, 4),
        "step_seconds_loaded_in_the_step": round(float(np.median(seconds[False])), 4),
        "step_seconds_loaded_ahead": round(float(np.median(seconds[True])), 4),
        "ratio": round(float(np.median(ratios)), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def main() -> None:
    """Prints a line a phase, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default="float-tiny")
    parser.add_argument("--phase", choices=("autoencoder", "flow", "both"), default="both")
    parser.add_argument("--loading", action="store_true", help="loading clips in the step and ahead of it")
    parser.add_argument("--wait", type=float, default=0.0, help="with --loading: seconds that loading a clip waits")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), help="instead of the configuration's")
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
    if options.precision:
        config = replace(
            config,
            autoencoder=replace(config.autoencoder, precision=options.precision),
            flow=replace(config.flow, precision=options.precision),
        )
    if options.loading:
        print(json.dumps(measure_loading(config, options.steps, options.device, options.wait), indent=2))
        return
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
