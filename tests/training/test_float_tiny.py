"""The bundled float-tiny: whole, small, and talking, where random weights in its place are not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.metrics.syncnet import distances, judge
from floatbench.metrics.tiny import ExpressionBackbone, IdentityBackbone, LipBackbone, SoundBackbone
from floatbench.model.checkpoint import read_metadata
from floatbench.model.config import FLOAT_TINY
from floatbench.model.float import FloatModel
from floatbench.progress import NullProgress
from floatbench.sampling.animator import Animator
from floatbench.sampling.loading import checkpoint_file, load_model
from floatbench.sampling.picture import to_pixels
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip
from floatbench.training.batches import pictures
from floatbench.training.clips import component_boxes
from floatbench.training.configs import CONFIGS
from floatbench.training.held_out import (
    EMOTION_SIGNS,
    MOUTH,
    Subject,
    decoded,
    emotion_metrics,
    head_metrics,
    picture_metrics,
    pixels,
    sharpness,
    source_metrics,
    speech_metrics,
    spoken,
    subjects,
)
from floatbench.training.losses.components import component_mask
from floatbench.training.recogniser import draw_sounds, recognised
from floatbench.types import ClipMedia

SECONDS = 2.4


@pytest.fixture(scope="module")
def bundled() -> FloatModel:
    return load_model("float-tiny")[0]


@pytest.fixture(scope="module")
def random() -> FloatModel:
    """The same architecture, weights from a seed."""
    torch.manual_seed(0)
    return FloatModel(FLOAT_TINY).eval().requires_grad_(False)


def _clips() -> list[SyntheticClip]:
    return [SyntheticClip(number, 0, SECONDS, 3) for number in (80_101, 80_102, 80_103)]


@pytest.fixture(scope="module")
def people(bundled) -> list[Subject]:
    return subjects(bundled, _clips())


@pytest.fixture(scope="module")
def unseen(random) -> list[Subject]:
    """The same people as the random weights see them."""
    return subjects(random, _clips()[:2])


def _gain() -> float:
    return float(json.loads(read_metadata(checkpoint_file("float-tiny")).notes)["coefficients"]["gain"])


def _frames(model: FloatModel, subject: Subject, sound: np.ndarray) -> np.ndarray:
    made = decoded(model, subject, spoken(model, subject, sound))
    return ((made.permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()


def test_the_file_is_small_says_how_it_was_made_and_never_saw_a_protocols_people():
    file = checkpoint_file("float-tiny")
    metadata = read_metadata(file)
    assert file.stat().st_size <= 12_000_000
    assert metadata.config == FLOAT_TINY
    assert "Apache-2.0" in metadata.licence
    data = json.loads(metadata.notes)["training"]["data"]
    assert data["protocol"] == "" and data["first"] + data["identities"] <= TEST_FIRST


def test_the_true_motion_decodes_nearer_to_the_truth_than_the_repeated_source(bundled, random, people, unseen):
    found = picture_metrics(bundled, people, _gain(), every=12)
    assert found["psnr"] > found["psnr_repeat"] + 2
    assert found["psnr_self"] > 60  # anchored: at rest the source itself
    assert found["parts"] < 0.75 * found["parts_repeat"]
    bad = picture_metrics(random, unseen, 1.0, every=30)
    assert bad["psnr"] < bad["psnr_repeat"]


def test_the_mouth_follows_its_own_sound(bundled, random, people, unseen):
    found = speech_metrics(bundled, people)
    for name in MOUTH:
        assert found[f"r_{name}_own"] > max(0.6, found[f"r_{name}_swapped"] + 0.4)
    deaf = speech_metrics(random, unseen)
    assert deaf["r_jaw_own"] < 0.3


def test_the_head_moves_about_as_much_as_true_heads_do(bundled, random, people, unseen):
    found = head_metrics(bundled, people, _gain())
    assert 0.6 < found["head_spread_ratio"] < 1.5
    assert 0.6 < found["head_step_ratio"] < 1.3
    assert found["head_seam"] < 3  # median steps: where two windows meet it does not jump
    assert head_metrics(random, unseen, 1.0)["head_step_ratio"] > 1.6


def test_its_pictures_are_in_sync_and_keep_the_person(bundled, random, people, unseen):
    lips, sound, identity = LipBackbone(), SoundBackbone(), IdentityBackbone()
    for network in (lips, sound, identity):
        network.load()

    def distance(frames: np.ndarray, audio: np.ndarray) -> float:
        media = ClipMedia(frames, audio)
        a, b = lips.extract(media)["lips"], sound.extract(media)["sound"]
        count = min(len(a) - 1, len(b))
        return float(judge(distances(a[:count], b[:count])).distance)

    def same(frames: np.ndarray, source: np.ndarray) -> float:
        rows = identity.extract(ClipMedia(np.concatenate([source[None], frames[::12]]), np.zeros(9 * 640, np.int16)))
        found = rows["embeddings"] / np.linalg.norm(rows["embeddings"], axis=1, keepdims=True)
        return float((found[1:] @ found[0]).mean())

    made = [_frames(bundled, subject, subject.audio) for subject in people]
    own = np.mean([distance(frames, s.audio) for frames, s in zip(made, people, strict=True)])
    swapped = np.mean([distance(frames, people[i - 1].audio) for i, frames in enumerate(made)])
    assert own < swapped - 0.5
    assert np.mean([same(frames, s.frames[0]) for frames, s in zip(made, people, strict=True)]) > 0.8
    assert same(_frames(random, unseen[0], unseen[0].audio), unseen[0].frames[0]) < 0.8


def test_it_hears_the_emotion_of_a_voice(bundled, random):
    sounds = draw_sounds(CONFIGS["float-tiny"], range(80_200, 80_240), NullProgress())
    assert recognised(bundled.emotion_encoder, sounds)["accuracy"] > 0.5
    assert recognised(random.emotion_encoder, sounds)["accuracy"] < 0.35


def test_a_chosen_emotion_moves_the_right_part_of_the_face(bundled, random, people, unseen):
    found = emotion_metrics(bundled, people, _gain())
    for name in EMOTION_SIGNS:
        assert found[f"emotion_{name}"] > 0.4 * found[f"emotion_{name}_true"] > 0
    ignorant = emotion_metrics(random, unseen, 1.0)
    assert not all(ignorant[f"emotion_{name}"] > 0.4 * ignorant[f"emotion_{name}_true"] for name in EMOTION_SIGNS)


def test_a_told_emotion_replaces_most_of_a_smile_and_of_raised_brows(bundled, people):
    reader = ExpressionBackbone()
    reader.load()
    found = source_metrics(bundled, people[:1], reader)
    assert found["source_smile_left"] < 0.75  # 1 where an encoder does not see it
    assert found["source_brow_raise_left"] < 0.75


@pytest.mark.parametrize("part", [slice(0, 1), slice(1, 3)], ids=["mouth", "eyes"])
def test_painted_faces_are_nearer_to_the_truth(bundled, people, part):
    apart = {"painted": 0.0, "unpainted": 0.0}
    for subject in people:
        real = pictures(subject.frames[6::6])
        inside = component_mask(torch.from_numpy(component_boxes(subject.clip)[6::6, part]), real.shape[-1])
        change = _gain() * torch.from_numpy(subject.motion[6::6] - subject.motion[:1])
        motion = bundled.motion(subject.coefficients + change)
        maps = bundled.motion_autoencoder.resting_at(subject.latent, subject.features, unfamiliar=True)
        for name, one in (("painted", subject), ("unpainted", replace(subject, features=maps))):
            apart[name] += float((inside * (decoded(bundled, one, motion) - real).abs()).sum() / inside.sum())
    assert apart["painted"] < 0.85 * apart["unpainted"]


def test_its_pictures_are_as_sharp_as_true_ones(bundled, people):
    """Most of the variance of the Laplacian is left, where motion is the true one; of the card's twelve people 70 %."""
    shares = []
    for subject in people:
        change = _gain() * torch.from_numpy(subject.motion[6::12] - subject.motion[:1])
        made = decoded(bundled, subject, bundled.motion(subject.coefficients + change))
        shares.append(sharpness(pixels(made)) / sharpness(subject.frames[6::12]))
    assert np.mean(shares) > 0.6
    plain = FloatModel(replace(FLOAT_TINY, transfer="lia", warp="bilinear")).eval().requires_grad_(False)
    plain.load_state_dict(bundled.state_dict())
    person = subjects(plain, _clips()[:1])[0]
    change = _gain() * torch.from_numpy(person.motion[6::12] - person.motion[:1])
    made = decoded(plain, person, plain.motion(person.coefficients + change))
    assert sharpness(pixels(made)) < 0.5 * sharpness(person.frames[6::12])


def test_it_knows_its_people_and_says_so_of_what_is_none(bundled, people):
    model = Animator.from_pretrained("float-tiny")
    domain = model.card.domain
    assert domain is not None
    distances = [model.encode(subject.frames[0]).distance for subject in people]
    assert all(distance is not None and distance < 1.2 * domain.limit for distance in distances)
    rng = np.random.default_rng(0)
    strangers = [rng.integers(0, 256, (128, 128, 3), np.uint8), np.zeros((128, 128, 3), np.uint8),
                 np.ascontiguousarray(people[0].frames[0][::-1]), 255 - people[1].frames[0]]  # fmt: skip
    for picture in strangers:
        encoded = model.encode(picture)
        assert encoded.distance is not None and encoded.distance > domain.limit
        rest = next(model.pictures(encoded.latent + encoded.motion, encoded))
        assert (to_pixels(rest)[0].int() - torch.from_numpy(picture).int()).abs().max() <= 1
        assert domain.distance(encoded.latent[0].numpy()) <= 1.001 * domain.limit
