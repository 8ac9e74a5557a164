"""Steps of `gpu_day.py` that ask whether the numbers are right: the tests, every stage and every backbone."""

from __future__ import annotations

import copy
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import metrics_speed
import torch
from gpu_shared import ROOT, Day, Row, difference
from torch import Tensor

from floatbench import weights
from floatbench.errors import FloatbenchError
from floatbench.metrics import registry
from floatbench.model.conditions import Conditions
from floatbench.model.fast_decoder import FastDecoder, Precision
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FloatModel
from floatbench.types import ClipMedia

PARITY = 1e-3
"""Relative rms between two devices that is accepted: cuDNN sums in another order, TF32 is off."""
HALF_PARITY = 0.1
"""The same for half-precision convolutions on random weights, see docs/float.md."""


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
    frames = 16 if day.small else 32
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
