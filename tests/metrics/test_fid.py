"""FID against pytorch-fid on equal (seeded) weights, and what its settings promise."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy
import torch
from PIL import Image

import floatbench
from floatbench import weights
from floatbench.errors import ClipError, DataError
from floatbench.metrics import network as network_module
from floatbench.metrics.fid import FID
from floatbench.metrics.frechet import frechet_distance
from floatbench.metrics.inception import Inception, build_inception, preprocess, tap_features
from floatbench.types import ClipMedia

old_scipy = pytest.mark.skipif(
    tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 18), reason="pytorch-fid 0.3.0 calls sqrtm(disp=False)"
)


def clips(count, frames, side=40, seed=0, dark=1.0):
    """Smooth random pictures, so that resizing matters and features differ between clips."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, frames, side // 4, side // 4, 3)).repeat(4, 2).repeat(4, 3)
    return list((small * dark).astype(np.uint8))


def pytorch_fid_network(monkeypatch, file, blocks):
    inception = pytest.importorskip("pytorch_fid.inception")
    state = torch.load(file, weights_only=True)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *_, **__: state)
    return inception.InceptionV3(blocks).eval()


def test_every_tap_equals_pytorch_fids_features_on_equal_weights(seeded, monkeypatch):
    theirs = pytorch_fid_network(monkeypatch, seeded("inception-fid"), [0, 1, 2, 3])
    frames = clips(1, 2, side=64)[0]
    with torch.inference_mode():
        expected = [x.mean((2, 3)).numpy() for x in theirs(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255)]
    loaded = Inception()
    loaded.load()
    for tap, wanted in zip((64, 192, 768, 2048), expected, strict=True):
        backbone = Inception(tap)
        backbone.network = loaded.network
        ours = backbone.extract(ClipMedia(frames))["features"]
        assert ours.shape == (2, tap) == wanted.shape
        assert np.abs(ours - wanted).max() <= 1e-5 * np.abs(wanted).max(), tap


@old_scipy
def test_the_score_equals_pytorch_fid_on_the_same_pictures(seeded, monkeypatch, tmp_path):
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    pytorch_fid_network(monkeypatch, seeded("inception-fid"), [0])
    generated, reference = clips(4, 6, seed=1, dark=0.9), clips(4, 6, seed=2)
    for name, side in (("generated", generated), ("reference", reference)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(np.concatenate(side)):
            Image.fromarray(frame).save(tmp_path / name / f"{i:04d}.png")
    paths = [str(tmp_path / "generated"), str(tmp_path / "reference")]
    expected = fid_score.calculate_fid_given_paths(paths, 50, "cpu", 64, num_workers=0)
    score = floatbench.measure(FID("fid-64"), generated, reference)
    assert score.value == pytest.approx(expected, rel=1e-4)
    assert score.details["n_generated"] == 24


@old_scipy
@pytest.mark.peers
def test_the_2048_feature_score_equals_pytorch_fid(seeded, monkeypatch, tmp_path):
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    pytorch_fid_network(monkeypatch, seeded("inception-fid"), [3])
    generated, reference = clips(2, 16, seed=1, dark=0.9), clips(2, 16, seed=2)
    for name, side in (("generated", generated), ("reference", reference)):
        (tmp_path / name).mkdir()
        for i, frame in enumerate(np.concatenate(side)):
            Image.fromarray(frame).save(tmp_path / name / f"{i:04d}.png")
    paths = [str(tmp_path / "generated"), str(tmp_path / "reference")]
    expected = fid_score.calculate_fid_given_paths(paths, 50, "cpu", 2048, num_workers=0)
    assert floatbench.measure(FID(), generated, reference).value == pytest.approx(expected, rel=1e-4)


def test_the_score_equals_the_number_that_pytorch_fid_gave():
    golden = json.loads(Path(__file__).with_name("golden_fid.json").read_text())
    network = build_inception()
    network.load_state_dict(network_module.seeded_state(network, golden["weights_seed"]))
    network.eval()
    sides = []
    for seed, dark in golden["clips"]:
        frames = np.concatenate(clips(4, 6, seed=seed, dark=dark))
        with torch.inference_mode():
            sides.append(tap_features(network, preprocess(torch.from_numpy(frames)), 64))
    assert frechet_distance(*sides) == pytest.approx(golden["fid_64"], rel=1e-4)


def test_the_input_is_resized_without_antialias_and_scaled_to_plus_minus_one():
    frames = torch.zeros(1, 598, 598, 3, dtype=torch.uint8)
    frames[:, ::2, :, :] = 255  # stripes of one pixel: halving without a filter averages exactly two rows
    x = preprocess(frames)
    assert x.shape == (1, 3, 299, 299) and x.abs().max() < 1e-6
    assert (preprocess(torch.full((1, 8, 20, 3), 255, dtype=torch.uint8)) - 1).abs().max() < 1e-6
    wide = torch.zeros(1, 1196, 1196, 3, dtype=torch.uint8)
    wide[:, ::4] = 255  # one row in four, never one of the two that are read
    assert preprocess(wide).max() == -1 and preprocess(wide, "antialias")[0, 0, 9, 9] == pytest.approx(-0.5, abs=0.02)


def test_the_clean_resize_is_pil_bicubic_on_floats_clipped():
    frame = clips(1, 1, side=400, seed=5)[0]
    expected = np.stack(
        [
            np.asarray(Image.fromarray(frame[0, ..., c].astype(np.float32), "F").resize((299, 299), Image.BICUBIC))
            for c in range(3)
        ]
    ).clip(0, 255)
    np.testing.assert_allclose(preprocess(torch.from_numpy(frame), "clean")[0].numpy(), (expected - 128) / 128)


@pytest.mark.peers
@pytest.mark.parametrize(("height", "width"), [(256, 256), (512, 512), (300, 420)])
def test_the_clean_resize_equals_clean_fids_own(height, width):
    """clean-fid 0.1.35. Its network is a TorchScript file that holds its own weights, so only its input is compared."""
    resize = pytest.importorskip("cleanfid.resize")
    frames = np.random.default_rng(6).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    expected = np.stack([resize.build_resizer("clean")(frame) for frame in frames])
    found = preprocess(torch.from_numpy(frames), "clean").permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(found, (expected - 128) / 128)


def test_batch_size_and_order_change_nothing_beyond_rounding(seeded):
    seeded("inception-fid")
    frames = clips(1, 5)[0]
    one, all_at_once = Inception(192, batch=1), Inception(192, batch=5)
    one.load()
    all_at_once.network = one.network
    a, b = (x.extract(ClipMedia(frames))["features"] for x in (one, all_at_once))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert one.fingerprint() == all_at_once.fingerprint()


def test_out_of_memory_halves_the_batch_and_says_so(caplog):
    sizes = []

    def hungry(chunk):
        if len(chunk) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(chunk))
        return torch.from_numpy(chunk * 2.0)

    result, batch = network_module.in_batches(hungry, np.arange(10.0), 8, "inception-2015")
    np.testing.assert_array_equal(result, np.arange(10.0) * 2)
    assert batch == 2 and set(sizes) == {2}
    assert "out of memory with a batch of 8, going on with 4" in caplog.text

    def never(chunk):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ClipError, match="out_of_memory"):
        network_module.in_batches(never, np.arange(4.0), 4, "x")
    with pytest.raises(RuntimeError, match="inconsistent"):
        network_module.in_batches(lambda chunk: torch.zeros(2) @ torch.zeros(3), np.arange(4.0), 4, "shape")


def test_missing_and_foreign_weights_are_refused_with_a_command(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="floatbench weights fetch inception-fid"):
        Inception().load()
    target = weights.folder("inception-fid") / weights.entry("inception-fid").files[0].path
    target.parent.mkdir(parents=True)
    torch.save({"other.weight": torch.zeros(3)}, target)
    with pytest.raises(DataError, match="inception-fid"):
        Inception().load()
    with pytest.raises(DataError, match="do not fit"):
        network_module.load_strictly(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 3)}, "inception-fid")


def test_an_empty_clip_is_named(seeded):
    with pytest.raises(ClipError, match="empty"):
        Inception().extract(ClipMedia(np.zeros((0, 8, 8, 3), np.uint8)))


@pytest.mark.gpu
def test_the_gpu_gives_the_features_of_the_cpu(seeded):
    seeded("inception-fid")
    frames = clips(1, 4)[0]
    results = []
    for device in ("cpu", "cuda"):
        backbone = Inception()
        backbone.load(device)
        results.append(backbone.extract(ClipMedia(frames))["features"])
    assert np.abs(results[0] - results[1]).max() <= 1e-4 * np.abs(results[0]).max()
