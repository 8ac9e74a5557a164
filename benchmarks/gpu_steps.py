"""What `gpu_day.py` measures: one generator of rows for each step. A row is a flat dictionary of JSON types."""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import metrics_speed
import numpy as np
import torch
import training as training_benchmark
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from floatbench import weights
from floatbench.animate.writing import write_stream
from floatbench.errors import FloatbenchError
from floatbench.metrics import registry
from floatbench.model.conditions import Conditions
from floatbench.model.config import config
from floatbench.model.fast_decoder import FastDecoder, Precision
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FloatModel
from floatbench.model.randomise import randomise
from floatbench.sampling.animator import Animator
from floatbench.sampling.loading import Origin, load_model
from floatbench.sampling.options import SamplingOptions
from floatbench.training.configs import load_config
from floatbench.types import SAMPLE_RATE, ClipMedia

ROOT = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
RELEASE = ("FLOATBENCH_SRC_FLOAT", "FLOATBENCH_CHECKPOINTS_FLOAT")
PARITY = 1e-3
"""Relative rms between two devices that is accepted: cuDNN sums in another order, TF32 is off."""
HALF_PARITY = 0.1
"""The same for half-precision convolutions on random weights, see docs/float.md."""


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


def tests(day: Day) -> Iterator[Row]:
    """What `make test-gpu` runs."""
    if not day.cuda:
        yield {"result": "not run: there is no CUDA device"}
        return
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rf", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    yield {"result": last_line(done.stdout), "exit_code": done.returncode}
    for line in done.stdout.splitlines():
        if re.match(r"(FAILED|ERROR) ", line):
            yield {"result": line, "exit_code": done.returncode}


def last_line(text: str) -> str:
    """The summary that pytest ends with."""
    lines = [line.strip(" =") for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def difference(found: Tensor, expected: Tensor) -> tuple[float, float]:
    """Relative rms and the largest difference, in float64."""
    off, base = found.detach().double().cpu() - expected.detach().double().cpu(), expected.detach().double().cpu()
    rms = float(off.square().mean().sqrt() / base.square().mean().sqrt().clamp_min(1e-30))
    return rms, float(off.abs().max())


@torch.no_grad()
def parity(day: Day) -> Iterator[Row]:
    """Every stage on the device from the CPU's inputs, so that no stage answers for the one before it."""
    net, size = copy.deepcopy(day.network).cpu(), day.network.config
    generator = torch.Generator().manual_seed(0)
    image = torch.tensor(day.picture()).permute(2, 0, 1)[None] / 127.5 - 1
    wave = torch.tensor(day.sound(2.0))[None].float() / 32768
    latent, features = net.encode_image(image)
    coefficients = net.coefficients(latent)
    wr, wa = net.motion(coefficients), net.encode_audio(wave, size.window)
    we = torch.full((1, 1, size.dim_e), 1 / size.dim_e)
    if net.emotion_encoder is not None:
        we = net.predict_emotion(wave)[:, None]
    x = torch.randn(1, size.window, size.dim_w, generator=generator)
    given, t = Conditions(wr, wa, we), torch.tensor(0.5)
    latents = latent + 0.3 * torch.randn(2, size.dim_w, generator=generator)
    stages: dict[str, Callable[[FloatModel, Callable[[Tensor], Tensor]], Tensor]] = {
        "identity latent": lambda m, to: m.encode_image(to(image))[0],
        "feature map, the largest": lambda m, to: m.encode_image(to(image))[1][-1],
        "coefficients": lambda m, to: m.coefficients(to(latent)),
        "motion": lambda m, to: m.motion(to(coefficients)),
        "audio features": lambda m, to: m.encode_audio(to(wave), size.window),
        "vector field": lambda m, to: m.vector_field(to(t), to(x), given.map(to))[:, size.previous :],
        "picture, plain": lambda m, to: m.decode(to(latents), [to(f) for f in features])[0],
    }
    if net.emotion_encoder is not None:
        stages["emotion"] = lambda m, to: m.predict_emotion(to(wave))
    expected = {name: stage(net, lambda value: value) for name, stage in stages.items()}
    net.to(day.device)
    for name, stage in stages.items():
        yield judged(name, stage(net, lambda value: value.to(day.device)), expected[name], PARITY)
    yield from _fast_parity(day, net, given, x, latents, features, expected)


def _fast_parity(
    day: Day,
    net: FloatModel,
    given: Conditions,
    x: Tensor,
    latents: Tensor,
    features: list[Tensor],
    expected: dict[str, Tensor],
) -> Iterator[Row]:
    """Streamed decoder and bound transformer against the plain networks of the CPU, in every precision, with graphs."""
    device = day.device
    on_device = [feature.to(device) for feature in features]
    bounds: dict[Precision, float] = {"fp32": PARITY, "bf16": HALF_PARITY, "fp16": HALF_PARITY}
    for precision, bound in bounds.items():
        for graphs in (False, True) if day.cuda else (False,):
            mark = f"{precision}{', graphs' if graphs else ''}"
            decoder = FastDecoder(net.motion_autoencoder.dec, precision, graphs=graphs)
            picture = decoder(latents.to(device), decoder.source(on_device))
            yield judged(f"picture, streamed, {mark}", picture, expected["picture, plain"], bound)
            fast = FastTransformer(net.fmt, precision, graphs=graphs)
            field = fast.bind([0.5], given.map(lambda value: value.to(device)))
            yield judged(f"vector field, bound, {mark}", field(0.5, x.to(device)), expected["vector field"], bound)


def judged(stage: str, found: Tensor, expected: Tensor, bound: float) -> Row:
    """A row of the table of parity."""
    rms, largest = difference(found, expected)
    good = math.isfinite(rms) and rms < bound
    return {"stage": stage, "relative_rms": rms, "largest": largest, "bound": bound, "held": "yes" if good else "NO"}


def backbones(day: Day) -> Iterator[Row]:
    """Frames a second of every backbone on the CPU and on the device, and how far their features are apart."""
    names = [name for name in registry.backbone_ids() if not day.small or name.startswith("tiny-")]
    frames = 8 if day.small else 32
    clip = ClipMedia(metrics_speed.moving_picture(frames, 64 if day.small else 512), metrics_speed.noise(frames))
    with stand_in_weights():
        for name in names:
            try:
                yield _backbone(day, name, clip)
            except (FloatbenchError, RuntimeError, OSError) as error:
                yield {"backbone": name, "note": f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"}


def _backbone(day: Day, name: str, clip: ClipMedia) -> Row:
    rows, rates = [], []
    for device in ("cpu", day.device):
        backbone = registry.backbone(name)
        for weight in backbone.weights:
            weights.fabricate(weight, 0)
        backbone.load(device)
        backbone.extract(clip)  # warm
        spent = day.seconds(lambda b=backbone: rows.append(b.extract(clip)))
        rates.append(clip.n_frames / spent)
    off = max(difference(torch.tensor(rows[1][key]), torch.tensor(value))[0] for key, value in rows[0].items())
    return {"backbone": name, "fps_cpu": rates[0], "fps_device": rates[1], "relative_rms": off}


@contextmanager
def stand_in_weights() -> Iterator[None]:
    """Random weights in a folder of their own: they cost what real ones cost."""
    kept = {name: os.environ.get(name) for name in ("FLOATBENCH_HOME", "FLOATBENCH_FABRICATED")}
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(FLOATBENCH_HOME=home, FLOATBENCH_FABRICATED="1")
        try:
            yield
        finally:
            for name, value in kept.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def frames(day: Day) -> Iterator[Row]:
    """Frames a second of every way to compute, turn about: the forward pass as papers count it, and videos written."""
    picture, sound, repeats = day.picture(), day.sound(0.2 if day.small else 4.0), 1 if day.small else 2
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in day.ways()}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(repeats + 1):  # the first warms up
            for name, how in day.ways().items():
                model = day.animator(**how)

                def begin(model: Animator = model) -> Any:
                    return model.play(picture, sound, options=day.options())

                forward = day.seconds(lambda begin=begin: [None for _ in begin().frames()])
                video = day.seconds(lambda begin=begin: write_stream(begin(), Path(folder) / "made.mp4"))
                if round_:
                    spent[name].append((forward, video))
                peaks[name] = peak_mib(day)
    count = -(-len(sound) // 640)
    for name, times in spent.items():
        forward, video = (float(np.median([pair[i] for pair in times])) for i in (0, 1))
        yield {"way": name, "frames": count, "forward_fps": count / forward, "video_fps": count / video,
               "forward_range": f"{count / max(t[0] for t in times):.4g} to {count / min(t[0] for t in times):.4g}",
               "peak_mib": peaks[name]}  # fmt: skip


def peak_mib(day: Day) -> float:
    """Peak of the device's memory since the last call; 0 on a CPU, whose peak never falls."""
    if not day.cuda:
        return 0.0
    peak = torch.cuda.max_memory_allocated(day.device) / 2**20
    torch.cuda.reset_peak_memory_stats(day.device)
    return peak


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
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        for row in json.loads(out.read_text())["rows"]:
            wall = float(np.median(row["seconds"]))
            yield {"name": row["name"], "frames": row["frames"], "fps": row["frames"] / wall,
                   "times_the_release": float(np.median(row["ratios"])), "peak_mib": row["peak_mib"]}  # fmt: skip


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


def blurs(day: Day) -> Iterator[Row]:
    """Decoded frames a second with either blur behind the up-sampling, turn about, and how far the pictures differ."""
    if not day.cuda:
        yield {"name": "blurs", "note": "not run: the Triton kernel is for CUDA"}
        return
    net = day.network.to(day.device)
    latent, features = net.encode_image(torch.zeros(1, 3, *[net.config.image_size] * 2, device=day.device))
    latents = latent.expand(50, -1)
    for precision in ("fp32", "bf16"):
        made: dict[str, Tensor] = {}
        for blur in ("torch", "triton", "torch", "triton"):
            decoder = FastDecoder(net.motion_autoencoder.dec, precision, blur=blur)
            source = decoder.source(features)
            made[blur] = decoder(latents[:2], source)
            fps = 50 / day.seconds(lambda d=decoder, s=source: [None for _ in d.stream(latents, s)], 3)
            rms, _ = difference(made[blur], made["torch"])
            yield {"precision": precision, "blur": blur, "fps": fps, "relative_rms": rms}


def _share(day: Day, call: Callable[[], object], peak: float) -> Row:
    """Arithmetic of a call, what was reached, and which share of the matrix product's that is."""
    with FlopCounterMode(display=False) as counter:
        call()
    spent = day.seconds(call, 1 if day.small else 5)
    reached = counter.get_total_flops() / spent / 1e12
    return {"gflop": counter.get_total_flops() / 1e9, "seconds": spent, "tflops": reached, "share": reached / peak}


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
            for _ in islice(model.play(picture, sound, options=day.options()).frames(), None):
                pass

        before = day.seconds(make)
        yield {"way": f"compiled {way}", "first_clip_s": before, "forward_fps": 100 / day.seconds(make, 3)}


STEPS: dict[str, tuple[Callable[[Day], Iterator[Row]], int]] = {
    "tests": (tests, 90),
    "parity": (parity, 90),
    "frames": (frames, 120),
    "release": (release, 150),
    "backbones": (backbones, 100),
    "training": (training, 120),
    "first-frame": (first_frame, 45),
    "memory": (memory, 60),
    "batches": (batches, 60),
    "roofline": (roofline, 40),
    "blurs": (blurs, 40),
    "compiled": (compiling, 240),
}
"""Step -> its rows, and the seconds it may take; in order of worth."""


def main() -> None:
    """Runs the named steps in this process and prints an event a line, for the parent that watches the time."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("steps")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--weights", default="")
    given = parser.parse_args()
    for event in run(given.steps.split(","), Day(given.device, weights=given.weights)):
        print(json.dumps(event), flush=True)


def run(names: list[str], day: Day) -> Iterator[Row]:
    """Events: beginning, rows and end of each step; one that fails ends with its error, and the next one follows."""
    for name in names:
        yield {"event": "begin", "step": name}
        error = ""
        try:
            for row in STEPS[name][0](day):
                yield {"event": "row", "step": name, "row": row}
        except Exception as caught:  # whatever a first contact with a device raises
            error = f"{type(caught).__name__}: {str(caught).strip()[:300]}"
        yield {"event": "end", "step": name, "error": error}


if __name__ == "__main__":
    main()
