"""The frozen networks of phase 2: what they hear in whole sounds is kept, close to fresh; the average skips them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.errors import UsageError
from floatbench.model.config import FloatConfig
from floatbench.model.float import FloatModel
from floatbench.model.wav2vec2 import SpeechSizes
from floatbench.progress import NullProgress
from floatbench.training import hearing
from floatbench.training.batches import MotionClip, draw_windows
from floatbench.training.config import FlowConfig, TrainConfig
from floatbench.training.data_config import DataConfig
from floatbench.training.devices import Devices
from floatbench.training.flow_phase import FlowPhase
from floatbench.training.hearing import hear, heard_clips


@pytest.fixture
def speaking(toy, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Phase 2 of the toy with small wav2vec 2.0 networks of random weights."""
    for name, kind in (("BASE", "base"), ("LARGE", "large")):
        small = SpeechSizes(kind, width=16, layers=2, heads=2, hidden=32, conv_dim=8, positions=16, position_groups=2)
        monkeypatch.setattr(f"floatbench.model.float.{name}", small)
    model = FloatConfig(
        name="speaking", image_size=64, channel_max=8, channel_base=512, dim_w=16, dim_a=16, dim_h=32, dim_m=6, depth=1,
        heads=2, window=10, previous=4,
    )  # fmt: skip
    flow = FlowConfig(batch=4, precision="float32", warmup=0, ema=0.5)
    return TrainConfig("speaking", model, DataConfig(seed=5), flow=flow)


def clips(config: TrainConfig) -> list[MotionClip]:
    rng = np.random.default_rng(0)
    return [
        MotionClip(
            str(i),
            rng.standard_normal((30, config.model.dim_m)).astype(np.float32),
            rng.integers(-3000, 3000, 640 * 30).astype(np.int16),
            i,
        )
        for i in range(3)
    ]


def model_of(config: TrainConfig) -> FloatModel:
    torch.manual_seed(0)
    return FloatModel(config.model).eval()


def test_what_is_kept_is_the_fresh_features_in_half_precision(speaking, tmp_path):
    model, one = model_of(speaking), clips(speaking)[:1]
    states, felt = hear(model, one[0].audio)
    kept = heard_clips(model, one, "random", NullProgress(), tmp_path)[0]
    assert kept.states is not None and kept.states.dtype == np.float16 and kept.states.shape == states.shape
    # half precision has 11 bits of mantissa: rounding moves a number by at most 2^-11 of itself
    assert (np.abs(kept.states - states.numpy()) <= 2.0**-11 * np.abs(states.numpy()) + 2.0**-25).all()
    assert felt is not None and np.array_equal(kept.felt, felt.numpy())
    made = [model.audio_encoder.audio_projection(x[None].float()) for x in (states, torch.from_numpy(kept.states[:]))]
    assert float((made[0] - made[1]).abs().max()) < 0.005 * float(made[0].abs().max())


def test_a_sound_is_heard_once_by_its_content_and_by_each_network(speaking, tmp_path, monkeypatch):
    model, some = model_of(speaking), clips(speaking)
    heard: list[int] = []
    fresh = hearing.hear
    monkeypatch.setattr(hearing, "hear", lambda model, audio: heard.append(len(audio)) or fresh(model, audio))
    heard_clips(model, some, "one", NullProgress(), tmp_path)
    heard_clips(model, [replace(some[2], id="another name")], "one", NullProgress(), tmp_path)
    assert len(heard) == 3
    heard_clips(model, some[:1], "other weights", NullProgress(), tmp_path)
    assert len(heard) == 4


def test_windows_of_kept_features_are_where_the_windows_of_the_sound_are(speaking, tmp_path):
    kept = heard_clips(model_of(speaking), clips(speaking), "random", NullProgress(), tmp_path)
    numbered = [replace(clip, coefficients=np.repeat(np.arange(30, dtype=np.float32)[:, None], 6, 1)) for clip in kept]
    drawn = draw_windows(numbered, 4, 14, 0, 0, "any")
    assert drawn.states is not None and drawn.felt is not None and drawn.states.shape[:2] == (4, 14)
    for row in range(4):
        clip, start = kept[int(drawn.emotion[row])], int(drawn.coefficients[row, 0, 0])
        assert np.array_equal(drawn.states[row], clip.states[start : start + 14].astype(np.float32))
        assert np.array_equal(drawn.felt[row], clip.felt)


def test_a_step_on_kept_features_hears_nothing(speaking, tmp_path, monkeypatch):
    model = model_of(speaking)
    kept = heard_clips(model, clips(speaking), "random", NullProgress(), tmp_path)
    whole = replace(speaking, flow=replace(speaking.flow, hearing="whole"))
    phase = FlowPhase(whole, model, kept, Devices("cpu"))
    monkeypatch.setattr(type(model.audio_encoder), "forward", None)
    monkeypatch.setattr(type(model.emotion_encoder), "forward", None)
    assert phase.step(0)["total"] > 0


def test_the_window_call_is_the_default_and_leaves_the_hash_as_it_was(speaking, toy):
    assert speaking.flow.hearing == "window"
    assert "hearing" not in speaking.record()["flow"]
    whole = replace(speaking, flow=replace(speaking.flow, hearing="whole"))
    assert whole.hash("flow") != speaking.hash("flow") and whole.hash("autoencoder") == speaking.hash("autoencoder")
    with pytest.raises(UsageError, match=r"is for wav2vec 2\.0"):
        replace(toy, flow=replace(toy.flow, hearing="whole"))


def test_the_average_covers_what_is_trained_and_shares_the_frozen_networks(speaking):
    phase = FlowPhase(speaking, model_of(speaking), clips(speaking), Devices("cpu"))
    pairs = list(zip(phase.student.named_parameters(), phase.ema.module.parameters(), strict=True))
    for (name, now), kept in pairs:
        assert (kept is now) == ("wav2vec2" in name), name
    phase.step(0)
    assert any(not torch.equal(kept, now) for (_, now), kept in pairs)
    averaged = phase.averaged().state_dict()
    assert set(averaged) == set(phase.model.state_dict())


def test_one_network_that_is_missing_is_named_before_a_variant_trains(speaking, tmp_path):
    from floatbench.errors import DataError
    from floatbench.training.variants import TABLE_2, train_variants

    recorded = replace(speaking, data=replace(speaking.data, protocol="hdtf-train"))
    with pytest.raises(DataError, match="wav2vec2-base-960h, wav2vec2-speech-emotion, reconnet-epoch20") as caught:
        train_variants(TABLE_2, recorded, tmp_path, 1, "float-tiny")
    assert "hsemotion" in str(caught.value.fix) and not list(tmp_path.iterdir())
