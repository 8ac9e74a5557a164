"""Closed forms of the transformer, its mask and conditions, and its fast twin."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from floatbench.model import fast_transformer
from floatbench.model.conditions import Conditions
from floatbench.model.config import FloatConfig
from floatbench.model.fast_transformer import FastTransformer
from floatbench.model.randomise import randomise
from floatbench.model.transformer import Attention, FlowMatchingTransformer, position_table, time_features

SIZES = FloatConfig(dim_w=12, dim_m=4, dim_a=16, dim_h=64, heads=4, depth=8, window=20, previous=10)


def network(**changes: Any) -> FlowMatchingTransformer:
    net = FlowMatchingTransformer(replace(SIZES, **changes)).eval()
    randomise(net, seed=5, prefix="fmt.")
    return net


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs(batch: int = 2) -> dict[str, Tensor]:
    return {
        "x": noise(batch, 20, 12, seed=1),
        "wa": noise(batch, 20, 16, seed=2),
        "wr": noise(batch, 12, seed=3),
        "we": torch.softmax(noise(batch, 1, 7, seed=4), -1),
        "prev_x": noise(batch, 10, 12, seed=5),
        "prev_wa": noise(batch, 10, 16, seed=6),
    }


def output(net: FlowMatchingTransformer, t: float, given: dict[str, Tensor]) -> Tensor:
    return net(torch.tensor(t), given["x"], conditions(given))


def conditions(given: dict[str, Tensor]) -> Conditions:
    return Conditions(**{name: value for name, value in given.items() if name != "x"})


def branches(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The three guidance branches of one clip on the batch axis: nothing, audio, audio and emotion."""
    keep = {"wa": (0, 1, 1), "we": (0, 0, 1)}
    return {k: torch.cat([v * float(f) for f in keep.get(k, (1, 1, 1))]) for k, v in given.items()}


def test_time_features_are_cosines_then_sines_of_unscaled_time():
    t = torch.tensor([0.0, 0.7])
    features = time_features(t)
    assert features.shape == (2, 256)
    for k in (0, 1, 127):
        frequency = math.exp(-math.log(10_000) * k / 128)
        assert math.isclose(float(features[1, k]), math.cos(0.7 * frequency), abs_tol=1e-6)
        assert math.isclose(float(features[1, 128 + k]), math.sin(0.7 * frequency), abs_tol=1e-6)


def test_positions_follow_the_classic_table():
    table = position_table(60, 1024)[0]
    for p, j in ((0, 0), (7, 2), (59, 1023), (31, 500)):
        angle = p / 10_000 ** (2 * (j // 2) / 1024)
        assert math.isclose(float(table[p, j]), math.cos(angle) if j % 2 else math.sin(angle), abs_tol=1e-6)


def test_an_untrained_network_outputs_exactly_zero():
    assert torch.equal(output(FlowMatchingTransformer(SIZES), 0.5, inputs()), torch.zeros(2, 30, 12))


def test_masked_attention_equals_an_explicit_softmax():
    torch.manual_seed(0)
    layer, x = Attention(32, 4), noise(2, 9, 32)
    allowed = (torch.arange(9)[:, None] - torch.arange(9)).abs() <= 2
    q, k, v = layer.qkv(x).chunk(3, dim=-1)
    parts = []
    for head in range(4):
        one = slice(8 * head, 8 * head + 8)
        scores = q[..., one] @ k[..., one].transpose(1, 2) / math.sqrt(8)
        parts.append(torch.softmax(scores.masked_fill(~allowed, -math.inf), -1) @ v[..., one])
    assert torch.allclose(layer(x, allowed), layer.proj(torch.cat(parts, -1)), atol=1e-6)


@torch.no_grad()
def test_a_frame_is_reached_from_two_frames_a_block_and_no_further():
    net, given = network(depth=3), inputs(1)
    changed = given | {"x": given["x"].clone()}
    changed["x"][0, 12] += 1.0
    moved = (output(net, 0.4, given) - output(net, 0.4, changed)).abs().amax(-1)[0] > 0
    assert moved.nonzero().flatten().tolist() == list(range(22 - 6, 22 + 7))  # frame 12 is token 22; 3 blocks of 2


@torch.no_grad()
def test_absent_previous_frames_are_zeros_and_inputs_stay_untouched():
    net, given = network(), inputs()
    given |= {"prev_x": torch.zeros(2, 10, 12), "prev_wa": torch.zeros(2, 10, 16)}
    before = {k: v.clone() for k, v in given.items()}
    bare = {k: v for k, v in given.items() if not k.startswith("prev")}
    assert torch.equal(output(net, 0.2, given), output(net, 0.2, bare))
    assert all(torch.equal(given[k], before[k]) for k in given)


@pytest.mark.parametrize("conditioning", ["cross", "cross_only"])
@torch.no_grad()
def test_cross_attention_variants_use_every_condition(conditioning):
    net, given = network(conditioning=conditioning), inputs()
    reference = output(net, 0.2, given)
    assert reference.shape == (2, 30, 12)
    for name in given:
        changed = given | {name: given[name] + 0.5}
        assert not torch.allclose(output(net, 0.2, changed), reference, atol=1e-3), name
    assert ("attn.qkv.weight" in dict(net.blocks[0].named_parameters())) == (conditioning == "cross")


@torch.no_grad()
def test_image_emotion_and_pose_are_conditions_frame_by_frame():
    net = network(emotion_condition="image", pose_condition=True)
    assert net.c_embedder.in_features == 12 + 16 + 7 + 6
    given = inputs(1) | {"we": noise(1, 20, 7), "pose": noise(1, 20, 6), "prev_we": noise(1, 10, 7)}
    reference = output(net, 0.2, given)
    for name in ("we", "pose", "prev_we"):
        changed = given | {name: given[name].clone()}
        changed[name][:, 0] += 1.0
        assert not torch.equal(output(net, 0.2, changed), reference)
    assert network(emotion_condition="none").c_embedder.in_features == 28


@pytest.mark.parametrize(
    ("name", "shape"),
    [("x", (2, 19, 12)), ("wa", (2, 20, 15)), ("wr", (1, 12)), ("we", (2, 2, 7)), ("prev_x", (2, 9, 12))],
)
def test_a_wrong_shape_is_named(name, shape):
    with pytest.raises(ValueError, match=name):
        output(network(), 0.1, inputs() | {name: torch.zeros(shape)})


@pytest.mark.parametrize("times", [(), (0.0, 0.25, 0.5)])
@torch.no_grad()
def test_the_fast_field_equals_the_plain_one(times):
    net, given = network(), branches(inputs(1))
    x = given["x"]
    field = FastTransformer(net).bind(times, conditions(given))
    for t in (0.0, 0.25, 0.7):
        plain = output(net, t, given)[:, 10:]
        assert torch.allclose(field(torch.tensor(t), x), plain, atol=2e-5 * float(plain.abs().max()))


@torch.no_grad()
def test_guidance_branches_share_their_equal_condition_rows():
    given = branches(inputs(1))
    # previous frames without emotion 10, current frames without audio 1, with audio 20, everything 30
    assert FastTransformer(network()).bind((0.5,), conditions(given)).distinct_rows == 10 + 1 + 20 + 30


@torch.no_grad()
def test_compiled_windows_have_one_shape_however_many_frames_the_sound_has(monkeypatch):
    """Or a clip of another length would be compiled anew, for minutes, and after some of them no more."""
    seen = set()

    def noting(function, how):
        def call(tokens, modulations, index, allowed):
            seen.add(tuple((part.shape, part.stride()) for part in (tokens, *modulations, index, allowed)))
            return function(tokens, modulations, index, allowed)

        return call

    monkeypatch.setattr(fast_transformer, "compiled", noting)
    net, distinct = network(), set()
    for frames in (20, 3):
        given = inputs(1)
        given["wa"][:, frames:] = given["wa"][:, frames - 1 : frames]  # beyond the end the last frame is repeated
        given = branches(given)
        field = FastTransformer(net, compile=True).bind((0.25,), conditions(given))
        distinct.add(field.distinct_rows)
        for t in (0.25, 0.7):
            plain = output(net, t, given)[:, 10:]
            assert torch.allclose(field(t, given["x"]), plain, atol=2e-5 * float(plain.abs().max()))
    assert len(distinct) == 2 and len(seen) == 1


@torch.no_grad()
def test_half_precision_stays_close():
    net, given = network(), branches(inputs(1))
    x = given["x"]
    plain = output(net, 0.25, given)[:, 10:]
    half = FastTransformer(net, precision="bf16").bind((0.25,), conditions(given))(0.25, x)
    error = float((half - plain).square().mean().sqrt() / plain.square().mean().sqrt())
    assert half.dtype == torch.float32 and 1e-5 < error < 0.03


def test_cross_attention_has_no_fast_twin():
    with pytest.raises(ValueError, match="no fast transformer"):
        FastTransformer(network(conditioning="cross"))


@pytest.mark.slow
@torch.no_grad()
def test_the_compiled_field_equals_the_plain_one():
    net, given = network(), branches(inputs(1))
    x = given["x"]
    plain = output(net, 0.25, given)[:, 10:]
    assert np.allclose(FastTransformer(net, compile=True).bind((0.25,), conditions(given))(0.25, x), plain, atol=1e-4)
