"""The configuration refuses what cannot work, and every stage has a public entry that checks its input."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from floatbench.errors import UsageError
from floatbench.model.conditions import Conditions
from floatbench.model.config import CONFIGS, FLOAT_TINY, FloatConfig, config
from floatbench.model.float import FloatModel
from floatbench.model.randomise import randomise


@pytest.fixture(scope="module")
def model() -> FloatModel:
    made = FloatModel(CONFIGS["float-tiny-64"])
    randomise(made, seed=7)
    return made.eval()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_size", 100),
        ("image_size", 32),
        ("image_size", 64.0),
        ("channel_base", 100),
        ("depth", 0),
        ("depth", True),
        ("attention_window", -1),
        ("dim_m", 65),
        ("heads", 3),
        ("dim_e", 8),
        ("fps", 30),
        ("sample_rate", 8_000),
        ("conditioning", "concat"),
        ("prediction", "score"),
        ("emotion_condition", "text"),
        ("grid", "centre"),
        ("speech", "hubert"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_by_name(field, value):
    with pytest.raises(UsageError, match=field):
        replace(FLOAT_TINY, **{field: value})


def test_configurations_are_frozen_and_survive_json():
    for made in CONFIGS.values():
        assert FloatConfig.from_dict(made.to_dict()) == made
    with pytest.raises(FrozenInstanceError):
        FLOAT_TINY.depth = 3  # type: ignore[misc]
    with pytest.raises(UsageError, match="width: unknown key"):
        FloatConfig.from_dict({"width": 3})
    with pytest.raises(UsageError, match="float-512"):
        config("float-1024")


@torch.no_grad()
def test_all_stages_run_one_after_another(model):
    latent, features = model.encode_image(torch.rand(1, 3, 64, 64) * 2 - 1)
    wr = model.motion(model.coefficients(latent))
    wave = torch.randn(1, 32_000)
    wa = model.encode_audio(wave, 50)
    we = model.predict_emotion(wave)[:, None]
    assert wa.shape == (1, 50, 64) and torch.allclose(we.sum(-1), torch.ones(1, 1))
    v = model.vector_field(torch.tensor(0.0), torch.randn(1, 50, 64), Conditions(wr, wa, we))
    assert v.shape == (1, 60, 64)
    picture, flow = model.decode(latent + v[:, 10], features)
    assert picture.shape == (1, 3, 64, 64) and flow.shape == (1, 64, 64, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"conditioning": "cross"},
        {"conditioning": "cross_only"},
        {"emotion_condition": "none"},
        {"emotion_condition": "image", "pose_condition": True},
        {"grid": "lia"},
    ],
)
@torch.no_grad()
def test_every_ablation_builds_and_runs(changes):
    model = FloatModel(replace(CONFIGS["float-tiny-64"], depth=2, **changes)).eval()
    given = Conditions(wr=torch.randn(1, 64), wa=torch.randn(1, 50, 64))
    v = model.vector_field(torch.tensor(0.5), torch.randn(1, 50, 64), given)
    assert v.shape == (1, 60, 64)
    assert (model.emotion_encoder is None) == (changes.get("emotion_condition", "speech") != "speech")


@pytest.mark.parametrize(
    "wave", [torch.zeros(1, 0), torch.zeros(16), torch.zeros(1, 16, dtype=torch.int16), torch.full((1, 700), torch.nan)]
)
def test_unusable_sound_is_refused(model, wave):
    for call in (lambda: model.encode_audio(wave, 1), lambda: model.predict_emotion(wave)):
        with pytest.raises(ValueError, match="sound"):
            call()


def test_a_model_without_speech_emotion_says_so():
    with pytest.raises(ValueError, match="no speech emotion"):
        FloatModel(replace(CONFIGS["float-tiny-64"], emotion_condition="none")).predict_emotion(torch.zeros(1, 700))


@torch.no_grad()
def test_short_and_silent_sound_gives_finite_features(model):
    for wave in (torch.zeros(1, 16_000), torch.randn(1, 320)):
        frames = -(-wave.shape[1] // 640)
        assert bool(torch.isfinite(model.encode_audio(wave, frames)).all())
        assert bool(torch.isfinite(model.predict_emotion(wave)).all())
    with pytest.raises(ValueError, match="n_frames"):
        model.encode_audio(torch.zeros(1, 700), 0)


@torch.no_grad()
def test_log_mel_features_of_a_window_equal_those_of_the_whole_sound(model):
    wave = torch.randn(1, 64_000)
    whole = model.encode_audio(wave, 100, normalise=False)
    part = model.encode_audio(wave[:, 25_600:57_600], 50, normalise=False)
    assert torch.allclose(part[:, 8:-8], whole[:, 48:82], atol=1e-5)


def test_random_weights_depend_on_seed_and_name_only(model):
    alone = FloatModel(CONFIGS["float-tiny-64"])
    randomise(alone.fmt, seed=7, prefix="fmt.")
    state, whole = alone.fmt.state_dict(), model.fmt.state_dict()
    assert all(torch.equal(state[k], whole[k]) for k in whole)
    randomise(alone.fmt, seed=8, prefix="fmt.")
    assert not torch.equal(alone.fmt.c_embedder.weight, model.fmt.c_embedder.weight)
