"""Calls through captured functions give the function's results; the capture of CUDA is played by a CPU stand-in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.model import captured
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.captured import Captured
from floatbench.model.conditions import Conditions
from floatbench.model.config import FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.randomise import randomise
from floatbench.model.transformer import FlowMatchingTransformer


def stand_in(function: Callable[..., Tensor], arguments: Sequence[Tensor]) -> Callable[[], Tensor]:
    """Like a graph: reads the argument tensors of the capture and writes one output tensor, whatever is replayed."""
    output = function(*arguments).clone()
    return lambda: output.copy_(function(*arguments))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_every_call_has_its_own_arguments_and_every_shape_its_own_capture():
    captures: list[int] = []

    def counting(function: Callable[..., Tensor], arguments: Sequence[Tensor]) -> Callable[[], Tensor]:
        captures.append(len(arguments))
        return stand_in(function, arguments)

    call = Captured(lambda a, b: a * 2 + b, counting)
    for shape in ((3,), (3,), (4,), (3,)):
        a, b = noise(*shape, seed=len(captures)), noise(*shape, seed=9)
        assert torch.equal(call(a, b), a * 2 + b)
    assert captures == [2, 2]


def test_an_argument_written_in_place_is_read_again_and_an_equal_object_is_not_copied():
    call = Captured(lambda a, b: a + b, stand_in)
    a, b = torch.ones(2), torch.zeros(2)
    assert call(a, b).tolist() == [1, 1]
    a += 1
    assert call(a, b).tolist() == [2, 2]
    a.data.fill_(7)  # not counted as a change: the copy of the call before is used
    assert call(a, b).tolist() == [2, 2]


@torch.no_grad()
@pytest.mark.parametrize("moved", [{}, {"transfer": "anchored", "grid": "pixel_centre"}])
def test_decoding_through_captures_equals_decoding_without(monkeypatch, moved):
    sizes = {"image_size": 64, "dim_w": 48, "dim_m": 8, "channel_max": 64, "channel_base": 1024}
    net = MotionAutoencoder(FloatConfig(**sizes, **moved)).eval()
    randomise(net, seed=1, prefix="motion_autoencoder.")
    picture = F.interpolate(noise(1, 3, 8, 8), size=(64, 64), mode="bicubic")
    latent, features = net.encode(picture)
    latents = latent + net.motion(noise(5, 8, seed=1))
    decoder = FastDecoder(net.dec, batch=2)
    sources = [decoder.source(features), decoder.source([feature.flip(-1) for feature in features])]
    expected = [decoder(latents, source) for source in sources]
    monkeypatch.setattr(decoder, "_captured", Captured(decoder._flat_frame, stand_in))
    for source, pictures in zip(sources, expected, strict=True):
        streamed = torch.cat([part.clone() for part in decoder.stream(latents, source)])
        assert torch.equal(streamed, pictures)
    assert not torch.equal(expected[0], expected[1])


@torch.no_grad()
def test_frames_that_do_not_fit_into_memory_are_decoded_in_a_smaller_batch_once(monkeypatch):
    torch.manual_seed(0)  # rounding differs with the batch, and some random weights make much of it
    net = MotionAutoencoder(FloatConfig(image_size=64, dim_w=48, dim_m=8, channel_max=64, channel_base=1024)).eval()
    latent, features = net.encode(noise(1, 3, 64, 64))
    latents = latent + net.motion(noise(7, 8, seed=1))
    decoder = FastDecoder(net.dec, batch=4)
    source, real = decoder.source(features), decoder._frame
    expected, sizes = decoder(latents, source), []

    def scarce(given, *others):
        sizes.append(len(given))
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(given, *others)

    monkeypatch.setattr(decoder, "_frame", scarce)
    limit = 2
    assert torch.allclose(decoder(latents, source), expected, atol=1e-4)
    assert sizes == [4, 2, 2, 2, 1] and decoder.notes == [
        "the device ran out of memory: 2 frames are decoded at once instead of 4"
    ]
    limit = 1
    with pytest.raises(torch.OutOfMemoryError):
        decoder(latents, source)


@torch.no_grad()
def test_a_solve_through_captures_equals_the_solve_without(monkeypatch):
    fmt = FlowMatchingTransformer(FloatConfig(dim_w=16, dim_m=8, dim_a=16, dim_h=32, heads=4, depth=3)).eval()
    randomise(fmt, seed=1, prefix="fmt.")
    shapes = {"wa": (2, 50, 16), "wr": (2, 16), "we": (2, 1, 7), "prev_x": (2, 10, 16), "prev_wa": (2, 10, 16)}
    given = Conditions(**{name: noise(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())})
    x, times = noise(2, 50, 16, seed=9), (0.0, 0.5)
    plain, graphs = FastTransformer(fmt), FastTransformer(fmt)
    monkeypatch.setattr(graphs, "_captured", Captured(graphs._flat, stand_in))
    fields = [fast.bind(times, given) for fast in (plain, graphs)]
    outputs = [[field(t, x) for t in times] for field in fields]  # kept while the next one is made, as RK4 does
    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert not torch.equal(*outputs[0])


def test_graphs_are_refused_on_a_cpu():
    fmt = FlowMatchingTransformer(FloatConfig(dim_w=16, dim_m=8, dim_a=16, dim_h=32, heads=4, depth=1))
    with pytest.raises(ValueError, match="CUDA graphs need"):
        FastTransformer(fmt, graphs=True)
    assert isinstance(captured.Captured(torch.neg)._capture, captured.CudaCapture)


@torch.no_grad()
def test_a_call_through_captures_keeps_every_picture(monkeypatch):
    net = MotionAutoencoder(FloatConfig(image_size=64, dim_w=48, dim_m=8, channel_max=64, channel_base=1024)).eval()
    randomise(net, seed=1, prefix="motion_autoencoder.")
    latent, features = net.encode(noise(1, 3, 64, 64).clamp(-1, 1))
    latents = latent + net.motion(noise(5, 8, seed=1))
    decoder = FastDecoder(net.dec, batch=1)
    source = decoder.source(features)
    expected = decoder(latents, source)
    monkeypatch.setattr(decoder, "_captured", Captured(decoder._flat_frame, stand_in))
    assert torch.equal(decoder(latents, source), expected)
    assert not torch.equal(expected[0], expected[1])


def test_captures_made_in_inference_mode_serve_outside_of_it_and_the_other_way_round():
    call = Captured(lambda a, b: a * 2 + b, stand_in)
    with torch.inference_mode():
        for value in (1.0, 2.0):
            a, b = torch.full((3,), value), torch.ones(3)
            assert call(a, b).tolist() == [2 * value + 1] * 3
            a += 1  # unseen by any counter
            assert call(a, b).tolist() == [2 * value + 3] * 3
    assert call(torch.zeros(3), torch.ones(3)).tolist() == [1.0] * 3
    outside = Captured(lambda a: a + 1, stand_in)
    assert outside(torch.zeros(2)).tolist() == [1, 1]
    with torch.inference_mode():
        assert outside(torch.ones(2)).tolist() == [2, 2]


def test_a_capture_and_its_replays_run_on_the_device_of_their_arguments(monkeypatch):
    current = ["cuda:0"]
    seen: list[tuple[str, str]] = []

    class Device:
        def __init__(self, device: object) -> None:
            self.device = str(device)

        def __enter__(self) -> None:
            current.append(self.device)

        def __exit__(self, *_: object) -> None:
            current.pop()

    class Noting:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_: seen.append((name, current[-1]))

    def noting(*_: object) -> Noting:
        seen.append(("made", current[-1]))
        return Noting()

    monkeypatch.setattr(torch.cuda, "device", Device)
    for name in ("Stream", "current_stream", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, noting)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    pools: list[object] = []
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: object())
    monkeypatch.setattr(torch.cuda, "graph", lambda _, pool, **how: nullcontext(pools.append(pool)))
    argument = SimpleNamespace(device=torch.device("cuda:1"))
    capture = captured.CudaCapture()
    for _ in range(2):
        replay = capture(lambda _: seen.append(("called", current[-1])), [argument])  # type: ignore[arg-type]
        replay()
    assert len(pools) == 2 and pools[0] is pools[1]
    assert {device for _, device in seen} == {"cuda:1"} and ("replay", "cuda:1") in seen
    assert current == ["cuda:0"]
