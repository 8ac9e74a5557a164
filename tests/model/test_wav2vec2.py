"""Our wav2vec 2.0 gives the hidden states of transformers' own network, in both kinds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from floatbench.model import wav2vec2
from floatbench.model.checkpoint import parametrized
from floatbench.model.conditioning import AudioEncoder, fit_to_frames, frames_of, normalise_audio
from floatbench.model.randomise import randomise
from floatbench.model.wav2vec2 import SpeechSizes, Wav2Vec2, conv_frames

SMALL = {
    "base": SpeechSizes("base", width=64, layers=3, heads=4, hidden=96, conv_dim=32),
    "large": SpeechSizes("large", width=64, layers=3, heads=4, hidden=96, conv_dim=32),
}


def network(kind: str) -> Wav2Vec2:
    net = Wav2Vec2(SMALL[kind]).eval()
    randomise(net, seed=2)
    return net


def wave(samples: int = 9_600) -> Tensor:
    return normalise_audio(torch.randn(2, samples, generator=torch.Generator().manual_seed(1)))


def peer(kind: str, net: Wav2Vec2):
    transformers = pytest.importorskip("transformers")
    config = SMALL[kind]
    theirs = transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.hidden,
            conv_dim=(config.conv_dim,) * 7,
            do_stable_layer_norm=kind == "large",
            feat_extract_norm="layer" if kind == "large" else "group",
            conv_bias=kind == "large",
        )
    ).eval()
    theirs.load_state_dict(parametrized(net.state_dict()), strict=True)
    return theirs


@pytest.mark.parametrize("kind", ["base", "large"])
@torch.no_grad()
def test_every_hidden_state_equals_transformers(kind):
    net = network(kind)
    made = peer(kind, net)(wave(), output_hidden_states=True)
    expected = [*made.hidden_states[1:-1], made.last_hidden_state]  # the list itself leaves out the final norm
    states = net.hidden_states(wave())
    assert len(states) == len(expected) == 3
    for ours, theirs in zip(states, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize("kind", ["base", "large"])
@torch.no_grad()
def test_long_sound_in_chunks_equals_the_whole(kind, monkeypatch):
    net = network(kind)
    whole = net.feature_extractor(wave(20_000))
    monkeypatch.setattr(wav2vec2, "CHUNK_FRAMES", 13)
    assert torch.allclose(net.feature_extractor(wave(20_000)), whole, atol=1e-5)


@torch.no_grad()
def test_features_are_interpolated_to_the_video_rate_before_the_transformer():
    net = network("base")
    features = net.feature_extractor(wave())
    moved = F.interpolate(features.transpose(1, 2), size=15, mode="linear", align_corners=True).transpose(1, 2)
    expected = net.encoder(net.feature_projection(moved)[0])
    assert torch.equal(net(wave(), n_frames=15), expected)


@torch.no_grad()
def test_states_are_stacked_layer_by_layer_and_summed_lean():
    encoder = AudioEncoder(SMALL["base"], 24).eval()
    randomise(encoder, seed=4)
    stack = encoder.states(wave(), 15)
    assert stack.shape == (2, 15, 3 * 64)
    last = encoder.wav2vec2(fit_to_frames(wave(), 15), 15)
    assert torch.equal(stack[..., 128:], last)
    assert torch.allclose(encoder.forward_lean(wave(), 15), encoder(wave(), 15), atol=1e-5)


@pytest.mark.parametrize("samples", [400, 640, 641, 16_000, 53_211])
def test_conv_frames_counts_what_the_convolutions_make(samples):
    lengths = torch.zeros(1, 1, samples)
    for kernel, stride in zip(wav2vec2.KERNELS, wav2vec2.STRIDES, strict=True):
        lengths = F.avg_pool1d(lengths, kernel, stride)
    assert conv_frames(samples) == lengths.shape[-1]


def test_less_than_one_frame_of_sound_is_refused():
    with pytest.raises(ValueError, match="N >= 400"):
        network("base")(torch.zeros(1, 399))


def test_sound_is_normalised_and_padded_with_its_last_sample():
    sound = torch.arange(700.0)[None]
    assert frames_of(700) == 2 and frames_of(640) == 1
    assert torch.equal(fit_to_frames(sound, 2)[0, 700:], torch.full((580,), 699.0))
    assert fit_to_frames(sound, 1).shape == (1, 640)
    normal = normalise_audio(sound)
    assert abs(float(normal.mean())) < 1e-6 and abs(float(normal.var(correction=0)) - 1) < 1e-5
