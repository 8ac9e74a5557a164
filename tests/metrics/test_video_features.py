"""CLIP, VideoMAE and V-JEPA against their public code on small seeded networks, and the distances of their features."""

from functools import partial

import numpy as np
import pytest
import torch

from floatbench import weights
from floatbench.errors import ClipError, DataError
from floatbench.metrics import clip_vision, kernels, registry, video_features
from floatbench.metrics.base import Pair
from floatbench.metrics.kid import GroupedKernel
from floatbench.metrics.network import seeded_state
from floatbench.types import ClipMedia
from tests.golden.make_video_features import CLIP as CLIP_SIZES
from tests.golden.make_video_features import clip, videomae, vjepa

# tests/golden/make_video_features.py: cd-fvd a1e037ab, jepa ec84227d, cmmd-pytorch f7673a9f
VIDEOMAE = [-0.847043, -0.068647, -0.41534, 1.896181, 0.698917, 0.118168, -1.719528, -0.87358, -1.670642, 0.580592,
            1.12544, -0.578965]  # fmt: skip
VJEPA = [0.154322, 1.173506, -1.319106, 4.761239, 0.618687, 1.886827, -0.858698, -1.262102, -1.418701, -0.271579,
         2.890873, -1.140404]  # fmt: skip
CLIP = [-0.0984, 0.124203, 0.094673, 0.201343, -0.291298, 0.048899]
CMMD = 2.063045346233361


def loaded(name, network, seed):
    backbone = registry.backbone(name)
    network.load_state_dict(seeded_state(network, seed))
    backbone.network = network.eval()
    return backbone


@pytest.mark.parametrize(
    ("name", "make", "seed", "golden"),
    [
        ("videomae-g-ssv2", videomae, 0, VIDEOMAE),
        ("vjepa-h-ssv2", vjepa, 1, VJEPA),
        ("clip-l14-336", partial(clip_vision.build, **CLIP_SIZES), 2, CLIP),
    ],
)
def test_features_equal_those_of_the_public_code(name, make, seed, golden):
    frames = clip(11)[:2] if name.startswith("clip") else clip(11)
    features = loaded(name, make(), seed).extract(ClipMedia(frames))["features"]
    assert features[0, ::4] == pytest.approx(golden, abs=2e-5)  # printed to six places, sums of 768 in float32


def test_windows_follow_each_other_and_the_remainder_is_counted():
    backbone = loaded("videomae-g-ssv2", videomae(), 0)
    features = backbone.extract(ClipMedia(clip(11, frames=37)))
    assert features["starts"].tolist() == [0, 16] and features["features"].shape == (2, 48)
    assert registry.metric("fvd-videomae").lost_frames(features) == {"remainder": 5}
    with pytest.raises(ClipError, match="needs 16 frames, got 15"):
        backbone.extract(ClipMedia(clip(11, frames=15)))


def rows(seed, shift=0.0):
    values = np.random.default_rng(seed).normal(size=(30, 8))
    return values / np.linalg.norm(values, axis=1, keepdims=True) if not shift else values + shift


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_the_gaussian_distance_is_that_of_cmmd_pytorch():
    sums = GroupedKernel.of([unit(rows(0))], [unit(rows(1, 0.5))], kernels.GAUSSIAN)
    assert sums.distance() == pytest.approx(CMMD, rel=1e-9)


def test_the_square_distance_is_jedis_formula_over_all_pairs():
    x, y = rows(2, 0.1), rows(3, 0.4)
    mean = lambda a, b: float(np.mean((a @ b.T / 8) ** 2))  # noqa: E731
    wanted = 100 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert GroupedKernel.of([x], [y], kernels.SQUARE).distance() == pytest.approx(wanted, rel=1e-11)
    halves = GroupedKernel.of([x[:11], x[11:]], [y[:11], y[11:]], kernels.SQUARE)
    assert halves.distance() == pytest.approx(wanted, rel=1e-11)


@pytest.mark.parametrize(("variant", "backbone"), [("cmmd", "clip-l14-336"), ("jedi", "vjepa-h-ssv2")])
def test_a_set_against_itself_is_0_and_another_one_is_not(variant, backbone):
    def pairs(shift):
        sides = {}
        for k in range(10):
            own = rows(k).astype(np.float32)
            frames = np.array([16], np.int32)
            sides[k] = {"reference": {"features": own, "frames": frames},
                        "generated": {"features": own + np.float32(shift), "frames": frames}}  # fmt: skip
        return [Pair(f"c{k}", f"p{k}", lambda side, _, k=k: sides[k][side]) for k in range(10)]

    metric = registry.metric(variant)
    assert metric.info.backbones == (backbone,)
    same, moved = metric.reduce(pairs(0.0)), metric.reduce(pairs(0.5))
    assert same.value == 0 and moved.value > 0.01
    assert moved.interval is not None and 0 <= moved.interval.low < moved.value < moved.interval.high
    assert metric.compare(pairs(0.5), pairs(0.1)).p < 0.01


def test_the_published_form_loads_and_another_network_is_refused(monkeypatch, tmp_path):
    network = videomae()
    state = {key: tensor.half() for key, tensor in seeded_state(network, 4).items()}
    found = video_features.published_state("videomae-g-ssv2", {"module": state})
    network.load_state_dict(found)
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    wrapped = {f"module.backbone.{key}": tensor for key, tensor in seeded_state(vjepa().encoder, 5).items()}
    vjepa().encoder.load_state_dict(video_features.published_state("vjepa-vith16", {"target_encoder": wrapped}))
    monkeypatch.setattr(weights, "load_state_dict", lambda name: {"module": state})
    with pytest.raises(DataError, match="videomae-g-ssv2"), torch.device("meta"):
        registry.backbone("videomae-g-ssv2").load()


@pytest.mark.parametrize("variant", ["cmmd", "fvd-videomae", "jedi", "desync"])
def test_missing_weights_are_one_line_with_the_command_that_fetches_them(variant, monkeypatch, tmp_path):
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path))
    backbone = registry.backbone(registry.metric(variant).info.backbones[0])
    with pytest.raises(DataError) as error:
        backbone.load()
    assert error.value.fix is not None and error.value.fix.startswith(f"floatbench weights fetch {backbone.weights[0]}")
