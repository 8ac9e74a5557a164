"""The streamed decoder gives the plain decoder's pictures; half precision stays within stated bounds."""

from __future__ import annotations

import pytest
import torch
from tolerances import worst_rounding
from torch import Tensor
from torch.nn import functional as F

from floatbench.model import fast_decoder
from floatbench.model.autoencoder import MotionAutoencoder
from floatbench.model.config import FloatConfig
from floatbench.model.fast_decoder import FastDecoder
from floatbench.model.layers import set_impl
from floatbench.model.randomise import randomise

SIZE = 64


@pytest.fixture(scope="module")
def net() -> MotionAutoencoder:
    model = MotionAutoencoder(FloatConfig(image_size=SIZE, dim_w=48, dim_m=8, channel_max=64, channel_base=1024)).eval()
    randomise(model, seed=1, prefix="motion_autoencoder.")
    set_impl(model, "plain")
    return model


@pytest.fixture(scope="module")
@torch.no_grad()
def scene(net: MotionAutoencoder) -> tuple[Tensor, list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = F.interpolate(torch.randn(1, 3, 8, 8, generator=generator), size=(SIZE, SIZE), mode="bicubic").clamp(-1, 1)
    latent, features = net.encode(image)
    latents = latent + net.motion(torch.randn(5, 8, generator=generator))
    return latents, features, net.decode(latents, features)[0]


def relative_rms(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).square().mean().sqrt() / theirs.square().mean().sqrt())


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_streamed_pictures_equal_the_plain_decoder(net, scene, batch):
    latents, features, plain = scene
    decoder = FastDecoder(net.dec, batch=batch)
    streamed = list(decoder.stream(latents, decoder.source(features)))
    assert [len(part) for part in streamed] == {1: [1] * 5, 2: [2, 2, 1], 5: [5]}[batch]
    assert relative_rms(torch.cat(streamed), plain) < 2e-5


def test_a_last_level_in_strips_is_the_same_picture(net, scene, monkeypatch):
    latents, features, plain = scene
    whole = FastDecoder(net.dec)
    expected = whole(latents[:2], whole.source(features))
    seen, made = [], FastDecoder._doubled_picture
    monkeypatch.setattr(FastDecoder, "_doubled_picture", lambda *a: seen.append(a[2].shape[2]) or made(*a))
    monkeypatch.setattr(fast_decoder, "STRIPPED", SIZE)
    for strips in (2, 4):
        monkeypatch.setattr(fast_decoder, "STRIPS", strips)
        decoder = FastDecoder(net.dec)
        found = decoder(latents[:2], decoder.source(features))
        assert relative_rms(found, expected) < 1e-6 and relative_rms(found, plain[:2]) < 2e-5
    two, four = [16, 18, 18] * 2, [16, 10, 12, 12, 10] * 2
    assert seen == [4, 8, *two, 4, 8, *four]  # rows of each call: the small pictures of both frames at once


@pytest.fixture(scope="module")
def wide() -> MotionAutoencoder:
    """With enough channels up to 64 px for a quarter of the products."""
    model = MotionAutoencoder(FloatConfig(image_size=SIZE, dim_w=48, dim_m=8, channel_max=64, channel_base=4096)).eval()
    randomise(model, seed=1, prefix="motion_autoencoder.")
    set_impl(model, "plain")
    return model


@torch.no_grad()
def test_a_quarter_of_the_products_gives_the_plain_decoders_pictures(wide, scene):
    generator = torch.Generator().manual_seed(1)
    image = F.interpolate(torch.randn(1, 3, 8, 8, generator=generator), size=(SIZE, SIZE), mode="bicubic").clamp(-1, 1)
    latents = scene[0]
    features = wide.encode(image)[1]
    decoder = FastDecoder(wide.dec)
    assert [layer is not None for layer in decoder._quarters] == [False] * 4 + [True, False, True, False, True]
    assert relative_rms(decoder(latents, decoder.source(features)), wide.decode(latents, features)[0]) < 2e-5
    for other in (FastDecoder(wide.dec, "bf16"), FastDecoder(wide.dec, compile=True)):
        assert not any(other._quarters)


def test_the_small_pictures_of_several_latents_are_made_at_once_whatever_their_number(net, scene, monkeypatch):
    latents, features, plain = scene
    monkeypatch.setattr(fast_decoder, "TOGETHER", 3)
    decoder = FastDecoder(net.dec)
    seen, made = [], FastDecoder._level
    monkeypatch.setattr(FastDecoder, "_level", lambda *a: seen.append((a[1], len(a[2]))) or made(*a))
    assert relative_rms(decoder(latents, decoder.source(features)), plain) < 2e-5
    above = [(2, 1), (3, 1)]
    assert seen == [(0, 3), (1, 3), *above * 3, (0, 2), (1, 2), *above * 2]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_doubling_is_the_transposed_convolution_up_to_the_border(net, layout):
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)).to(memory_format=layout)
    decoder = FastDecoder(net.dec)
    expected = F.conv_transpose2d(x.double(), decoder._up3.double(), stride=2, padding=1, groups=3)
    found = decoder._doubled(x)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=worst_rounding(4, float(x.abs().max())))


def test_shared_weights_equal_weights_per_sample_with_their_gradients(net, scene):
    latents, features, _ = scene
    gradients = []
    for impl in ("plain", "fast"):
        set_impl(net, impl)
        net.zero_grad()
        net.decode(latents, features)[0].square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.dec.parameters() if p.grad is not None]))
    set_impl(net, "plain")
    assert len(gradients[0]) == len(gradients[1]) > 100_000
    assert relative_rms(gradients[1], gradients[0]) < 1e-3


@torch.no_grad()
def test_white_noise_is_no_further_from_the_exact_pictures_than_the_plain_decoder():
    """The hardest case, against the same decoder in float64: plain is 5e-5 to 1.4e-4 away itself."""
    net = MotionAutoencoder(FloatConfig(image_size=128)).eval()
    randomise(net, seed=1, prefix="motion_autoencoder.")
    set_impl(net, "plain")
    generator = torch.Generator().manual_seed(1)
    latent, features = net.encode(torch.randn(1, 3, 128, 128, generator=generator).clamp(-1, 1))
    latents = latent + net.motion(torch.randn(2, 20, generator=generator))
    decoder = FastDecoder(net.dec)
    fast, plain = decoder(latents, decoder.source(features)), net.decode(latents, features)[0]
    exact = net.dec.double()(latents.double(), [feature.double() for feature in features])[0]
    assert exact.dtype == torch.float64
    assert relative_rms(fast, exact) < relative_rms(plain, exact) < worst_rounding(512 * 3 * 3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_flow_and_warp_in_float32(net, scene, precision):
    latents, features, plain = scene
    decoder = FastDecoder(net.dec, precision=precision)
    pictures = decoder(latents, decoder.source(features))
    assert pictures.dtype == torch.float32 and bool(torch.isfinite(pictures).all())
    assert 1e-4 < relative_rms(pictures, plain) < 0.1  # random weights are the worst case


def test_sources_do_not_leak_into_each_other(net, scene):
    latents, features, plain = scene
    decoder = FastDecoder(net.dec)
    other = decoder.source([feature.flip(-1) for feature in features])
    assert relative_rms(decoder(latents, other), plain) > 0.05
    assert relative_rms(decoder(latents, decoder.source(features)), plain) < 2e-5


@pytest.mark.parametrize(
    ("options", "text"),
    [({"precision": "fp8"}, "precision must be"), ({"graphs": True}, "CUDA"), ({"batch": 0}, "batch must be")],
)
def test_impossible_options_are_refused(net, options, text):
    with pytest.raises(ValueError, match=text):
        FastDecoder(net.dec, **options)


def test_latents_of_another_width_are_refused(net, scene):
    decoder = FastDecoder(net.dec)
    with pytest.raises(ValueError, match=r"latents must be \(T, 48\)"):
        next(decoder.stream(torch.zeros(2, 47), decoder.source(scene[1])))


@pytest.mark.slow
def test_the_compiled_frame_equals_the_plain_decoder(net, scene):
    latents, features, plain = scene
    decoder = FastDecoder(net.dec, compile=True)
    assert relative_rms(decoder(latents, decoder.source(features)), plain) < 2e-5


@pytest.mark.gpu
def test_cuda_graphs_equal_the_plain_decoder(net, scene):
    latents, features, plain = scene
    decoder = FastDecoder(net.dec.cuda(), graphs=True, batch=2)
    source = decoder.source([feature.cuda() for feature in features])
    parts = [part.cpu().clone() for part in decoder.stream(latents, source)]
    net.dec.cpu()
    assert relative_rms(torch.cat(parts), plain) < 1e-3  # TF32 is off, cuDNN sums in another order
