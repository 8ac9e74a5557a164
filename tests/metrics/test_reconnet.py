"""ReconNet: alignment in closed form and against other formulations, slices, key names, frames without a face."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from floatbench import weights
from floatbench.errors import DataError
from floatbench.metrics import reconnet, registry, scrfd
from floatbench.metrics.base import Pair
from floatbench.metrics.efid import METRICS
from floatbench.metrics.network import load_strictly
from floatbench.types import ClipMedia

RNG = np.random.default_rng(4)


def _picture(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _points(scale: float, x: float, y: float, noise: float = 0.0) -> np.ndarray:
    """Five points with y up of a face at (x, y)."""
    return reconnet.TEMPLATE[:, :2] * scale + (x, y) + noise * RNG.standard_normal((5, 2))


def test_a_projected_template_gives_back_its_scale_and_shift():
    angle = 0.4
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    shift, scale = reconnet.weak_perspective(80 * (reconnet.TEMPLATE @ turn.T)[:, :2] + (30, 40))
    assert scale == pytest.approx(80)
    assert shift == pytest.approx([30, 40])


def test_the_aligned_face_has_the_stated_size_and_place():
    frame = np.zeros((300, 400, 3), np.uint8)
    points = _points(51, 150, 140)
    for x, y in points:  # a dot on every point; y counts from the last row
        cv2.circle(frame, (round(x), round(299 - y)), 4, (255, 255, 255), -1)
    crop = reconnet.align_upright(frame, points)
    assert crop is not None and crop.shape == (224, 224, 3)
    expected = reconnet.TEMPLATE[:, :2] * (102, -102) + 112
    for x, y in np.rint(expected).astype(int):
        assert crop[y - 3 : y + 4, x - 3 : x + 4].mean() > 150


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 420), (720, 405)])
def test_alignment_equals_the_interleaved_least_squares_and_a_padded_cut(height, width):
    frame = _picture(height, width)
    points = _points(0.3 * height, width / 2 + 20, height / 2 - 30, noise=4)
    system, target = np.zeros((10, 8)), points.reshape(-1)
    system[0::2, :3] = system[1::2, 4:7] = reconnet.TEMPLATE
    system[0::2, 3] = system[1::2, 7] = 1
    k = np.linalg.lstsq(system, target, rcond=None)[0]
    s = 102 / ((np.linalg.norm(k[:3]) + np.linalg.norm(k[4:7])) / 2)
    size = int(width * s), int(height * s)
    resized = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    left = int(size[0] / 2 - 112 + (k[3] - width / 2) * s)
    top = int(size[1] / 2 - 112 + (height / 2 - k[7]) * s)
    padded = np.pad(resized, ((600, 600), (600, 600), (0, 0)))[top + 600 : top + 824, left + 600 : left + 824]
    np.testing.assert_array_equal(reconnet.align_upright(frame, points), padded)


def test_template_and_alignment_keep_the_numbers_of_the_original():
    """Golden: sicxu/Deep3DFaceRecon_pytorch at 9167c713 through tests/golden/make_reconnet.py, on points of its own."""
    points = np.array([[203.0, 305.5], [309.2, 301.1], [258.7, 247.3], [214.4, 189.9], [303.8, 186.2]])
    shift, scale = reconnet.weak_perspective(points)
    assert scale == pytest.approx(173.262011, abs=1e-4)
    assert shift == pytest.approx([257.48234, 252.69624], abs=1e-4)
    crop = reconnet.align_upright(_picture(480, 512), points)
    assert crop is not None
    found = [crop[at].tolist() for at in ((20, 31), (112, 112), (180, 97), (205, 210))]
    assert found == [[82, 174, 73], [136, 182, 138], [130, 225, 168], [56, 99, 78]]
    assert crop.mean() == pytest.approx(119.05683, abs=1e-4)


def test_pixels_are_flipped_once():
    frame, points = _picture(200, 200), _points(60, 100, 90)
    down = np.stack([points[:, 0], 199 - points[:, 1]], axis=1)
    np.testing.assert_array_equal(reconnet.align(frame, down), reconnet.align_upright(frame, points))


def test_degenerate_points_and_specks_give_no_picture():
    frame = _picture(400, 400)
    assert reconnet.align(frame, np.full((5, 2), 7.0)) is None
    assert reconnet.align(frame, _points(0.5, 200, 200)) is None


def test_68_landmarks_become_the_same_five():
    landmarks = RNG.random((68, 2))
    five = reconnet.five_points(landmarks)
    one_based = {i + 1: row for i, row in enumerate(landmarks)}
    expected = [(one_based[37] + one_based[40]) / 2, (one_based[43] + one_based[46]) / 2]
    np.testing.assert_allclose(five, [*expected, one_based[31], one_based[49], one_based[55]])


def test_slices_name_the_257_coefficients():
    offsets = np.cumsum((0, *reconnet.HEADS)).tolist()
    assert offsets[-1] == 257
    assert (reconnet.EXPRESSION.start, reconnet.EXPRESSION.stop) == (offsets[1], offsets[2]) == (80, 144)
    assert (reconnet.ANGLES.start, reconnet.ANGLES.stop) == (offsets[3], offsets[4]) == (224, 227)
    assert (reconnet.TRANSLATION.start, reconnet.TRANSLATION.stop) == (offsets[5], offsets[7]) == (254, 257)


@pytest.fixture(scope="module")
def state_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("reconnet") / "epoch_20.pth"
    reconnet.fabricate(file, 0)
    return file


def test_both_official_files_give_the_same_network_and_wrong_ones_are_refused(state_file):
    document = torch.load(state_file, weights_only=True)
    state = reconnet.official_state(document)
    assert {"backbone.conv1.weight", "backbone.layer4.2.bn3.running_var", "final_layers.6.bias"} <= set(state)
    bundle = {f"face_3drecon.{name}": tensor for name, tensor in state.items()} | {"other.weight": torch.zeros(1)}
    assert reconnet.official_state(bundle).keys() == state.keys()
    network = reconnet.ReconNet()
    load_strictly(network, state, "reconnet-epoch20")
    broken = {**state, "final_layers.1.weight": torch.zeros(65, 2048, 1, 1)}
    with pytest.raises(DataError, match=r"final_layers.1.weight"):
        load_strictly(network, broken, "reconnet-epoch20")


def _backbone(mode: reconnet.Mode, state_file: Path, batch: int = 64) -> reconnet.ReconCoefficients:
    backbone = reconnet.ReconCoefficients(mode, batch)
    backbone.network = reconnet.ReconNet().eval()
    load_strictly(backbone.network, reconnet.official_state(torch.load(state_file, weights_only=True)), "r")
    return backbone


class _Detector(scrfd.Detector):
    def __init__(self, found: list[bool]) -> None:
        self.found = np.array(found)

    def largest_faces(self, clip: ClipMedia) -> dict[str, np.ndarray]:
        points = np.stack([_points(60, 90 + i, 80) for i in range(len(self.found))])
        points[:, :, 1] = clip.frames.shape[1] - 1 - points[:, :, 1]
        points[~self.found] = 0
        return {"found": self.found, "faces": self.found.astype(np.int32), "points": points}


def test_frames_without_a_face_are_left_out_or_held(state_file):
    clip = ClipMedia(np.stack([_picture(180, 180)] * 3))
    backbone = _backbone("aligned", state_file)
    backbone._detector = _Detector([False, True, False])
    features = backbone.extract(clip)
    assert features["found"].tolist() == [False, True, False]
    assert features["coefficients"].shape == (3, 257)
    assert not features["coefficients"][[0, 2]].any()
    holding = _backbone("hold", state_file)
    holding._detector = _Detector([False, True, False])
    held = holding.extract(clip)
    assert held["found"].all()
    np.testing.assert_array_equal(held["coefficients"][1], held["coefficients"][2])
    assert np.abs(held["coefficients"][0] - held["coefficients"][1]).max() > 1e-4


def test_the_fixed_crop_needs_no_detector_and_batches_change_nothing_but_rounding(state_file):
    frames = np.stack([np.roll(_picture(90, 120), 7 * i, axis=1) for i in range(5)])
    whole = _backbone("fixedcrop", state_file).extract(ClipMedia(frames))
    pieces = _backbone("fixedcrop", state_file, batch=2).extract(ClipMedia(frames))
    assert whole["found"].all()
    np.testing.assert_allclose(pieces["coefficients"], whole["coefficients"], rtol=1e-4, atol=1e-5)
    assert np.abs(whole["coefficients"]).max() < 100
    assert registry.backbone("reconnet-fixedcrop").weights == ("reconnet-epoch20",)


def test_expression_and_pose_read_their_own_coefficients():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, (100, 257)).astype(np.float32)

    def score(variant: str, changed: slice) -> float:
        other = base.copy()
        other[:, changed] += 2
        table = {"generated": other, "reference": base}
        features = {side: {"found": np.ones(100, bool), "coefficients": rows} for side, rows in table.items()}
        value = METRICS[variant]().reduce([Pair("c", "p", lambda side, name: features[side])]).value
        assert value is not None
        return value

    assert score("efid", slice(80, 144)) == pytest.approx(4 * 64, rel=1e-5)
    assert score("efid", slice(224, 257)) == pytest.approx(0, abs=1e-6)
    for variant in ("pfid-aligned", "pfid-fixedcrop"):
        assert score(variant, slice(224, 227)) == pytest.approx(12, rel=1e-5)
        assert score(variant, slice(254, 257)) == pytest.approx(12, rel=1e-5)
        assert score(variant, slice(227, 254)) == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_fabricated_weights_run_end_to_end_on_a_real_clip(shared, monkeypatch):
    from floatbench.media import read_clip

    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    for name in registry.backbone("reconnet").weights:
        weights.fabricate(name, 0)
    frames = read_clip(shared / "data" / "real" / "video" / "LipNet" / "lwbsza.mpg").frames[:5]
    for name in ("reconnet", "reconnet-fixedcrop"):
        backbone = registry.backbone(name)
        backbone.load()
        features = backbone.extract(ClipMedia(frames))
        assert features["found"].all()
        assert np.isfinite(features["coefficients"]).all()
        assert np.ptp(features["coefficients"], axis=0).max() > 0


# ---- beside the original code: FLOATBENCH_SRC_DEEP3D names a checkout of sicxu/Deep3DFaceRecon_pytorch at 9167c713


def _peer(name: str, file: Path, monkeypatch) -> types.ModuleType:
    """Loads one file of the checkout; what it imports and never uses here is replaced by empty modules."""
    monkeypatch.setattr(np, "VisibleDeprecationWarning", DeprecationWarning, raising=False)  # gone in NumPy 2
    for stub, attribute in (
        ("kornia", ""),
        ("kornia.geometry", "warp_affine"),
        ("deep3d_peer", ""),
        ("deep3d_peer.arcface_torch", ""),
        ("deep3d_peer.arcface_torch.backbones", "get_model"),
    ):
        module = types.ModuleType(stub)
        module.__path__ = []  # type: ignore[attr-defined]
        if attribute:
            setattr(module, attribute, None)
        monkeypatch.setitem(sys.modules, stub, module)
    spec = importlib.util.spec_from_file_location(f"deep3d_peer.{name}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _checkout() -> Path:
    folder = os.environ.get("FLOATBENCH_SRC_DEEP3D")
    if not folder:
        pytest.skip("set FLOATBENCH_SRC_DEEP3D to a checkout of sicxu/Deep3DFaceRecon_pytorch")
    return Path(folder)


@pytest.mark.peers
@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 420), (720, 405)])
def test_alignment_equals_the_original_pixel_for_pixel(height, width, monkeypatch):
    peer = _peer("preprocess", _checkout() / "util" / "preprocess.py", monkeypatch)
    frame = _picture(height, width)
    for noise in (0, 3, 9):
        points = _points(0.317 * height, width / 2 + 20, height / 2 - 30, noise)  # 0.3 would give whole pixels
        # align_img itself stops on NumPy 2 (a ragged array for its return value): its two steps are called instead
        shift, scale = peer.POS(points.T, reconnet.TEMPLATE.T)
        image, _, _ = peer.resize_n_crop_img(Image.fromarray(frame), points, shift.ravel(), 102.0 / scale)
        np.testing.assert_array_equal(reconnet.align_upright(frame, points), np.asarray(image))


@pytest.mark.peers
def test_the_network_equals_the_original(state_file, monkeypatch):
    peer = _peer("networks", _checkout() / "models" / "networks.py", monkeypatch)
    network = peer.define_net_recon("resnet50").eval()
    network.load_state_dict(torch.load(state_file, weights_only=True)["net_recon"])
    crops = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = network(torch.from_numpy(crops / 255.0).float().permute(0, 3, 1, 2)).numpy()
    found = _backbone("aligned", state_file).coefficients(crops)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
