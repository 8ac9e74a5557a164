"""CSIM: alignment in closed form, detection by its definition, embedding beside insightface and torch, no faces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from floatbench import weights
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.metrics import arcface, registry, scrfd
from floatbench.metrics.base import Pair
from floatbench.metrics.csim import CSIM, cosines
from floatbench.types import ClipMedia

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("scrfd") / "det_10g.onnx"
    scrfd.fabricate(file, 0)
    return file


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> tuple[arcface.IResNet, Path]:
    network = arcface.IResNet((1, 1, 2, 1), width=8).eval()
    network.load_state_dict(arcface.calm_state(network, 3))
    file = tmp_path_factory.mktemp("arcface") / "small.onnx"
    arcface.to_onnx(network, file)
    return network, file


def _crowd(path: Path, seed: int) -> None:
    """An SCRFD graph with random boxes, many of which overlap."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(seed)
    nodes, constants, outputs = [], [], []
    for kind, width in enumerate((1, 4, 10)):
        for stride in scrfd.STRIDES:
            count = (scrfd.SIDE // stride) ** 2 * 2
            values = rng.random((count, width), np.float32) * (1, 9, 6)[kind]
            if kind == 0:
                values = values**40  # few pass the threshold
            if kind == 2:
                values = values - 3
            name = f"o{kind}_{stride}"
            constants.append(numpy_helper.from_array(values.astype(np.float32), name + "c"))
            nodes.append(helper.make_node("Identity", [name + "c"], [name]))
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, width]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "h", "w"])
    graph = helper.make_graph(nodes, "crowd", [image], outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_known_similarity_is_recovered():
    angle, factor = 0.3, 1.7
    linear = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = arcface.TEMPLATE @ linear.T + (5, -8)
    found = arcface.similarity(arcface.TEMPLATE, target)
    np.testing.assert_allclose(found, np.concatenate([linear, [[5], [-8]]], axis=1), atol=1e-9)


def test_alignment_equals_umeyama_on_scattered_and_mirrored_points():
    transform = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(0)
    for sign in (1, 1, 1, -1):
        points = arcface.TEMPLATE * (sign, 1) * 2.3 + rng.normal(0, 4, (5, 2))
        umeyama = transform.SimilarityTransform.from_estimate(points, arcface.TEMPLATE)
        np.testing.assert_allclose(arcface.similarity(points), umeyama.params[:2], atol=1e-9)


def _input(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """The longer side becomes 640, the rest at the right or bottom is black, then (v - 127.5) / 128; and the scale."""
    height, width = frame.shape[:2]
    new = (int(640 / (height / width)), 640) if height > width else (640, int(640 * (height / width)))
    canvas = np.zeros((640, 640, 3), np.uint8)
    canvas[: new[1], : new[0]] = cv2.resize(frame, new)
    return ((canvas.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None], new[1] / height


def _plain_detections(model: Path, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SCRFD written out: anchors at every cell of three strides, score at least 0.5, greedy suppression above 0.4."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    blob, scale = _input(frame)
    outputs = session.run(None, {session.get_inputs()[0].name: blob})
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    for level, stride in enumerate(scrfd.STRIDES):
        for anchor in np.flatnonzero(outputs[level][:, 0] >= 0.5).tolist():
            cell = anchor // 2
            centre = np.array([cell % (640 // stride), cell // (640 // stride)]) * stride
            box, points = outputs[level + 3][anchor] * stride, outputs[level + 6][anchor].reshape(5, 2) * stride
            corners = np.concatenate([centre - box[:2], centre + box[2:]]) / scale
            found.append((float(outputs[level][anchor, 0]), corners, (centre + points) / scale))
    kept: list[tuple[float, np.ndarray, np.ndarray]] = []
    for face in sorted(found, key=lambda face: -face[0]):
        if all(_overlap(face[1], other[1]) <= 0.4 for other in kept):
            kept.append(face)
    scores, boxes, points = zip(*kept, strict=True)
    return np.array(boxes), np.array(scores), np.array(points)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union where sides count pixels."""
    shared = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]) + 1, 0).prod()
    return shared / ((a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod() - shared)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 500), (500, 301)])
def test_detections_equal_those_of_the_definition(tmp_path, height, width):
    _crowd(tmp_path / "crowd.onnx", 5)
    frame = _picture(height, width)
    boxes, scores, points = _plain_detections(tmp_path / "crowd.onnx", frame)
    faces = scrfd.Detector(tmp_path / "crowd.onnx").detect(frame)
    assert len(boxes) > 20
    np.testing.assert_allclose(faces.boxes, boxes, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(faces.scores, scores, rtol=1e-6)
    np.testing.assert_allclose(faces.points, points, rtol=1e-5, atol=1e-4)


def test_the_detector_is_shown_red_green_blue_in_640_pixels(detector_file):
    detector, frame = scrfd.Detector(detector_file), _picture(333, 517)
    shown: list[np.ndarray] = []
    session = detector._network.session

    class Watched:
        def __getattr__(self, name):
            return getattr(session, name)

        def run(self, outputs, inputs):
            shown.extend(inputs.values())
            return session.run(outputs, inputs)

    detector._network.session = Watched()
    assert len(detector.detect(frame).scores) == 1
    assert len(shown) == 1
    np.testing.assert_allclose(shown[0], _input(frame)[0], atol=1e-6)


WATCH = """
import os, sys
import cv2, onnx, onnxruntime, torch
import floatbench.metrics.csim, floatbench.metrics.efid
assert "insightface" not in sys.modules
from floatbench.metrics import arcface, scrfd
from pathlib import Path
import numpy as np

seen = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        seen.append(event)
    elif event == "open" and str(args[0]).endswith((".onnx", ".zip", ".pth", ".npy")):
        seen.append(str(args[0]))
    elif event in ("os.mkdir", "subprocess.Popen"):
        seen.append(f"{event} {args[0]}")
sys.addaudithook(watch)
faces = scrfd.Detector(Path("det_10g.onnx")).detect(np.full((64, 64, 3), 9, np.uint8))
backbone = arcface.ArcFaceOnnx()
backbone._recogniser = arcface.open_recogniser(Path("small.onnx"))
backbone.embed(np.zeros((2, 112, 112, 3), np.uint8))
assert "insightface" in sys.modules
assert set(seen) <= {"det_10g.onnx", "small.onnx"}, seen
assert not os.listdir(os.environ["HOME"])
"""


def test_insightface_loads_late_prints_nothing_and_touches_nothing_but_the_files_it_is_given(
    tmp_path, small, detector_file
):
    for file in (small[1], detector_file):
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / "home").mkdir()
    environment = os.environ | {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout + done.stderr == "" and done.returncode == 0


def test_embeddings_equal_those_of_insightface_and_of_torch(small, detector_file):
    reference = pytest.importorskip("insightface.model_zoo.arcface_onnx")
    network, file = small
    frame, peer = _picture(256, 256, 7), reference.ArcFaceONNX(str(file))
    points = arcface.TEMPLATE * 1.6 + (30, 20)
    face = type("Face", (), {"kps": points})()
    expected = peer.get(frame[:, :, ::-1], face)
    backbone = arcface.ArcFaceOnnx()
    backbone._recogniser = arcface.open_recogniser(file)
    aligned = arcface.align(frame, points)[None]
    found = backbone.embed(aligned)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    with torch.inference_mode():
        ours = network(torch.from_numpy(arcface.preprocess(aligned))).numpy()[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_batches_change_nothing_but_rounding(small):
    backbone = arcface.ArcFaceOnnx(batch=3)
    backbone._recogniser = arcface.open_recogniser(small[1])
    faces = np.random.default_rng(0).integers(0, 256, (7, 112, 112, 3), dtype=np.uint8)
    whole = arcface.ArcFaceOnnx(batch=64)
    whole._recogniser = backbone._recogniser
    np.testing.assert_allclose(backbone.embed(faces), whole.embed(faces), rtol=1e-5, atol=1e-4)


def test_networks_have_the_official_key_names_and_depths():
    keys = arcface.IResNet(arcface.R50, width=8).state_dict()
    for name in (
        "conv1.weight",
        "layer1.0.downsample.1.running_var",
        "layer3.13.bn3.bias",
        "fc.weight",
        "features.bias",
    ):
        assert name in keys
    assert "layer1.1.downsample.0.weight" not in keys
    assert len(arcface.IResNet(arcface.R100, width=8).get_submodule("layer3")) == 30


def test_a_recogniser_of_another_shape_is_refused(detector_file):
    with pytest.raises(DataError, match="not 3 x 112 x 112 to 512"):
        arcface.open_recogniser(detector_file)


def test_a_file_that_is_no_model_and_a_provider_that_is_not_there_are_named(tmp_path, detector_file):
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no ONNX model"):
        scrfd.Detector(tmp_path / "x.onnx")
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        from floatbench.errors import DependencyError

        with pytest.raises(DependencyError, match="CUDAExecutionProvider"):
            scrfd.Detector(detector_file, "cuda")


def test_faces_are_found_once_for_two_backbones_and_blank_frames_counted(detector_file):
    frames = np.stack([_picture(90, 120), np.zeros((90, 120, 3), np.uint8)])
    clip, detector = ClipMedia(frames), scrfd.Detector(detector_file)
    first = detector.largest_faces(clip)
    assert first["found"].tolist() == [True, False]
    assert detector.largest_faces(clip) is first
    assert detector.largest_faces(ClipMedia(frames)) is not first


def test_of_several_faces_the_largest_counts():
    points = np.arange(20, dtype=np.float32).reshape(2, 5, 2)
    faces = scrfd.DetectedFaces(np.array([[0, 0, 10, 10], [0, 0, 30, 20.0]]), np.array([0.9, 0.6]), points)
    stacked = scrfd.stack_largest([faces])
    assert stacked["boxes"][0].tolist() == [0, 0, 30, 20]
    assert stacked["points"][0].tolist() == points[1].tolist()
    assert stacked["faces"].tolist() == [2]


def _features(vectors: list[list[float] | None]) -> dict[str, np.ndarray]:
    found = np.array([v is not None for v in vectors])
    rows = np.array([v or [0.0, 0.0] for v in vectors], np.float32)
    return {"found": found, "faces": found.astype(np.int32), "embeddings": rows}


def _pair(generated: list, reference: list, source: list) -> Pair:
    table = {"generated": generated, "reference": reference, "source": source}
    return Pair("c", "p", lambda side, backbone: _features(table[side]))


def test_values_are_mean_cosines_of_the_frames_with_a_face():
    pair = _pair([[1, 0], [0, 2], None], [[1, 0], [3, 0], [1, 1]], [[5, 0]])
    value = CSIM().clip_value(pair)
    assert value.value == pytest.approx(0.5)
    assert value.extra["frames"] == 2
    assert value.extra["frames_no_face"] == 1
    assert value.extra["reference_csim"] == pytest.approx((1 + 1 + np.sqrt(0.5)) / 3)
    assert np.isnan(value.tracks["csim"][2])
    assert CSIM(failures="zero").clip_value(pair).value == pytest.approx(1 / 3)
    against_reference = CSIM("csim-gt").clip_value(pair)
    assert against_reference.value == pytest.approx(0.5)
    assert against_reference.extra["frames"] == 2


def test_the_mean_of_cosines_is_not_the_cosine_of_means():
    assert cosines(np.array([[1, 0], [0, 1.0]]), np.array([1, 0.0])).mean() == pytest.approx(0.5)
    assert cosines(np.array([[0, 0.0]]), np.array([1, 0.0]))[0] == 0


def test_unequal_lengths_and_reference_holes_are_counted():
    value = CSIM("csim-gt").clip_value(_pair([[1, 0]] * 3, [[1, 0], None], [[1, 0]]))
    assert (value.extra["frames"], value.extra["frames_trimmed"], value.extra["frames_reference_no_face"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("generated", "source", "failures"),
    [([None, None], [[1, 0]], "excluded"), ([[1, 0]], [None], "excluded"), ([[1, 0]], [None], "zero")],
)
def test_no_face_at_all_is_a_named_failure(generated, source, failures):
    with pytest.raises(ClipError) as caught:
        CSIM(failures=failures).clip_value(_pair(generated, [[1, 0]], source))
    assert caught.value.reason == "no_face"


def test_no_face_at_all_can_count_as_zero():
    assert CSIM(failures="zero").clip_value(_pair([None, None], [[1, 0]], [[1, 0]])).value == 0


def test_an_unknown_policy_is_refused():
    with pytest.raises(UsageError, match="excluded"):
        CSIM(failures="ignored")  # type: ignore[arg-type]


@pytest.mark.slow
def test_fabricated_weights_run_end_to_end_on_a_real_clip(shared, monkeypatch):
    from floatbench.media import read_clip

    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    for name in registry.backbone("arcface").weights:
        weights.fabricate(name, 0)
    frames = read_clip(shared / "data" / "real" / "video" / "LipNet" / "lwbsza.mpg").frames[:5]
    backbone = registry.backbone("arcface")
    backbone.load()
    features = backbone.extract(ClipMedia(frames))
    assert features["found"].all()
    assert np.isfinite(features["embeddings"]).all()
    pair = Pair("c", "p", lambda side, name: features)
    assert CSIM().clip_value(pair).value == pytest.approx(1, abs=0.05)


def test_r50_has_as_many_numbers_as_the_published_onnx_file():
    """`w600k_r50.onnx` has 174,383,860 bytes: 43,590,976 floats, norms folded into convs, and 20 kB of graph."""
    network = arcface.IResNet(arcface.R50)
    folded = 0
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            folded += module.weight.numel() + module.out_channels
        elif isinstance(module, torch.nn.PReLU | torch.nn.Linear):
            folded += sum(p.numel() for p in module.parameters())
        elif isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            before_a_conv = name.startswith("layer") and name.endswith(".bn1")
            folded += 4 * module.num_features if before_a_conv or name in ("bn2", "features") else 0
    assert folded == 43_590_976
    assert 0 < 174_383_860 - 4 * folded < 25_000
