"""Boxes of mouth and eyes from landmarks: closed forms, gaps, real clips, and a phase 1 that uses them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from floatbench import weights
from floatbench.cli.app import main
from floatbench.errors import ClipError, DataError
from floatbench.media import read_clip, read_image
from floatbench.metrics.landmarker import LOWER_LIP, UPPER_LIP, close_landmarker, face_mesh, open_landmarker
from floatbench.paths import cache_dir
from floatbench.progress import NullProgress
from floatbench.training.batches import mirror_boxes
from floatbench.training.clips import component_boxes, usable
from floatbench.training.face_boxes import (
    LEFT_RING,
    LIPS,
    RIGHT_RING,
    WEIGHT,
    FaceBoxes,
    boxes_of,
    parts_of,
    without_gaps,
)
from floatbench.training.losses.components import LEFT_EYE, MOUTH, RIGHT_EYE
from floatbench.training.protocol_clips import FrameComb, ProtocolClips
from floatbench.types import ClipMedia

LEFT_IRIS, RIGHT_IRIS = 468, 473
"""Middles of the irises in the mesh, left and right in the picture."""
CLIPS = ("2.mp4", "3.mp4")


def ellipse(ring: tuple[int, ...], x: float, y: float, across: float, down: float, mesh: np.ndarray) -> None:
    """Puts a ring's points on an ellipse; every fourth of them is an extreme of it."""
    angle = 2 * np.pi * np.arange(len(ring)) / len(ring)
    mesh[list(ring)] = np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], 1)


def face() -> np.ndarray:
    mesh = np.full((478, 2), 0.5)
    ellipse(LIPS, 0.48, 0.7, 0.1, 0.04, mesh)
    ellipse(LEFT_RING, 0.4, 0.45, 0.06, 0.02, mesh)
    ellipse(RIGHT_RING, 0.6, 0.44, 0.04, 0.01, mesh)
    return mesh


def test_boxes_are_the_rings_with_a_margin_of_a_tenth_of_the_mouth_and_a_quarter_of_the_eye():
    boxes = boxes_of(face())
    assert boxes.dtype == np.float32
    assert boxes[MOUTH] == pytest.approx([0.48 - 0.12, 0.7 - 0.06, 0.48 + 0.12, 0.7 + 0.06], abs=1e-6)
    assert boxes[LEFT_EYE] == pytest.approx([0.4 - 0.09, 0.45 - 0.05, 0.4 + 0.09, 0.45 + 0.05], abs=1e-6)
    assert boxes[RIGHT_EYE] == pytest.approx([0.6 - 0.06, 0.44 - 0.03, 0.6 + 0.06, 0.44 + 0.03], abs=1e-6)


def test_a_closed_eye_keeps_room_for_its_lids():
    mesh = face()
    ellipse(LEFT_RING, 0.4, 0.45, 0.06, 0.0, mesh)
    x0, y0, x1, y1 = boxes_of(mesh)[LEFT_EYE]
    assert (x1 - x0, y1 - y0) == (pytest.approx(0.18, abs=1e-6), pytest.approx(0.06, abs=1e-6))


def test_the_mesh_of_a_mirrored_picture_gives_the_mirrored_boxes():
    mesh = face()
    mirrored = mesh * (-1, 1) + (1, 0)
    swap = [*RIGHT_RING, *LEFT_RING]
    mirrored[swap] = mirrored[[*LEFT_RING, *RIGHT_RING]]  # a landmarker names the eyes by where it sees them
    assert boxes_of(mirrored) == pytest.approx(mirror_boxes(boxes_of(mesh)), abs=1e-6)


def test_the_rings_are_those_that_mediapipe_draws():
    vision = pytest.importorskip("mediapipe.tasks.python").vision
    connections = vision.FaceLandmarksConnections

    def points(name: str) -> set[int]:
        return {end for line in getattr(connections, name) for end in (line.start, line.end)}

    assert points("FACE_LANDMARKS_RIGHT_EYE") == set(LEFT_RING)  # the person's right one
    assert points("FACE_LANDMARKS_LEFT_EYE") == set(RIGHT_RING)
    assert points("FACE_LANDMARKS_LIPS") > set(LIPS) and len(LIPS) == 20


def seen(frames: int, *gaps: range) -> np.ndarray:
    """Boxes that move by one a frame, unseen in the gaps."""
    boxes = np.arange(frames, dtype=np.float32)[:, None, None] + np.arange(12, dtype=np.float32).reshape(3, 4) / 100
    for gap in gaps:
        boxes[list(gap)] = np.nan
    return boxes


def test_a_few_unseen_frames_are_drawn_between_their_neighbours_and_held_at_the_ends():
    filled = without_gaps(seen(200, range(2), range(50, 55), range(198, 200)))
    whole = seen(200)
    assert filled[2:198] == pytest.approx(whole[2:198], abs=1e-4) and filled.dtype == np.float32
    assert np.array_equal(filled[:2], whole[[2, 2]]) and np.array_equal(filled[198:], whole[[197, 197]])


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        (seen(40, range(40)), "no_face"),
        (seen(100, range(10, 16)), "face_lost"),  # six of a hundred
        (seen(400, range(387, 400)), "face_lost"),  # thirteen in a row
    ],
)
def test_a_clip_without_enough_seen_faces_is_unusable(boxes, reason):
    with pytest.raises(ClipError) as caught:
        without_gaps(boxes)
    assert caught.value.reason == reason


def test_the_allowed_gaps_are_usable():
    assert np.isfinite(without_gaps(seen(100, range(10, 15)))).all()
    assert np.isfinite(without_gaps(seen(400, range(388, 400)))).all()


def test_a_missing_landmarker_is_named_with_its_command():
    with pytest.raises(DataError) as caught:
        FaceBoxes()
    assert caught.value.fix and f"floatbench weights fetch {WEIGHT}" in caught.value.fix


def test_clips_of_the_synthetic_protocol_know_their_boxes():
    clips = ProtocolClips("synthetic", 64, boxes=True)
    plain = ProtocolClips("synthetic", 64)
    short = clips.combs[0].clip.model_copy(update={"end_s": 0.4})
    clips.combs = plain.combs = [FrameComb(short)]
    clip = clips.load(0)
    assert np.array_equal(clip.boxes, component_boxes(clips.dataset.spec(short)))
    assert clip.boxes.shape == (len(clip.frames), 3, 4) and clip.boxes.min() > 0
    assert not plain.load(0).boxes.any()


@pytest.fixture(scope="module")
def landmarker(shared: Path) -> Path:
    pytest.importorskip("mediapipe")
    return shared / "data" / "models" / "face_landmarker_v2_with_blendshapes.task"


@pytest.fixture
def real(shared: Path, landmarker: Path, tmp_path: Path) -> Path:
    """Two real clips of a second in a folder, and the landmarker's file where weights lie."""
    weights.import_file(WEIGHT, landmarker)
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in CLIPS:
        shutil.copy(shared / "data" / "real" / "video" / "video-retalking" / name, folder / name)
    rows = [f"{name},{name[0]},0.5,1.5" for name in CLIPS]
    (folder / "clips.csv").write_text("\n".join(("id,identity,start_s,end_s", *rows)) + "\n")
    return folder


def test_boxes_of_a_real_face_lie_on_mouth_and_eyes_and_turn_with_the_picture(shared, landmarker):
    clip = read_clip(shared / "data" / "real" / "video" / "video-retalking" / "3.mp4", start=0.5, end=1.5)
    face_boxes = FaceBoxes(landmarker)
    faces = face_boxes.of(clip)
    boxes, lips = parts_of(faces)
    assert lips is not None and lips.shape == (25, 20, 2)
    low, high = lips.min(1), lips.max(1)  # the lips fill their box up to its margin
    assert np.concatenate([low, high], 1) == pytest.approx(
        boxes[:, MOUTH] + 0.1 * (high - low)[:, :1] * np.array([1, 1, -1, -1]), abs=1e-5
    )
    assert boxes.shape == (25, 3, 4) and boxes.min() > 0 and boxes.max() < 1
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    assert (centre[:, LEFT_EYE, 0] < centre[:, MOUTH, 0]).all() and (
        centre[:, MOUTH, 0] < centre[:, RIGHT_EYE, 0]
    ).all()
    assert (boxes[:, MOUTH, 1] > boxes[:, [LEFT_EYE, RIGHT_EYE], 3].max(1)).all()
    mesh_of = open_landmarker(landmarker)
    meshes = np.stack([mesh for frame in clip.frames if (mesh := face_mesh(mesh_of, frame)) is not None])
    close_landmarker(mesh_of)
    for part, middle in ((MOUTH, UPPER_LIP), (MOUTH, LOWER_LIP), (LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS)):
        # the innermost third of the box holds points that it was not made of
        inner = np.abs(meshes[:, middle] - centre[:, part]) / (boxes[:, part, 2:] - boxes[:, part, :2])
        assert inner[:, 0].max() < 1 / 6 and inner[:, 1].max() < 1 / 3, part
    turned = face_boxes.of(ClipMedia(np.ascontiguousarray(clip.frames[:3, :, ::-1])))[:, :3]
    for there, here in zip(turned, boxes, strict=False):
        assert there == pytest.approx(mirror_boxes(here), abs=0.02)


def test_pictures_without_a_face_make_a_clip_unusable_and_a_seen_clip_is_not_looked_at_again(
    shared, landmarker, monkeypatch
):
    landscape = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), np.uint8), 25, axis=0)
    with pytest.raises(ClipError, match="no_face"):
        FaceBoxes(landmarker).of(ClipMedia(landscape))
    picture = read_image(shared / "data" / "real" / "portrait" / "float" / "sam_altman_512x512.jpg")
    still = ClipMedia(np.repeat(picture[None], 3, axis=0))
    first = FaceBoxes(landmarker).of(still)
    files = sorted((cache_dir() / "training" / "face-boxes-2").iterdir())
    assert len(files) == 2
    monkeypatch.setattr("floatbench.training.face_boxes.open_landmarker", None)
    assert np.array_equal(FaceBoxes(landmarker).of(still), first)
    with pytest.raises(ClipError, match="no_face"):
        FaceBoxes(landmarker).of(ClipMedia(landscape))
    for file in files:
        file.write_bytes(b"damaged")
    with pytest.raises(TypeError):  # it would look again
        FaceBoxes(landmarker).of(still)


TOY = """
base = "float-tiny"
name = "toy"
[model]
reader = false
painter = false
channel_max = 8
channel_base = 512
dim_w = 16
dim_a = 16
dim_h = 32
dim_m = 6
depth = 2
heads = 2
image_size = 64
[data]
protocol = "folder:DIR"
[autoencoder]
steps = 2
batch = 4
component = 100
full_adv = 1
eye_adv = 1
eye_style = 100
lip_adv = 1
lip_style = 100
component_l1 = 0
component_l2 = 0
truth_warp = 0
truth_share = 0
encoder = "trained"
[flow]
targets = "encoded"
face_velocity = 0
head_square = 0
"""


def _train(config: Path, out: Path, *more: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "autoencoder", "--config", str(config), "--out", str(out), "--device", "cpu", *more])
    return int(str(stopped.value.code))


DIRECT = TOY.replace("[data]", "[data]\npool = 0").replace(
    "[autoencoder]\nsteps = 2\nbatch = 4",
    """[autoencoder]
steps = 2
batch = 2
both_ways = false
across = 0""",
)
"""The same straight from the files."""


@pytest.mark.parametrize("text", [TOY, DIRECT], ids=["pool", "files"])
def test_phase_one_learns_eyes_and_lips_of_real_clips_as_typed(text, real, tmp_path, capsys):
    config = tmp_path / "toy.toml"
    config.write_text(text.replace("DIR", str(real)))
    assert _train(config, tmp_path / "run", "--quiet") == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "autoencoder" / "log.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        terms = ("component", "eye_adv", "eye_style", "lip_adv", "lip_style", "eye_critic", "lip_critic", "full_adv")
        values = np.array([row[name] for name in terms])
        assert np.isfinite(values).all() and (values > 0).all()


def test_phase_one_without_the_landmarker_says_how_to_get_it_before_anything_is_prepared(tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"not looked at")
    config = tmp_path / "toy.toml"
    config.write_text(TOY.replace("DIR", str(folder)))
    assert _train(config, tmp_path / "run") == 4
    assert f"floatbench weights fetch {WEIGHT}" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_side_by_side_find_the_same_boxes(real):
    together = ProtocolClips(f"folder:{real}", 64, boxes=True, workers=2, pairs=True)
    assert usable(together, 2, NullProgress(), workers=2) == [0, 1]
    files = {file.name: file.read_bytes() for file in (cache_dir() / "training" / "face-boxes-2").iterdir()}
    assert len(files) == len(together) == 2
    shutil.rmtree(cache_dir() / "training")
    for index in range(2):
        ProtocolClips(f"folder:{real}", 64, boxes=True, pairs=True).load(index)
    assert files == {f.name: f.read_bytes() for f in (cache_dir() / "training" / "face-boxes-2").iterdir()}
