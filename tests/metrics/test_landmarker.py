"""The MediaPipe backbone: angles, bad input, and the real sample clips against figures measured independently."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from floatbench.errors import ClipError, DataError
from floatbench.media import read_clip
from floatbench.metrics import registry
from floatbench.metrics.base import Pair
from floatbench.metrics.efid import METRICS
from floatbench.metrics.landmarker import FaceLandmarker, euler_xyz, stack_measures
from floatbench.types import ClipMedia

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("video/LipNet/lwbsza.mpg",)
LONG = (
    "video/LipNet/id2_vcd_swwp2s.mpg",
    "video/LipNet/sbwe5n.mpg",
    "video/SadTalker/WDA_AlexandriaOcasioCortez_000.mp4",
    "video/EDTalk/uncrop_Obama.mp4",
    "video/EDTalk/mouth_source.mp4",
    "video/LIA/driving2.mp4",
    "video/video-retalking/2.mp4",
    "video/video-retalking/3.mp4",
    "video/ditto-train/Clip+WSGW-7gHS6A+P0+C1+F2551-2669.mp4",
    "video/ditto-train/-1wCGAxqT_4+000000_000177+p0.mp4",
    "video/float/sam_altman_result.mp4",
)


def _model(shared: Path) -> Path:
    return shared / "data" / "models" / "face_landmarker_v2_with_blendshapes.task"


@cache
def _backbone(model: Path) -> FaceLandmarker:
    pytest.importorskip("mediapipe")
    return FaceLandmarker(model)


def test_euler_angles_are_those_of_rz_ry_rx():
    def about(axis: int, angle: float) -> np.ndarray:
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        matrix = np.eye(3)
        matrix[i, i] = matrix[j, j] = c
        matrix[i, j], matrix[j, i] = -s, s
        return matrix

    angles = np.array([0.3, -0.5, 0.7])
    matrix = about(2, angles[2]) @ about(1, angles[1]) @ about(0, angles[0])
    assert euler_xyz(matrix) == pytest.approx(angles, abs=1e-12)
    assert euler_xyz(2.5 * matrix) == pytest.approx(angles, abs=1e-12)


def _check(shared: Path, name: str) -> None:
    row = pd.read_csv(shared / "data" / "real" / "CHECKS.csv").set_index("file").loc[name]
    sound = shared / "data" / "real" / Path(name.replace("video/", "audio/", 1)).with_suffix(".wav")
    clip = read_clip(shared / "data" / "real" / name, sound if sound.exists() else None)  # one clip keeps it apart
    features = _backbone(_model(shared)).extract(clip)
    assert len(features["found"]) == row.pp1_frames
    assert 100 * features["found"].mean() == pytest.approx(row.detected_pct, abs=0.05)
    jaw = np.percentile(features["blendshapes"][:, 25], [1, 50, 99])
    assert jaw == pytest.approx([row.jawOpen_p1, row.jawOpen_p50, row.jawOpen_p99], abs=0.0151)
    degrees = np.degrees(features["rotation"])
    for column, axis in ((0, "pitch"), (1, "yaw"), (2, "roll")):
        assert degrees[:, column].min() == pytest.approx(row[f"{axis}_min"], abs=0.75)
        assert degrees[:, column].max() == pytest.approx(row[f"{axis}_max"], abs=0.75)
    from floatbench.metrics.avcorr import METRICS as AVCORR
    from floatbench.metrics.avcorr import AudioEnvelope

    table = {"mp-landmarker": features, "audio-envelope": AudioEnvelope().extract(clip)}
    value = AVCORR["avcorr"]().clip_value(Pair("c", "p", lambda side, name: table[name]))
    assert value.extra["lag"] == row.jaw_lag
    assert value.value == pytest.approx(row.jaw_r, abs=0.011)
    assert value.extra["r_lag0"] == pytest.approx(row.jaw_r_lag0, abs=0.011)


@pytest.mark.parametrize("name", SHORT)
def test_real_clips_give_the_figures_of_an_independent_measurement(shared, name):
    _check(shared, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_long_real_clips_give_the_figures_of_an_independent_measurement(shared, name):
    _check(shared, name)


def test_frames_without_a_face_and_with_two_are_counted(shared):
    clip = read_clip(shared / "data" / "real" / SHORT[0])
    frame = clip.frames[0]
    wide = np.concatenate([frame, frame[:, ::-1]], axis=1)
    blank = np.zeros_like(wide)
    features = _backbone(_model(shared)).extract(ClipMedia(np.stack([wide, blank])))
    assert features["found"].tolist() == [True, False]
    assert features["faces"].tolist() == [2, 0]
    assert not features["blendshapes"][1].any()


def test_the_order_of_frames_changes_nothing(shared):
    frames = read_clip(shared / "data" / "real" / SHORT[0]).frames[:6]
    backbone = _backbone(_model(shared))
    forth, back = backbone.extract(ClipMedia(frames)), backbone.extract(ClipMedia(frames[::-1].copy()))
    for name in forth.keys() - {"size"}:  # the pictures' own, not a frame's
        np.testing.assert_array_equal(forth[name], back[name][::-1])


def test_a_file_that_is_no_landmarker_is_refused(tmp_path):
    pytest.importorskip("mediapipe")
    (tmp_path / "face.task").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no MediaPipe face landmarker"):
        FaceLandmarker(tmp_path / "face.task").load()


def test_a_process_that_used_it_ends_without_a_word(shared):
    code = (
        "import sys, numpy as np; from pathlib import Path; from floatbench.metrics.landmarker import FaceLandmarker;"
        "from floatbench.types import ClipMedia;"
        "b = FaceLandmarker(Path(sys.argv[1]));"
        "print(b.extract(ClipMedia(np.zeros((1, 64, 64, 3), np.uint8)))['found'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(_model(shared))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[False]\n", "")


def _noise_clip(seed: int, missing: slice | None = None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = stack_measures([None])
    features = {name: np.repeat(array, 90, axis=0) for name, array in features.items()}
    features |= {
        "found": np.ones(90, bool),
        "blendshapes": rng.random((90, 52), np.float32),
        "rotation": rng.normal(0, 0.1, (90, 3)).astype(np.float32),
        "translation": rng.normal(0, 2, (90, 3)).astype(np.float32),
    }
    if missing is not None:
        features["found"][missing] = False
        for name in ("blendshapes", "rotation", "translation"):
            features[name][missing] = 1e6
    return features


def _pair(generated: dict, reference: dict, name: str = "c") -> Pair:
    return Pair(name, name, lambda side, backbone: generated if side == "generated" else reference)


@pytest.mark.parametrize("variant", ["efid-mp52", "pfid-mp6"])
def test_missing_faces_leave_both_sides_and_are_counted(variant):
    good = _noise_clip(1)
    holes = _noise_clip(1, slice(10, 25))
    score = METRICS[variant]().reduce([_pair(holes, good)])
    assert score.value == pytest.approx(0, abs=1e-9)
    assert (score.details["n_generated"], score.details["n_reference"], score.details["rows_dropped"]) == (75, 75, 15)


def test_a_clip_without_any_face_is_a_named_failure():
    blind = _noise_clip(1, slice(None))
    score = METRICS["efid-mp52"]().reduce(
        [_pair(blind, _noise_clip(2), "a"), _pair(_noise_clip(3), _noise_clip(2), "b")]
    )
    assert score.n == 1
    assert score.failures["a"].startswith("no_face")
    with pytest.raises(ClipError):
        METRICS["efid-mp52"]().clip_value(_pair(blind, blind))


def test_pose_distance_adds_up_for_independent_shifts():
    reference = _noise_clip(1)
    moved = {**reference, "translation": reference["translation"] + np.float32(3)}
    score = METRICS["pfid-mp6"]().reduce([_pair(moved, reference)])
    assert score.value == pytest.approx(27, rel=1e-5)
    assert score.details["rotation_only"] == pytest.approx(0, abs=1e-9)
    assert score.details["translation_only"] == pytest.approx(27, rel=1e-5)


def test_one_extraction_serves_every_metric_that_reads_the_mesh():
    """The emotion network needs the face's pixels and finds it once more, in each fifth frame."""
    made = {name: registry.backbone(name).weights for name in registry.backbone_ids()}
    reading = {name for name, weights in made.items() if FaceLandmarker.weights[0] in weights}
    assert reading == {FaceLandmarker.id, "hsemotion-b2"}
    served = [name for name in registry.metric_ids() if FaceLandmarker.id in registry.metric(name).info.backbones]
    assert {"efid-mp52", "avcorr", "head-div", "theval-lipsync", "lmd", "dtw-lips", "drift-lips"} <= set(served)
