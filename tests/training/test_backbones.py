"""The bundled networks' training: disjoint people, mirrored truths, honest figures, and files that load again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench import assets
from floatbench.errors import UsageError
from floatbench.metrics import tiny_networks
from floatbench.metrics.tiny_networks import NETWORKS
from floatbench.progress import NullProgress
from floatbench.synthetic.clip import TEST_FIRST
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.synthetic.identity import TRAITS, make_identity
from floatbench.synthetic.renderer import Renderer
from floatbench.synthetic.stills import random_stills
from floatbench.training import backbone_data, backbones
from floatbench.training.backbone_data import BackboneConfig, make_expressions, make_faces
from floatbench.training.backbone_metrics import auc, r2, verification_auc

SMALL = BackboneConfig(
    people=2, stills=2, speakers=3, seconds=1.0, held_out=2, held_out_seconds=1.0, size=64, batch=8,
    expression_people=2, expression_stills=2, frame_steps=2, expression_steps=2, identity_steps=2, clip_steps=2,
    sync_steps=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("backbones")
    return folder, backbones.train_backbones(SMALL, folder, NullProgress())


def test_a_small_run_writes_files_that_load_and_the_record_of_how_they_were_made(trained):
    folder, manifest = trained
    from safetensors.torch import load_file

    assert set(manifest["files"]) == set(NETWORKS)
    for name, build in NETWORKS.items():
        state = load_file(folder / f"{name}.safetensors")
        expected = {key: value.shape for key, value in build().state_dict().items() if value.is_floating_point()}
        assert {key: value.shape for key, value in state.items()} == expected
    assert manifest["config"]["people"] == 2 and np.isfinite(list(manifest["held_out"].values())).all()


def test_one_network_is_trained_alone_and_the_others_stay_as_they_are(tmp_path):
    manifest = backbones.train_backbones(SMALL, tmp_path, NullProgress(), only="expression")
    bundled = assets.manifest()["files"]
    assert {name for name, entry in manifest["files"].items() if entry != bundled[name]} == {"tiny-expression"}
    assert set(manifest["seconds"]) == set(assets.manifest()["seconds"])
    with pytest.raises(UsageError, match="unknown stage 'lips'"):
        backbones.train_backbones(SMALL, tmp_path, NullProgress(), only="lips")


@pytest.mark.slow  # trains all backbones twice
def test_the_same_seed_gives_the_same_files_with_any_number_of_workers(trained, tmp_path):
    _, manifest = trained
    again = backbones.train_backbones(SMALL, tmp_path / "again", NullProgress(), workers=2)
    assert again["files"] == manifest["files"]


def test_training_figures_and_protocols_never_share_a_person(monkeypatch):
    seen: dict[bool, list[int]] = {}

    def one(config: BackboneConfig, person: tuple[int, bool]) -> dict[str, np.ndarray]:
        seen.setdefault(held_out, []).append(person[0])
        return {key: np.zeros((1, 6)) for key in ("frames", "faces", "traits", "pose", "expression", "emotion")}

    monkeypatch.setattr(backbone_data, "_one_person", one)
    for held_out in (False, True):
        make_faces(SMALL, NullProgress(), held_out=held_out)
    assert len(set(seen[False])) == 5 and len(set(seen[True])) == 4
    assert not set(seen[False]) & set(seen[True])
    numbers = {held: list(seen[held]) for held in seen}

    def face(config: BackboneConfig, frames: object, person: tuple[int, bool]) -> tuple[np.ndarray, ...]:
        seen[frames is not None].append(person[0])
        return np.zeros((1, 6)), np.zeros((1, 6)), np.zeros((1, 14))

    monkeypatch.setattr(backbone_data, "_one_face", face)
    for reader in (None, tiny_networks.FrameNetwork()):
        made = make_expressions(SMALL, NullProgress(), frames=reader)
        assert seen[reader is not None] == 2 * numbers[reader is not None] and made.still.sum() == 2
    most = backbone_data.SPEAKERS + backbone_data.SPEAKERS  # the greatest number that a configuration can reach
    assert most <= backbone_data.HELD_OUT and backbone_data.HELD_OUT + most <= TEST_FIRST


@pytest.mark.parametrize("given", [{"people": 1}, {"speakers": 20_000}, {"seconds": 0.5}, {"held_out_seconds": 0.5}])
def test_impossible_configurations_are_refused(given):
    with pytest.raises(UsageError):
        replace(SMALL, **given)


def test_a_mirrored_picture_has_the_mirrored_truth():
    """Of a person whose sides differ by nothing but small marks of skin and hair; one wrong sign is seen at once."""
    rng = np.random.default_rng(0)
    person = make_identity(3)
    turned = Renderer(replace(person, vector=person.vector * backbones.TRAIT_SIGN), 128)
    pose = (rng.uniform(-1, 1, 6) * [0.4, 0.2, 0.15, 0.1, 0.05, 0.1]).astype(np.float32)
    face = np.zeros(len(EXPRESSION), np.float32)
    face[EXPRESSION.index("gaze_x")], face[EXPRESSION.index("jaw")] = 0.9, 0.5
    plain = Renderer(person, 128).picture(pose, face)[24:104, 32:96].astype(float)

    def error(pose_sign: np.ndarray, face_sign: np.ndarray) -> np.ndarray:
        mirror = turned.picture(pose * pose_sign, face * face_sign)[:, ::-1]
        return np.abs(plain - mirror[24:104, 32:96])

    right = error(backbones.POSE_SIGN, backbones.EXPRESSION_SIGN)
    assert right.mean() < 8
    for index in range(4):
        wrong = backbones.POSE_SIGN.copy()
        wrong[index] *= -1
        assert error(wrong, backbones.EXPRESSION_SIGN).mean() > 1.3 * right.mean(), POSE[index]
    stare = error(backbones.POSE_SIGN, np.ones_like(face))
    assert (stare - right).max() > 60  # the irises, on the other side of their eyes


def test_single_pictures_share_the_head_and_nothing_of_the_scenery():
    pictures, truth = random_stills(5, 4, 64, 1)
    scenery = [i for i, name in enumerate(TRAITS) if name.startswith(("light_", "back_", "shirt_"))]
    own = make_identity(5, 1).vector
    rest = [i for i in range(len(TRAITS)) if i not in scenery]
    assert np.array_equal(truth["identity"][:, rest], np.repeat(own[None, rest], 4, 0))
    assert all(len(np.unique(truth["identity"][:, i])) == 4 for i in scenery)
    corners = pictures[:, :6, :6].reshape(4, -1).astype(float)
    assert all(np.abs(corners[i] - corners[j]).mean() > 2 for i in range(4) for j in range(i))


def test_auc_and_r2_are_what_their_names_say():
    assert auc(np.array([2.0, 3]), np.array([0.0, 1])) == 1 and auc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auc(np.array([0.0, 2]), np.array([1.0])) == 0.5
    truth = np.array([[0.0, 1], [2, 1]])
    assert np.array_equal(r2(truth, truth), [1, 0])  # a constant column explains nothing
    assert np.array_equal(r2(truth, truth.mean(0) + 0 * truth), [0, 0])
    assert r2(truth, truth[::-1])[0] == -3
    unit = np.array([[1.0, 0], [2, 0.1], [0, 1], [0.1, 1]])
    assert verification_auc(unit, np.array([0, 0, 1, 1])) == 1
    assert verification_auc(unit, np.array([0, 1, 0, 1])) == 0.25


def test_the_loss_of_sync_ignores_neighbours_and_prefers_the_diagonal():
    a = torch.eye(4) * 10
    clip, at = torch.zeros(4), torch.tensor([0, 1, 5, 9])
    near = a.clone()
    near[1] = a[0]  # window 1 sounds as window 0, its neighbour: neither right nor wrong
    assert backbones._contrast(a, a, clip, at) < backbones._contrast(a, near, clip, at)
    far = a.clone()
    far[2] = a[0]
    assert backbones._contrast(a, near, clip, at) < backbones._contrast(a, far, clip, at)
