"""The small emotion recogniser: trained once, shared, frozen in phase 2; it hears emotions only where there are any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.model.checkpoint import read_tensors
from floatbench.model.conditioning import MelEmotionEncoder
from floatbench.progress import NullProgress
from floatbench.training import recogniser
from floatbench.training.clips import RenderedClips
from floatbench.training.config import EmotionConfig
from floatbench.training.configs import CONFIGS
from floatbench.training.data_config import DataConfig
from floatbench.training.recogniser import Sounds, draw_sounds, fit, recognised, trained_recogniser
from floatbench.training.train import train_autoencoder, train_flow


@pytest.fixture(scope="module")
def brief(toy):
    """The toy configuration with a recogniser trained for three steps."""
    return replace(toy, emotion=EmotionConfig(steps=3, people=4, batch=2))


def test_only_the_small_recogniser_of_synthetic_heads_is_trained_beforehand(brief):
    assert brief.emotion_first
    assert not replace(brief, data=DataConfig(protocol="folder:clips")).emotion_first
    assert not replace(brief, model=replace(brief.model, emotion_condition="none")).emotion_first
    assert not CONFIGS["float-512"].emotion_first


def test_a_recogniser_is_trained_once_for_each_setting_and_shared(brief, tmp_path, monkeypatch):
    first = trained_recogniser(brief, tmp_path, NullProgress())
    other = replace(brief, emotion=replace(brief.emotion, rate=5e-4))
    trained_recogniser(other, tmp_path, NullProgress())
    assert len(list(tmp_path.glob("emotion-*.safetensors"))) == 2
    monkeypatch.setattr(recogniser, "fit", None)
    again = trained_recogniser(brief, tmp_path, NullProgress())
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_a_sound_does_not_depend_on_the_number_of_processes_and_is_that_of_the_clip(brief, clips):
    alone = draw_sounds(brief, range(2), NullProgress())
    shared = draw_sounds(brief, range(2), NullProgress(), workers=2)
    assert np.array_equal(alone.wave, shared.wave) and np.array_equal(alone.emotion, shared.emotion)
    assert np.array_equal(alone.wave[1], clips.load(1).audio) and alone.emotion[1] == clips.load(1).emotion


def test_phase_2_takes_the_recogniser_and_leaves_it_as_it_is(brief, clips: RenderedClips, tmp_path):
    train_autoencoder(replace(brief, autoencoder=replace(brief.autoencoder, steps=1)), tmp_path, clips=clips)
    train_flow(brief, tmp_path, clips=clips)
    given = trained_recogniser(brief, tmp_path / "flow", NullProgress())
    exported = read_tensors(tmp_path / "float.safetensors")
    mine = {name.removeprefix("emotion_encoder."): v for name, v in exported.items() if name.startswith("emotion_en")}
    assert set(mine) == set(given)
    assert all(torch.equal(value.half(), mine[name].half()) for name, value in given.items())
    assert not any("emotion" in line for line in (tmp_path / "flow" / "log.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_emotions_are_heard_on_people_it_never_met_and_not_when_the_labels_are_shuffled():
    config = CONFIGS["float-tiny"]
    config = replace(config, emotion=EmotionConfig(steps=500, people=400))
    heard = draw_sounds(config, range(400), NullProgress(), workers=2)
    unseen = draw_sounds(config, range(80_000, 80_150), NullProgress(), workers=2)
    shuffled = Sounds(heard.wave, np.random.default_rng(0).permutation(heard.emotion))
    assert recognised(fit(config, heard, NullProgress()), unseen)["accuracy"] > 0.4
    assert recognised(fit(config, shuffled, NullProgress()), unseen)["accuracy"] < 0.3
    untrained = MelEmotionEncoder(config.model.mel_bands, config.model.mel_width)
    assert recognised(untrained, unseen)["accuracy"] < 0.3
