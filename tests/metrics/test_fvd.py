"""FVD: the network and the distance against the common tool, the windows of each variant, short clips."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench.errors import ClipError, DataError
from floatbench.metrics import registry
from floatbench.metrics.base import MetricInfo, Pair
from floatbench.metrics.frechet import frechet_distance
from floatbench.metrics.fvd import FVD, METRICS
from floatbench.metrics.i3d import (
    I3D,
    I3DNetwork,
    blocks,
    first_and_random,
    offset20,
    preprocess,
    same_padding,
    sliding,
    state_from_torchscript,
)
from floatbench.metrics.network import load_strictly, seeded_state
from floatbench.types import ClipMedia

GOLDEN = json.loads(Path(__file__).with_name("golden_fvd.json").read_text())


def drifting(seed, frames=16, height=72, width=96):
    """The clips of tests/golden/make_fvd.py."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 200, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    gains = 1 + 0.25 * np.sin(np.arange(frames) / 3 + seed)
    return np.stack([np.roll(picture, t, 1) * gain for t, gain in enumerate(gains)]).clip(0, 255).astype(np.uint8)


def loaded(name):
    backbone = registry.backbone(name)
    backbone.network = backbone.build().eval()
    backbone.network.load_state_dict(seeded_state(backbone.network, GOLDEN["weights_seed"]))
    return backbone


def test_logits_and_distance_equal_the_numbers_of_the_common_tool():
    backbone = loaded("i3d-videogpt")
    sides = [
        np.concatenate([backbone.extract(ClipMedia(drifting(seed)))["features"] for seed in seeds])
        for seeds in GOLDEN["clips"].values()
    ]
    scale = np.abs(GOLDEN["logits_1e-5"]).max()
    assert np.abs(sides[0][0, ::25] - GOLDEN["logits_1e-5"]).max() <= 1e-4 * scale
    assert frechet_distance(*sides) == pytest.approx(GOLDEN["fvd_videogpt"], rel=1e-4)


def test_the_default_has_the_epsilon_of_the_tensorflow_graph():
    features = loaded("i3d").extract(ClipMedia(drifting(GOLDEN["clips"]["generated"][0])))["features"]
    wanted, other = np.array(GOLDEN["logits_1e-3"]), np.array(GOLDEN["logits_1e-5"])
    assert np.abs(features[0, ::25] - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert np.abs(wanted - other).max() > 1e-3 * np.abs(wanted).max()  # the two variants can be told apart


def _golden_script():
    path = Path(__file__).resolve().parents[1] / "golden" / "make_fvd.py"
    spec = importlib.util.spec_from_file_location("make_fvd", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.peers
@pytest.mark.parametrize("epsilon", [1e-5, 1e-3])
@pytest.mark.parametrize("size", [(72, 96), (300, 225), (224, 224)])
def test_network_and_preprocessing_equal_the_common_tool_side_by_side(epsilon, size):
    if "FLOATBENCH_SRC_COMMON_METRICS" not in os.environ:
        pytest.skip("set FLOATBENCH_SRC_COMMON_METRICS to a checkout of common_metrics_on_video_quality")
    make_fvd = _golden_script()
    frames = drifting(3, 16, *size)
    video = torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255
    theirs = make_fvd.source("fvd/videogpt/fvd.py").preprocess(video[None])
    stylegan = make_fvd.source("fvd/styleganv/fvd.py").preprocess_single(video)
    ours = preprocess(torch.from_numpy(frames))
    assert (ours - theirs[0]).abs().max() < 1e-5 and (ours - stylegan).abs().max() < 1e-5
    network = I3DNetwork(epsilon).eval()
    network.load_state_dict(seeded_state(network, 0))
    with torch.inference_mode():
        expected, got = make_fvd.network(epsilon)(theirs), network(ours[None])
    assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_same_padding_is_tensorflows():
    assert same_padding((16, 224, 224), (7, 7, 7), (2, 2, 2)) == [2, 3, 2, 3, 2, 3]
    assert same_padding((5, 7, 8), (3, 3, 3), (2, 2, 1)) == [1, 1, 1, 1, 1, 1]
    assert same_padding((4, 6, 9), (1, 3, 3), (1, 2, 3)) == [0, 0, 0, 1, 0, 0]


def test_the_picture_is_scaled_by_its_shorter_side_and_cut_in_the_middle():
    frames = torch.zeros(2, 224, 448, 3, dtype=torch.uint8)
    frames[:, :, 112:336] = 255
    assert preprocess(frames).shape == (3, 2, 224, 224)
    assert preprocess(frames).min() == 1  # exactly the bright middle
    assert preprocess(frames[:, :, :225])[..., 0].max() == -1


def test_each_variants_windows():
    clip = ClipMedia(np.zeros((50, 8, 8, 3), np.uint8))
    assert blocks(clip) == [0, 16, 32]
    assert sliding(clip) == list(range(35))
    assert offset20(clip) == [20]
    first, drawn = first_and_random(clip)
    assert first == 0 and 0 <= drawn <= 34
    assert first_and_random(ClipMedia(np.zeros((50, 8, 8, 3), np.uint8))) == [first, drawn]
    others = {first_and_random(ClipMedia(np.full((50, 8, 8, 3), v, np.uint8)))[1] for v in range(12)}
    assert len(others) > 4
    assert blocks(ClipMedia(np.zeros((16, 8, 8, 3), np.uint8))) == [0]


class FewNumbers(I3D):
    """The windows of I3D with the mean of each frame instead of the network."""

    def forward(self, run, items):
        return np.array([[float(s), float(s) ** 2] for s in items], np.float32)


def test_every_variant_picks_its_rows_and_counts_the_remainder(monkeypatch):
    monkeypatch.setattr("floatbench.metrics.i3d.I3D", FewNumbers)
    clip = ClipMedia(np.zeros((50, 8, 8, 3), np.uint8))
    rows = {}
    for name in METRICS:
        backbone = FewNumbers(name, windows=registry.backbone(METRICS[name]().info.backbones[0]).windows)
        features = backbone.extract(clip)
        rows[name] = [METRICS[name]().samples(features, side)[:, 0].tolist() for side in ("generated", "reference")]
        assert METRICS[name]().lost_frames(features).get("remainder", 0) == (
            2 if name in ("fvd", "fvd-videogpt", "fvd-torchscript") else 0
        )
    drawn = float(first_and_random(clip)[1])
    assert rows["fvd"] == [[0, 16, 32], [0, 16, 32]]
    assert rows["fvd-first16"] == [[0], [0]]
    assert rows["fvd-styleganv"] == [[0], [drawn]]
    assert rows["fvd-offset20"] == [[20], [20]]
    assert len(rows["fvd-sliding1"][0]) == 35


@pytest.mark.parametrize(("name", "least"), [("i3d", 16), ("i3d-styleganv", 16), ("i3d-offset20", 36)])
def test_a_clip_below_the_window_fails_with_too_short(name, least):
    backbone = registry.backbone(name)
    clip = ClipMedia(np.zeros((least - 1, 8, 8, 3), np.uint8))
    with pytest.raises(ClipError, match=f"too_short: {name} needs {least} frames, got {least - 1}"):
        backbone.extract(clip)


def test_the_styleganv_variant_divides_by_n():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)) + 1
    info = MetricInfo(
        id="t", column="FVD", title="t", higher_is_better=False, level="corpus", backbones=("b",),
        sides=("generated", "reference")
    )  # fmt: skip
    metric = FVD("fvd-styleganv", info)
    sides = {"generated": [np.stack([a, a * np.nan]) for a in x], "reference": [np.stack([b * np.nan, b]) for b in y]}

    def load(number, side):
        return {"features": sides[side][number], "frames": np.array([16])}

    pairs = [Pair(f"c{i}", f"p{i}", lambda side, _, i=i: load(i, side)) for i in range(6)]
    score = metric.reduce(pairs)
    assert score.value == pytest.approx(frechet_distance(x, y, biased=True), rel=1e-12)
    assert score.value != pytest.approx(frechet_distance(x, y), rel=1e-3)


def test_key_names_of_the_torchscript_files_ancestor_are_understood():
    own = seeded_state(I3DNetwork(), 1)
    foreign = {}
    for name, tensor in own.items():
        for ours, theirs in (
            ("logits.", "conv3d_0c_1x1."),
            ("Conv3d_", "conv3d_"),
            ("Mixed_", "mixed_"),
            (".bn.", ".batch3d."),
            (".b0.", ".branch_0."),
            *((f".b{i}a.", f".branch_{i}.0.") for i in (1, 2)),
            *((f".b{i}b.", f".branch_{i}.1.") for i in (1, 2, 3)),
        ):
            name = name.replace(ours, theirs)
        if not name.endswith(("batch3d.weight", "num_batches_tracked")):
            foreign[name] = tensor
    found = state_from_torchscript(foreign)
    assert set(found) == set(own)
    for name, tensor in own.items():
        expected = torch.ones_like(tensor) if name.endswith("bn.weight") else tensor
        assert torch.equal(found[name], expected), name
    foreign["conv3d_9z.weight"] = torch.zeros(1)
    with pytest.raises(DataError, match="do not fit"):
        load_strictly(I3DNetwork(), state_from_torchscript(foreign), "i3d-torchscript")


@pytest.mark.slow
def test_fabricated_files_of_both_kinds_load_and_agree(seeded):
    clip = ClipMedia(drifting(5))
    results = []
    for weight, name in (("i3d-400", "i3d"), ("i3d-torchscript", "i3d-torchscript")):
        seeded(weight)
        backbone = registry.backbone(name)
        backbone.load()
        results.append(backbone.extract(clip)["features"])
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_batch_size_changes_nothing_beyond_rounding():
    one, three = loaded("i3d"), loaded("i3d")
    one.batch, three.batch = 1, 3
    clip = ClipMedia(drifting(6, 48))
    np.testing.assert_allclose(one.extract(clip)["features"], three.extract(clip)["features"], rtol=1e-4, atol=1e-5)
