"""The way to a picture on CUDA, walked with fake tensors, which have devices and shapes but no numbers to ask for.

So a wait for the device in the solve, a tensor left on the wrong device or a new shape is an error on a CPU, too.
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F

from floatbench.model import fast_transformer
from floatbench.model.autoencoder import Decoder
from floatbench.model.conditions import Conditions
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.float import FloatModel
from floatbench.sampling import ahead, sampler
from floatbench.sampling.ahead import Beside
from floatbench.sampling.control import Control, edit_motion
from floatbench.sampling.network import fast_network, motion_shape, plain_network
from floatbench.sampling.options import SamplingOptions

CUDA = torch.device("cuda")


def time_of_the_host(t):
    """Stands in for reading a time, which costs nothing on the CPU and which fake tensors there refuse as well."""
    assert isinstance(t, float) or t.device.type == "cpu"
    return 0.0


@pytest.fixture
def fake(monkeypatch):
    """Fake tensors; the flag that is asked for later stays where it is."""
    monkeypatch.setattr(sampler, "later", lambda flag: lambda: flag.device.type == "cuda")
    monkeypatch.setattr(fast_transformer, "_key", time_of_the_host)
    monkeypatch.setattr(ahead, "pinned", lambda like, _: torch.empty_like(like))  # which needs a driver
    with FakeTensorMode(), torch.no_grad():
        yield


def conditions(model: FloatModel) -> Conditions:
    c = model.config
    wr, wa = torch.zeros(1, c.dim_w, device=CUDA), torch.zeros(1, c.window, c.dim_a, device=CUDA)
    return Conditions(wr, wa, torch.zeros(1, 1, c.dim_e, device=CUDA))


def test_fake_tensors_refuse_what_would_wait_for_the_device(fake):
    with pytest.raises(DataDependentOutputException):
        float(torch.zeros((), device=CUDA))


@pytest.mark.parametrize("way", ["fast", "plain", "ddim"])
def test_a_solve_never_waits_for_the_device_and_all_windows_have_one_shape(fake, make_network, way):
    with CUDA:
        model = make_network(prediction="x0" if way == "ddim" else "velocity")
    options = SamplingOptions(nfe=4, ddim_steps=4, prediction=model.config.prediction, reference_branch=way == "plain")
    seen: Counter[tuple[object, ...]] = Counter()
    if way == "plain":
        network = plain_network(model)
    else:
        fast = FastTransformer(model.fmt)
        blocks = fast._blocks_of

        def counting(tokens, modulations, index, allowed):
            seen[tuple(tokens.shape), tuple(tuple(part.shape) for part in modulations)] += 1
            return blocks(tokens, modulations, index, allowed)

        fast._blocks_of = counting
        network = fast_network(fast, [0.0, 0.25, 0.5, 0.75])
    windows = [conditions(model)] * 2
    made = list(sampler.sample_windows(network, windows, [7], options, motion_shape(model)))
    assert [window.motion.device.type for window in made] == ["cuda", "cuda"]
    assert way == "plain" or list(seen.values()) == [8]  # a graph each for one shape: all evaluations of both windows


def test_no_copy_to_the_device_makes_the_host_wait_after_the_first_window(fake, make_network, monkeypatch):
    waited, copy = [], torch.Tensor.to

    def noting(value, *given, **how):
        made = copy(value, *given, **how)
        if value.device.type == "cpu" and made.device.type == "cuda" and not how.get("non_blocking"):
            waited.append(tuple(value.shape))
        return made

    with CUDA:
        model = make_network()
    monkeypatch.setattr(torch.Tensor, "to", noting)
    network = fast_network(FastTransformer(model.fmt), [0.0, 0.5])
    windows = sampler.sample_windows(network, [conditions(model)] * 3, [7], SamplingOptions(nfe=2), motion_shape(model))
    basis, curve = torch.zeros(model.config.dim_w, model.config.dim_m, device=CUDA), Control(1, 0.5)
    counts = [len(waited) for window in windows if edit_motion(window.motion, basis, (curve,)) is not None]
    assert counts == [counts[0]] * 3 and waited == [(2,)]  # the times, which are kept


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_window_is_decoded_on_the_device_in_equal_batches(fake, make_network, precision):
    with CUDA:
        model = make_network()
    decoder = FastDecoder(model.motion_autoencoder.dec, precision)
    maps = [
        torch.zeros(1, head.conv.weight.shape[2], head.resolution, head.resolution, device=CUDA)
        for head in model.motion_autoencoder.dec.to_flows
    ]
    latents = torch.zeros(model.config.window, model.config.dim_w, device=CUDA)
    parts = list(decoder.stream(latents, decoder.source(maps)))
    assert [len(part) for part in parts] == [25, 25] and {part.device.type for part in parts} == {"cuda"}


@torch.no_grad()
@pytest.mark.parametrize("compile", [False, True])
def test_compiled_frames_have_one_shape_whatever_is_left_of_a_clip(make_network, monkeypatch, compile):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net = make_network().motion_autoencoder
    latent, features = net.encode(torch.rand(1, 3, 64, 64) * 2 - 1)
    latents = latent + torch.randn(7, latent.shape[1])
    decoder = FastDecoder(net.dec, compile=compile, batch=4)
    plain = FastDecoder(net.dec, batch=1)
    sizes, frame = [], decoder._frame
    monkeypatch.setattr(decoder, "_frame", lambda given, *maps: sizes.append(len(given)) or frame(given, *maps))
    pictures = decoder(latents, decoder.source(features))
    assert sizes == ([4, 4] if compile else [4, 3])
    torch.testing.assert_close(pictures, plain(latents, plain.source(features)), rtol=0, atol=1e-4)


@torch.no_grad()
def test_styles_beyond_the_range_of_fp16_leave_its_pictures_finite(make_network):
    dec: Decoder = make_network().motion_autoencoder.dec
    for layer in (dec.conv1, *dec.convs):  # demodulated: their output does not depend on it
        layer.conv.modulation.weight *= 1e5
        layer.conv.modulation.bias *= 1e5
    maps = [
        F.interpolate(torch.randn(1, head.conv.weight.shape[2], 2, 2), size=(head.resolution,) * 2, mode="bicubic")
        for head in dec.to_flows
    ]
    latents = torch.randn(2, 8)
    exact, half = (decoder(latents, decoder.source(maps)) for decoder in (FastDecoder(dec), FastDecoder(dec, "fp16")))
    assert float((half - exact).square().mean().sqrt() / exact.square().mean().sqrt()) < 0.1


class Stream:
    """Writes down what a CUDA stream is told."""

    def __init__(self, told: list[str], name: str) -> None:
        self.told, self.name = told, name

    def wait_stream(self, other: Stream) -> None:
        self.told.append(f"{self.name} waits for {other.name}")

    def record_event(self) -> str:
        return "done"

    def wait_event(self, event: str) -> None:
        self.told.append(f"{self.name} waits until {event}")


def test_a_window_is_begun_before_the_one_ahead_of_it_is_decoded_but_for_the_first(monkeypatch):
    told: list[str] = []
    main, side = Stream(told, "main"), Stream(told, "side")
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: side)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: torch.no_grad())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, stream: told.append(f"kept for {stream.name}"))

    def windows():
        for number in range(4):
            told.append(f"solve {number}")
            yield torch.tensor(number)

    for window in Beside(CUDA).each(windows()):
        told.append(f"decode {int(window)}")
    work = [line for line in told if line.startswith(("solve", "decode"))]
    assert work == ["solve 0", "decode 0", "solve 1", "solve 2", "decode 1", "solve 3", "decode 2", "decode 3"]
    for number in range(4):  # what is read was waited for, and solving waits for the pictures that are under way
        before = told[: told.index(f"decode {number}")]
        assert before.count("main waits until done") == before.count("kept for main") == number + 1
    assert told.count("side waits for main") == 5
