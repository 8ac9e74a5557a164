"""CPU or CUDA seconds per decoded frame and per guided step: plain, fast, and the official release beside them.

    python benchmarks/decoder.py [--size 512] [--repeats 3] [--precisions fp32,bf16] [--compile] [--device cpu]

Weights are seeded random numbers, which cost the same as trained ones. Variants run in turn, round after round,
and the minimum of each counts; on a CPU it is process time. With FLOATBENCH_SRC_FLOAT naming a checkout of the release
(see tests/golden/official_float.py) its frame and step are clocked too, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.conditions import Conditions
from floatbench.model.config import FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.layers import set_impl
from floatbench.model.randomise import randomise
from floatbench.model.transformer import FlowMatchingTransformer

RUNNER = Path(__file__).resolve().parents[1] / "tests" / "golden" / "official_float.py"
CPU_FLAGS = ("avx512f", "avx512_bf16", "amx_bf16", "avx512_fp16")


def seconds(call: Callable[[], object], device: str) -> float:
    """One call: process time on a CPU, wall time with synchronisation on CUDA."""
    if device == "cpu":
        before = time.process_time()
        call()
        return time.process_time() - before
    torch.cuda.synchronize()
    before = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - before


def interleaved(calls: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """The minimum of each variant over rounds in which all of them run; one unmeasured round first."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            once = seconds(call, device)
            if round_:
                spent[name].append(once)
    return {name: min(times) for name, times in spent.items()}


def window(batch: int, device: str) -> dict[str, Tensor]:
    """Random inputs of one guided window, three branches."""
    torch.manual_seed(0)
    shapes = {"x": (50, 512), "wa": (50, 512), "wr": (512,), "we": (1, 7), "prev_x": (10, 512), "prev_wa": (10, 512)}
    keep = {"wa": (0.0, 1.0, 1.0), "we": (0.0, 0.0, 1.0)}
    made = {name: torch.randn(1, *shape, device=device) for name, shape in shapes.items()}
    if batch == 1:
        return made
    return {name: torch.cat([v * f for f in keep.get(name, (1.0, 1.0, 1.0))]) for name, v in made.items()}


def ours(options: argparse.Namespace, net: MotionAutoencoder, fmt: FlowMatchingTransformer) -> dict[str, float]:
    """Seconds of every variant of ours."""
    device = options.device
    latent, features = net.encode(torch.rand(1, 3, options.size, options.size, device=device) * 2 - 1)
    latents = latent + net.motion(torch.randn(1 if device == "cpu" else 16, 20, device=device))

    def module(impl: str) -> None:
        set_impl(net, "plain" if impl == "plain" else "fast")
        for one in latents:
            net.decode(one[None], features)

    calls: dict[str, Callable[[], object]] = {
        "decode plain": lambda: module("plain"),
        "decode shared weights": lambda: module("fast"),
    }
    given = window(3, device)
    times = [i / 9 for i in range(9)]
    x, conditions = given.pop("x"), Conditions(**given)
    calls["step plain"] = lambda: fmt(torch.tensor(0.5, device=device), x, conditions)
    for precision in options.precisions.split(","):
        mark = f"{precision}{' compiled' if options.compile else ''}"
        decoder = FastDecoder(net.dec, precision, compile=options.compile)
        source = decoder.source(features)
        calls[f"decode stream {mark}"] = lambda d=decoder, s=source: d(latents, s)
        field = FastTransformer(fmt, precision, compile=options.compile).bind(times, conditions)
        calls[f"step fast {mark}"] = lambda f=field: f(1 / 9, x)
        calls[f"bind window {mark}"] = lambda p=precision: FastTransformer(fmt, p).bind(times, conditions)
    with torch.no_grad():
        found = interleaved(calls, options.repeats, device)
    return {name: value / (len(latents) if name.startswith("decode") else 1) for name, value in found.items()}


def official(options: argparse.Namespace, net: MotionAutoencoder, fmt: FlowMatchingTransformer) -> dict[str, float]:
    """Seconds of the release's frame and guided step; empty without a checkout."""
    source = os.environ.get("FLOATBENCH_SRC_FLOAT")
    if not source or options.device != "cpu":
        return {}
    extra = os.environ.get("FLOATBENCH_PYTHONPATH_FLOAT", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (extra, source)))}
    state = {f"motion_autoencoder.{k}": v for k, v in net.state_dict().items()}
    state |= {f"fmt.{k}": v for k, v in fmt.state_dict().items()}
    size = options.size
    inputs = window(1, "cpu") | {"t": torch.tensor([0.5]), "source": torch.rand(1, 3, size, size) * 2 - 1}
    inputs["repeats"] = torch.tensor(options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{folder}/{name}.safetensors" for name in ("weights", "inputs", "outputs")]
        save_file({k: v.clone().contiguous() for k, v in state.items()}, names[0])
        save_file(inputs, names[1])
        command = [os.environ.get("FLOATBENCH_PYTHON_FLOAT", sys.executable), str(RUNNER), "clock", *names]
        subprocess.run(command, check=True, cwd=source, env=environment)
        return {f"{name} official": float(value) for name, value in load_file(names[2]).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precisions", default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with torch.no_grad():
        net = MotionAutoencoder(FloatConfig(image_size=options.size)).eval()
        randomise(net, seed=1, prefix="motion_autoencoder.")
        fmt = FlowMatchingTransformer(FloatConfig()).eval()
        randomise(fmt, seed=1, prefix="fmt.")
        found = official(options, net, fmt) | ours(options, net.to(options.device), fmt.to(options.device))
    cpu = Path("/proc/cpuinfo")
    flags = {f for f in CPU_FLAGS if cpu.is_file() and f in cpu.read_text().split()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = {"seconds": found, "cpu_flags": sorted(flags), "threads": torch.get_num_threads(), "peak_mib": round(peak)}
    if options.json:
        print(json.dumps(report, indent=1))
        return
    print(
        f"{options.device}, {options.size} px, {report['threads']} threads, flags {', '.join(sorted(flags)) or 'none'}"
    )
    for name, value in found.items():
        kind = name.split()[0]
        base = found.get(f"{kind} official", found.get(f"{kind} plain"))
        print(f"{name:34s} {value:8.3f} s   {f'{base / value:5.2f} x' if base else ''}")


if __name__ == "__main__":
    main()
