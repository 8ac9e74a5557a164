"""Steps of `gpu_day.py` that ask how fast the networks are, and what they hold of memory."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import training as training_benchmark
from gpu_shared import ROOT, Day, Row, difference, peak_mib
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from floatbench.animate.writing import write_stream
from floatbench.model.conditions import Conditions
from floatbench.model.fast_decoder import FastDecoder, PreparedSource
from floatbench.model.fast_transformer import FastTransformer
from floatbench.sampling.animator import Animator
from floatbench.training.configs import load_config

BLUR = "floatbench.model.blur_triton"
RELEASE = ("FLOATBENCH_SRC_FLOAT", "FLOATBENCH_CHECKPOINTS_FLOAT")


def frames(day: Day) -> Iterator[Row]:
    """Frames a second of every way to compute, turn about: the forward pass as papers count it, and videos written."""
    picture, sound = day.picture(), day.sound(0.2 if day.small else 4.0)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in day.ways()}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range((1 if day.small else 2) + 1):  # the first warms up
            for name, how in day.ways().items():
                model = day.animator(**how)

                def begin(model: Animator = model) -> Any:
                    return model.play(picture, sound, options=day.options())

                forward = day.seconds(lambda begin=begin: [None for _ in begin().frames()])
                video = day.seconds(lambda begin=begin: write_stream(begin(), Path(folder) / "made.mp4"))
                peak = peak_mib(day)
                if round_:
                    spent[name].append((forward, video))
                    yield _speed_of(name, -(-len(sound) // 640), spent[name], peak)


def _speed_of(name: str, count: int, times: list[tuple[float, float]], peak: float) -> Row:
    """A way's row after some rounds."""
    forward, video = (float(np.median([pair[i] for pair in times])) for i in (0, 1))
    fastest, slowest = min(t[0] for t in times), max(t[0] for t in times)
    return {"way": name, "rounds": len(times), "frames": count, "forward_fps": count / forward,
            "video_fps": count / video, "forward_range": f"{count / slowest:.4g} to {count / fastest:.4g}",
            "peak_mib": peak}  # fmt: skip


def release(day: Day) -> Iterator[Row]:
    """The official release and ours on one clip, turn about, see official_float.py; where its clone is given."""
    if missing := [name for name in RELEASE if name not in os.environ]:
        yield {"name": "release", "note": f"not run: {', '.join(missing)} not set, see benchmarks/official_float.py"}
        return
    with tempfile.TemporaryDirectory() as folder:
        out, threads = Path(folder) / "out.json", str(os.cpu_count() or 1)
        variants = "fast,graphs,bf16-graphs" if day.cuda else "fast"
        command = [sys.executable, str(ROOT / "benchmarks/official_float.py"), "--device", day.device, "--seconds", "4",
                   "--threads", threads, "--variants", variants, "--out", str(out)]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        told, code = 0, None
        while code is None:
            time.sleep(1.0)
            code = process.poll()
            if (rounds := _rounds(out)) > told:
                told = rounds
                yield from _against_the_release(out)
        if code:
            raise subprocess.CalledProcessError(code, command)


def _rounds(file: Path) -> int:
    """Rounds that official_float.py has finished."""
    return len(json.loads(file.read_text())["rows"][0]["seconds"]) if file.is_file() else 0


def _against_the_release(file: Path) -> Iterator[Row]:
    for row in json.loads(file.read_text())["rows"]:
        wall = float(np.median(row["seconds"]))
        yield {"name": row["name"], "rounds": len(row["seconds"]), "frames": row["frames"],
               "fps": row["frames"] / wall, "times_the_release": float(np.median(row["ratios"])),
               "peak_mib": row["peak_mib"]}  # fmt: skip


def first_frame(day: Day) -> Iterator[Row]:
    """Seconds from picture and sound to the first frame, by the length of the sound and how it is heard."""
    picture = day.picture()
    way = {"graphs": True} if day.cuda else {}
    model = day.animator(**way)
    for context in ("full", "window"):
        for seconds in (0.2, 0.4) if day.small else (2.0, 20.0, 120.0):
            sound = day.sound(seconds)

            def first(sound: np.ndarray = sound, context: str = context) -> None:
                stream = model.play(picture, sound, options=day.options(audio_context=context))
                next(stream.frames())

            first()
            spent = day.seconds(first, 1 if day.small else 3)
            yield {"audio_context": context, "sound_s": seconds, "first_frame_s": spent}


def memory(day: Day) -> Iterator[Row]:
    """Peak of the device's memory by length of the sound."""
    model = day.animator()
    for context in ("full", "window"):
        for seconds in (0.2, 0.4) if day.small else (2.0, 10.0, 30.0):
            peak_mib(day)
            stream = model.play(day.picture(), day.sound(seconds), options=day.options(audio_context=context, nfe=2))
            for _ in stream.frames():
                pass
            yield {"audio_context": context, "sound_s": seconds, "peak_mib": peak_mib(day)}


@torch.no_grad()
def batches(day: Day) -> Iterator[Row]:
    """Decoded frames a second by batch, in each precision."""
    net, device = day.network.to(day.device), day.device
    latent, features = net.encode_image(torch.zeros(1, 3, *[net.config.image_size] * 2, device=device))
    generator = torch.Generator().manual_seed(0)
    for precision in ("fp32", "bf16"):
        for batch in (1, 2) if day.small else (1, 8, 16, 25, 50):
            decoder = FastDecoder(net.motion_autoencoder.dec, precision, graphs=day.cuda, batch=batch)
            source = decoder.source(features)
            count = batch if day.small else max(50, batch)
            latents = latent + 0.3 * torch.randn(count, latent.shape[1], generator=generator).to(device)

            def decode(decoder=decoder, latents=latents, source=source) -> None:
                for _ in decoder.stream(latents, source):
                    pass

            decode()
            peak_mib(day)
            yield {"precision": precision, "batch": batch, "fps": count / day.seconds(decode, 1 if day.small else 3),
                   "peak_mib": peak_mib(day)}  # fmt: skip


def training(day: Day) -> Iterator[Row]:
    """Steps a second of both phases, and the days for the paper's 460,000 and 2,000,000 steps."""
    made = load_config("float-tiny" if day.small else "float-512")
    precisions = ("float32",) if day.small else ("bfloat16", "float32")
    for name in ("flow",) if day.small else ("flow", "autoencoder"):
        for precision in precisions:
            phase = replace(getattr(made, name), precision=precision, **({"batch": 2} if day.small else {}))
            row = training_benchmark.measure(replace(made, **{name: phase}), name, 1 if day.small else 5, day.device)
            days = row["days_for_the_papers_steps"]
            yield {"phase": name, "precision": precision, "batch": row["batch"], "step_s": row["step_seconds"],
                   "r1_step_s": row["r1_step_seconds"], "steps_a_second": 1 / max(row["step_seconds"], 1e-9),
                   "steps_of_the_paper": training_benchmark.PAPER_STEPS[name], "days": days,
                   "peak_mib": peak_mib(day)}  # fmt: skip


@torch.no_grad()
def roofline(day: Day) -> Iterator[Row]:
    """What the device can do (a large matrix product, a large copy), and which share of it frame and step reach."""
    side, repeats = (256, 1) if day.small else (8192, 5)
    peaks = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(side, side, device=day.device).to(dtype)
        torch.mm(a, a)
        peaks[name] = 2 * side**3 / day.seconds(lambda a=a: torch.mm(a, a), repeats) / 1e12
        yield {"what": f"matrix product, {name}", "tflops": peaks[name]}
    block = torch.empty(2**16 if day.small else 2**30, dtype=torch.uint8, device=day.device)
    other = torch.empty_like(block)
    spent = day.seconds(lambda: other.copy_(block), repeats + 1)
    yield {"what": "copy, read and written", "gb_s": 2 * len(block) / spent / 1e9}
    net, size = day.network.to(day.device), day.network.config
    latent, features = net.encode_image(torch.zeros(1, 3, size.image_size, size.image_size, device=day.device))
    given = Conditions(torch.zeros(3, size.dim_w), torch.zeros(3, size.window, size.dim_a), torch.zeros(3, 1, 7))
    for precision in ("fp32", "bf16"):
        decoder = FastDecoder(net.motion_autoencoder.dec, precision)
        source, latents = decoder.source(features), latent.expand(decoder.batch, -1).contiguous()
        row = _share(day, lambda d=decoder, s=source, z=latents: list(d.stream(z, s)), peaks[precision])
        yield {"what": f"{decoder.batch} frames, {precision}"} | row
        fast = FastTransformer(net.fmt, precision)
        field = fast.bind([0.5], given.map(lambda value: value.to(day.device)))
        x = torch.zeros(3, size.window, size.dim_w, device=day.device)
        row = _share(day, lambda f=field, x=x: f(0.5, x), peaks[precision])
        yield {"what": f"one evaluation of three branches, {precision}"} | row


def _share(day: Day, call: Callable[[], object], peak: float) -> Row:
    """Arithmetic of a call, what was reached, and which share of the matrix product's that is."""
    with FlopCounterMode(display=False) as counter:
        call()
    spent = day.seconds(call, 1 if day.small else 5)
    reached = counter.get_total_flops() / spent / 1e12
    return {"gflop": counter.get_total_flops() / 1e9, "seconds": spent, "tflops": reached, "share": reached / peak}


@torch.no_grad()
def blurs(day: Day) -> Iterator[Row]:
    """Decoded frames a second with either blur behind the up-sampling, turn about, and how far the pictures differ."""
    net = day.network.to(day.device)
    latent, features = net.encode_image(torch.zeros(1, 3, *[net.config.image_size] * 2, device=day.device))
    latents, ways = latent.expand(1 if day.small else 50, -1), (False, True) if day.cuda else (False,)
    with nullcontext() if day.cuda else interpreted():
        for precision, graphs in product(("fp32",) if day.small else ("fp32", "bf16"), ways):
            made: dict[str, Tensor] = {}
            for blur in ("torch", "triton") * (1 if day.small else 2):
                decoder = FastDecoder(net.motion_autoencoder.dec, precision, graphs=graphs, blur=blur)
                source = decoder.source(features)

                def decode(decoder: FastDecoder = decoder, source: PreparedSource = source) -> Tensor:
                    return decoder(latents, source)

                made[blur] = decode()  # warms up, too
                fps = len(latents) / day.seconds(decode)
                rms, _ = difference(made[blur], made["torch"])
                yield {"precision": precision, "graphs": graphs, "blur": blur, "fps": fps, "relative_rms": rms}


@contextmanager
def interpreted() -> Iterator[None]:
    """Triton's interpreter runs the kernel on a CPU, in few large programs; nothing of it remains afterwards."""
    kept = os.environ.get("TRITON_INTERPRET"), sys.modules.pop(BLUR, None)
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernel's module is loaded
    try:
        module: Any = importlib.import_module(BLUR)
        module.PLACES, module.CHANNELS = 8192, 64  # one program follows the other there
        yield
    finally:
        del os.environ["TRITON_INTERPRET"], sys.modules[BLUR]
        if kept[0] is not None:
            os.environ["TRITON_INTERPRET"] = kept[0]
        if kept[1] is not None:
            sys.modules[BLUR] = kept[1]


def compiling(day: Day) -> Iterator[Row]:
    """Compiled networks: how long the first clip takes, and frames a second afterwards. Minutes of the compiler."""
    if day.small:
        yield {"way": "compiled", "note": "not run in the small form"}
        return
    picture, sound = day.picture(), day.sound(4.0)
    graphs = {"graphs": True} if day.cuda else {}
    for way, how in (("bf16", {"compile": True}), ("bf16 max", {"compile": "max"})):
        model = day.animator(dtype="bfloat16", **how, **graphs)

        def make(model: Animator = model) -> None:
            for _ in model.play(picture, sound, options=day.options()).frames():
                pass

        before = day.seconds(make)
        yield {"way": f"compiled {way}", "first_clip_s": before, "forward_fps": 100 / day.seconds(make, 3)}
