"""Where MediaPipe sees the lips of real portraits meet, float-tiny does; what it opens, MediaPipe sees open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from floatbench.animate.pipeline import FLOAT
from floatbench.media import read_image
from floatbench.media.boxes_mediapipe import MediapipeBoxes
from floatbench.metrics.landmarker import LOWER_LIP, UPPER_LIP, close_landmarker, face_mesh, open_landmarker
from floatbench.model.config import POSES
from floatbench.model.face_reader import NOWHERE
from floatbench.model.lips import JAW, lips
from floatbench.sampling.picture import crop_face, to_pixels, to_tensor

TASK = "data/models/face_landmarker_v2_with_blendshapes.task"
PEOPLE = (
    "EDTalk/identity_source.jpg", "EDTalk/uncrop_face.jpg", "LivePortrait/s0.jpg", "LivePortrait/s11.jpg",
    "SadTalker/art_10.png", "SadTalker/full_body_1.png", "SadTalker/happy.png", "SadTalker/happy1.png",
    "SadTalker/people_0.png", "float/sam_altman_512x512.jpg", "hallo/3.jpg", "hallo/6.jpg", "hallo/7.jpg",
)  # fmt: skip
A_DOG = "LivePortrait/s25.jpg"


@pytest.fixture(scope="module")
def model() -> FLOAT:
    return FLOAT.from_pretrained("float-tiny", device="cpu")


@pytest.fixture
def landmarker(shared: Path) -> Iterator[Any]:
    pytest.importorskip("mediapipe")
    found = open_landmarker(shared / TASK)
    yield found
    close_landmarker(found)


def portraits(shared: Path, model: FLOAT, names: tuple[str, ...]) -> list[np.ndarray]:
    options = model.choices.options
    with MediapipeBoxes(shared / TASK) as boxes:
        pictures = (read_image(shared / "data/real/portrait" / name) for name in names)
        return [crop_face(picture, boxes, model.size, options.crop_face)[0] for picture in pictures]


def face_numbers(model: FLOAT, coefficients: torch.Tensor) -> torch.Tensor:
    painter = model.network.motion_autoencoder.dec.painter
    assert painter is not None
    return painter.numbers(coefficients) * painter.spread


def lips_of(model: FLOAT, picture: np.ndarray) -> torch.Tensor:
    rest = model.encode(picture).motion @ model.network.basis()
    return lips(to_tensor(picture), face_numbers(model, rest)[:, :POSES])


def test_lips_are_found_where_mediapipe_sees_them(shared, model, landmarker):
    for name, picture in zip(PEOPLE, portraits(shared, model, PEOPLE), strict=True):
        mesh = face_mesh(landmarker, picture)
        assert mesh is not None
        point = torch.from_numpy(mesh[[UPPER_LIP, LOWER_LIP]].mean(0) * 2 - 1).float().view(1, 1, 1, 2)
        along, above = F.grid_sample(lips_of(model, picture), point, align_corners=False)[0, :2, 0, 0].tolist()
        assert abs(above) < 0.04 and abs(along) < 0.5, name  # a pixel is 0.02 high, half a mouth 1 wide
    (dog,) = portraits(shared, model, (A_DOG,))
    assert (lips_of(model, dog)[:, :2] == NOWHERE).all()


@torch.no_grad()
def test_a_falling_jaw_opens_them_for_mediapipe(shared, model, landmarker, monkeypatch):
    opened = {"parted": [], "pulled": []}
    for picture in portraits(shared, model, PEOPLE):
        for way, gaps in opened.items():
            with monkeypatch.context() as patch:
                if way == "pulled":
                    patch.setattr("floatbench.model.autoencoder.MotionAutoencoder.with_lips", lambda self, maps: maps)
                source = model.encode(picture)
            spread = model.network.motion_autoencoder.dec.painter.spread
            fallen = torch.zeros(2, len(spread))
            fallen[1, POSES + JAW] = 0.4 / spread[POSES + JAW]
            motion = source.motion @ model.network.basis() + fallen * model.network.motion_autoencoder.dec.painter.gain
            made = torch.cat(list(model.pictures(source.latent + motion @ model.network.basis().T, source)))
            meshes = [face_mesh(landmarker, frame) for frame in to_pixels(made, "round").numpy()]
            shut, wide = (np.linalg.norm(mesh[UPPER_LIP] - mesh[LOWER_LIP]) * model.size for mesh in meshes)
            gaps.append(wide - shut)
    assert np.median(opened["parted"]) > 2 and np.median(opened["pulled"]) < 1, opened
