"""On CUDA as on the CPU: every stage of FLOAT and every backbone's network, and what only a device shows.

Bounds follow from arithmetic. Float32 sums of up to 4600 products are off by 2**-24 * 68 = 4e-6 a layer, which 25
layers leave below 1e-4; one rounding to TF32 costs 2**-11 = 5e-4, so that `keep_float32` is seen, too. Pictures are
warped, which makes more of it: theirs is the bound of `benchmarks/gpu_truth.py`.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from floatbench import weights
from floatbench.animate.writing import write_stream
from floatbench.device import keep_float32
from floatbench.errors import OutOfMemory
from floatbench.media import read_video
from floatbench.metrics import registry
from floatbench.metrics.base import PairBackbone
from floatbench.model import layers
from floatbench.model.fast_decoder import FastDecoder
from floatbench.sampling import ahead
from floatbench.sampling.animator import Animator
from floatbench.sampling.loading import Origin
from floatbench.types import ClipMedia

pytestmark = pytest.mark.gpu
DEVICE = "cuda"
BOUND = 2**-11
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NETWORKS = (
    "arcface-torch-r50", "clip-l14-336", "i3d", "i3d-torchscript", "inception-2015", "lpips-alex", "reconnet-fixedcrop",
    "synchformer", "syncnet-lip-wholeframe", "syncnet-sound", "tiny-clips", "tiny-expression", "tiny-frames",
    "tiny-identity", "tiny-lips", "tiny-sound",
)  # fmt: skip
"""Backbones with networks of their own; those of gigabytes are left to `benchmarks/gpu_day.py`."""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A module of the folder `benchmarks`."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    keep_float32()
    return importlib.import_module


@pytest.fixture
def day(benchmark: Callable[[str], Any]) -> Any:
    """A small FLOAT with random weights, picture and sound; see `benchmarks/gpu_shared.py`."""
    return benchmark("gpu_shared").Day(DEVICE, small=True)


@pytest.fixture
def scarce() -> Iterator[Callable[[int], None]]:
    """scarce(bytes): as if the device had no more for this process."""

    def allow(size: int) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(DEVICE).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, size / total), DEVICE)

    yield allow
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    torch.cuda.empty_cache()


def test_every_stage_of_float_gives_the_numbers_of_the_cpu(benchmark, day):
    rows = {row["stage"]: row for row in benchmark("gpu_truth").parity(day)}
    assert {"identity latent", "audio features", "emotion", "vector field", "picture, plain"} <= set(rows)
    assert {name: row for name, row in rows.items() if row["held"] != "yes"} == {}
    plain = {name: row["relative_rms"] for name, row in rows.items() if not name.startswith("picture")}
    exact = {name: rms for name, rms in plain.items() if not ("bf16" in name or "fp16" in name)}
    assert {name: rms for name, rms in exact.items() if rms >= BOUND} == {}


def test_a_solve_gives_the_motion_of_the_cpu(benchmark, day):
    found = []
    for device in ("cpu", DEVICE):
        model = Animator(copy.deepcopy(day.network), Origin("random weights", {}), device)
        stream = model.play(day.picture(), day.sound(2.4), options=day.options(nfe=4), seed=3)
        found.append(torch.cat([part.cpu() for part in stream.motion()]))
    assert benchmark("gpu_shared").difference(found[1], found[0])[0] < BOUND


@pytest.mark.parametrize("name", NETWORKS)
def test_a_backbone_sees_what_it_sees_on_the_cpu(benchmark, name):
    tools, frames = benchmark("metrics_speed"), 125 if name == "synchformer" else 16
    clip = ClipMedia(tools.moving_picture(frames, 128), tools.noise(frames))
    found = []
    with benchmark("gpu_truth").stand_in_weights():
        for device in ("cpu", DEVICE):
            backbone: Any = registry.backbone(name)
            for weight in backbone.weights:
                weights.fabricate(weight, 0)
            backbone.load(device)
            if name.startswith("arcface"):  # random weights detect no face
                found.append({"faces": backbone.embed(clip.frames[:4, :112, :112])})
            elif isinstance(backbone, PairBackbone):
                found.append(backbone.extract_pair(clip, ClipMedia(clip.frames[::-1].copy(), clip.audio)))
            else:
                found.append(backbone.extract(clip))
    for key, expected in found[0].items():
        rms, _ = benchmark("gpu_shared").difference(torch.tensor(found[1][key]), torch.tensor(expected))
        assert rms < BOUND, key


def test_frames_that_do_not_fit_are_decoded_in_half_the_batch(day, scarce):
    net, size = day.network.to(DEVICE), day.network.config
    latent, features = net.encode_image(torch.zeros(1, 3, size.image_size, size.image_size, device=DEVICE))
    latents = latent + 0.3 * torch.randn(512, latent.shape[1], device=DEVICE)

    def decode() -> tuple[torch.Tensor, list[str]]:
        decoder = FastDecoder(net.motion_autoencoder.dec, batch=512)
        return decoder(latents, decoder.source(features)).cpu(), decoder.notes

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(DEVICE)
    torch.cuda.reset_peak_memory_stats(DEVICE)
    expected, notes = decode()
    assert notes == []
    scarce(before + (torch.cuda.max_memory_reserved(DEVICE) - before) * 3 // 4)
    found, notes = decode()
    assert notes == ["the device ran out of memory: 256 frames are decoded at once instead of 512"]
    assert (found - expected).square().mean().sqrt() < BOUND * expected.square().mean().sqrt()


def test_a_model_that_does_not_fit_is_one_line(day, scarce):
    scarce(0)
    with pytest.raises(OutOfMemory, match="has too little memory for the model random weights"):
        Animator(day.network, Origin("random weights", {}), DEVICE)


# float32 sums of 16 products; bfloat16 has 8 bits
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_the_blur_of_one_kernel_equals_the_grouped_convolution(dtype, bound):
    pytest.importorskip("triton")
    blur = importlib.import_module("floatbench.model.blur_triton").blur
    keep_float32()
    x, kernel = torch.randn(2, 35, 9, 11, device=DEVICE).to(dtype), (layers.blur_kernel() * 4).to(DEVICE)
    expected = layers.blur(x.float(), kernel, (1, 1))
    assert (blur(x, kernel, 1).float() - expected).abs().max() <= bound * expected.abs().max()


def test_work_done_ahead_gives_the_frames_that_are_made_in_turn(day, tmp_path, monkeypatch):
    model = day.animator()

    def video(name: str, overlap: bool) -> np.ndarray:
        stream = model.play(day.picture(), day.sound(6.2), options=day.options(), seed=3)  # four windows
        write_stream(stream, tmp_path / f"{name}.mkv", overlap=overlap)
        return read_video(tmp_path / f"{name}.mkv")[0].astype(int)

    made = video("ahead", overlap=True)
    monkeypatch.setattr(model, "beside", ahead.Beside(torch.device("cpu")))  # each window in its turn
    monkeypatch.setattr(
        "floatbench.sampling.animator.to_host", lambda parts: ([p.cpu() for p in part] for part in parts)
    )
    plain = video("plain", overlap=False)
    assert len(made) == 155 and np.abs(made - plain).max() <= 1 and (made != plain).mean() < 1e-3


def test_what_is_copied_beside_other_work_arrives_whole():
    value = torch.arange(1 << 20, dtype=torch.float32)
    there = ahead.on_device(value, torch.device(DEVICE))
    assert there.device.type == torch.device(DEVICE).type
    assert ahead.later((there == there).all())() is True
    parts = [(there + k, torch.tensor(k, device=DEVICE)) for k in range(4)]
    for k, (whole, flag) in enumerate(ahead.to_host(iter(parts))):
        assert torch.equal(whole, value + k) and int(flag) == k and whole.device.type == "cpu"
