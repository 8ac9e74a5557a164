"""How unlike a picture is to the people a model knows: closed forms, the limit, and who is told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.animate.pipeline import FLOAT
from floatbench.model.config import CONFIGS
from floatbench.model.float import FloatModel
from floatbench.sampling.domain import Domain
from floatbench.sampling.loading import ModelCard, Origin
from floatbench.training.data_config import DataConfig
from floatbench.training.known_people import known_people

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(6, 6)) + 3 * np.eye(6)


def _people(count: int) -> np.ndarray:
    return RNG.normal(size=(count, 6)) @ MIX + 5


def test_the_distance_of_the_people_it_was_fitted_to_is_about_one_however_their_latents_are_mixed():
    domain = Domain.fitted(_people(4000), _people(1000))
    mean = np.mean([domain.distance(latent) ** 2 for latent in _people(500)])
    assert mean == pytest.approx(1, abs=0.1)
    assert domain.distance(domain.mean) == 0


def test_one_in_a_hundred_of_the_people_kept_back_lies_beyond_the_limit():
    kept_back = _people(1000)
    domain = Domain.fitted(_people(4000), kept_back)
    assert sum(domain.distance(latent) > domain.limit for latent in kept_back) == 10
    assert domain.note(domain.limit) is None
    assert "unlike" in str(domain.note(2 * domain.limit))


def test_it_survives_a_checkpoints_notes():
    domain = Domain.fitted(_people(100), _people(100))
    again = Domain.from_record(json.loads(json.dumps(domain.record())))
    latent = _people(1)[0]
    assert again.distance(latent) == domain.distance(latent) and again.limit == domain.limit


def test_training_people_are_asked_and_those_of_a_protocol_are_not():
    torch.manual_seed(0)
    model = FloatModel(replace(CONFIGS["float-tiny-64"], channel_max=8)).eval()
    domain = known_people(model, DataConfig(identities=3))
    assert domain is not None and domain.mean.shape == (64,)
    assert known_people(model, DataConfig(protocol="hdtf-train")) is None
    assert known_people(model, DataConfig(identities=1)) is None


def test_an_unfamiliar_picture_is_told_in_one_line_and_a_familiar_one_is_not(tmp_path):
    torch.manual_seed(0)
    network = FloatModel(replace(CONFIGS["float-tiny-64"], channel_max=8, depth=1)).eval()
    picture, sound = np.full((64, 64, 3), 90, np.uint8), RNG.integers(-900, 900, 640, np.int16)
    latent = network.encode_image(torch.full((1, 3, 64, 64), 90 / 127.5 - 1))[0][0].detach().numpy()
    origin = Origin("toy", {}, "", False)
    for away, told in ((0.0, 0), (9.0, 1)):
        domain = Domain(latent + away, np.eye(64), 4.0)
        model = FLOAT(network, origin, card=ModelCard(domain=domain))
        video = model.generate(picture, sound, tmp_path / f"{told}.mkv", crop=None)
        record = video.record()
        assert record["source_distance"] == pytest.approx(away, abs=1e-3) and record["source_limit"] == 4.0
        assert sum("unlike the people" in note for note in record["notes"]) == told
    silent = FLOAT(network, origin).generate(picture, sound, tmp_path / "none.mkv", crop=None).record()
    assert silent["source_distance"] is None
