"""Emotion of the face: what is wanted, what made-up logits say, and the cut that the network would see."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.engine.job import wanted_emotion
from floatbench.engine.records import Row
from floatbench.engine.reduction import Reducer, Reduction, pair_of
from floatbench.errors import ClipError
from floatbench.media import read_clip
from floatbench.metrics import registry
from floatbench.metrics.base import Pair
from floatbench.metrics.emotion import FaceEmotion, cut_face
from floatbench.model.config import EMOTIONS


def faces(*emotions: str, sure: float = 9.0, found: int = 10) -> dict[str, np.ndarray]:
    """Ten looks at a face that shows these emotions in turn; the last `10 - found` see none."""
    logits = np.zeros((10, 7), np.float32)
    for t in range(10):
        logits[t, EMOTIONS.index(emotions[t % len(emotions)])] = sure
    return {"logits": logits, "found": np.arange(10) < found}


def value(variant, generated, emotion="happy", reference=None):
    sides = {"generated": generated, "reference": reference or faces("neutral")}
    return registry.metric(variant).clip_value(Pair("c", "p", lambda side, name: sides[side], emotion))


def test_a_clip_shows_the_emotion_that_is_most_probable_over_its_frames():
    assert value("emo-acc", faces("happy", "happy", "sad")).value == 1
    assert value("emo-acc", faces("happy", "sad", "sad")).value == 0
    assert value("emo-acc", faces("sad"), "sad", faces("sad")).extra["reference"] == 1


def test_the_probability_is_the_mean_of_the_softmax():
    sure = np.exp(2.0) / (np.exp(2.0) + 6)
    other = 1 / (np.exp(2.0) + 6)
    found = value("emo-prob", faces("happy", "sad", sure=2.0))
    assert found.value == pytest.approx((sure + other) / 2, rel=1e-6)
    assert sum(found.extra[name] for name in EMOTIONS) == pytest.approx(1)


@pytest.mark.parametrize("label", ["", "calm", "0.5,0.5,0,0,0,0,0"])
def test_without_a_label_of_the_seven_the_clip_fails_and_says_so(label):
    with pytest.raises(ClipError, match="no_label"):
        value("emo-acc", faces("happy"), label)


def test_a_clip_whose_face_is_mostly_lost_is_not_judged():
    with pytest.raises(ClipError, match="few_pictures"):
        value("emo-acc", faces("happy", found=5))


def test_the_distance_of_equal_faces_is_0_and_grows_with_the_move_of_the_logits():
    rng = np.random.default_rng(0)
    real = {"logits": rng.normal(size=(40, 7)).astype(np.float32), "found": np.ones(40, bool)}
    moved = {**real, "logits": real["logits"] + np.float32(2)}
    pairs = [Pair("c", "p", lambda side, name, own=own: own if side == "generated" else real) for own in (real, moved)]
    assert registry.metric("emo-fid").reduce(pairs[:1]).value == pytest.approx(0, abs=1e-9)
    assert registry.metric("emo-fid").reduce(pairs[1:]).value == pytest.approx(28, rel=1e-5)


@pytest.mark.parametrize(
    ("method", "labels", "wanted"),
    [
        ("float", {"float_label": "neutral", "emotion": "calm"}, "neutral"),
        ("float?emotion=happy&nfe=5", {"emotion": "sad"}, "happy"),
        ("float?emotion=speech", {"emotion": "sad"}, "sad"),
        ("float?emotion=0,1,0,0,0,0,0", {"emotion": "sad"}, "0,1,0,0,0,0,0"),
        ("reference", {}, ""),
    ],
)
def test_what_a_method_was_told_comes_before_the_label(method, labels, wanted):
    assert wanted_emotion(method, labels) == wanted


def test_a_row_carries_the_emotion_to_the_metric_and_another_label_is_another_score(tmp_path):
    from floatbench.engine.features import FeatureStore

    store = FeatureStore(tmp_path, None)
    rows = [Row(method="m", clip="c", identity="p", status="ok", emotion=emotion) for emotion in ("happy", "sad")]
    assert [pair_of(row, store).emotion for row in rows] == ["happy", "sad"]
    keys = {name: [Reducer(store).key(Reduction(registry.metric(name), (row,))) for row in rows]
            for name in ("emo-acc", "emo-fid")}  # fmt: skip
    assert keys["emo-acc"][0] != keys["emo-acc"][1]
    assert keys["emo-fid"][0] == keys["emo-fid"][1]


def test_the_network_sees_the_box_of_the_face():
    frame = np.zeros((100, 200, 3), np.uint8)
    frame[20:60, 50:100] = 9
    mesh = np.full((478, 2), 0.4)
    mesh[0], mesh[1] = (0.25, 0.2), (0.5, 0.6)
    assert cut_face(frame, mesh).shape == (40, 50, 3)
    assert cut_face(frame, mesh).min() == 9
    assert cut_face(frame, mesh + 2) is None


def _mean_colour(path):
    """A network of the right input and output whose first three logits are the mean of each normalised colour."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    weight = onnx.numpy_helper.from_array(np.eye(3, 7, dtype=np.float32), "w")
    nodes = [make.make_node("GlobalAveragePool", ["input"], ["p"]), make.make_node("Flatten", ["p"], ["f"]),
             make.make_node("MatMul", ["f", "w"], ["output"])]  # fmt: skip
    infos = [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
             for name, shape in (("input", [1, 3, 260, 260]), ("output", [1, 7]))]  # fmt: skip
    graph = make.make_graph(nodes, "mean", infos[:1], infos[1:], [weight])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), path)


def test_every_fifth_frame_is_looked_at_in_red_green_blue_and_normalised(shared, tmp_path):
    pytest.importorskip("mediapipe")
    _mean_colour(tmp_path / "mean.onnx")
    model = shared / "data" / "models" / "face_landmarker_v2_with_blendshapes.task"
    clip = read_clip(shared / "data" / "real" / "video" / "LipNet" / "lwbsza.mpg")
    found = FaceEmotion(tmp_path / "mean.onnx", model).extract(type(clip)(clip.frames[:11]))
    assert found["found"].tolist() == [True] * 3
    red, _, blue = found["logits"][0, :3] * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406)
    assert 0 < blue < red < 1  # skin
    assert not found["logits"][:, 3:].any()
