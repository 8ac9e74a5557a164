"""Speech conditions: lengths, the two contexts, and what a network does not take."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from floatbench.errors import ClipError, UsageError
from floatbench.model.config import FLOAT_TINY
from floatbench.model.float import FloatModel
from floatbench.sampling.options import SamplingOptions
from floatbench.sampling.sound import SpeechConditions

CONFIG = replace(
    FLOAT_TINY, image_size=64, channel_max=8, channel_base=512, dim_w=8, dim_m=4, dim_a=8, dim_h=16, depth=1,
    mel_bands=16, mel_width=16, reader=False, painter=False,
)  # fmt: skip
WINDOW = SamplingOptions(audio_context="window")

WR = torch.zeros(1, CONFIG.dim_w)


def _model(**changes) -> FloatModel:
    torch.manual_seed(0)
    return FloatModel(replace(CONFIG, **changes)).eval()


def _speech(frames: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, int(frames * 640)).astype(np.int16)


@pytest.mark.parametrize("options", [SamplingOptions(), WINDOW])
@pytest.mark.parametrize(
    ("frames", "total", "count"), [(0.5, 1, 1), (1, 1, 1), (50, 50, 1), (50.1, 51, 2), (120, 120, 3)]
)
def test_every_length_gives_the_windows_that_cover_it(options: SamplingOptions, frames: float, total: int, count: int):
    conditions = SpeechConditions(_model(), _speech(frames), options)
    windows = list(conditions.windows(WR))
    assert [w.wa.shape[1] for w in windows] == [50] * count and conditions.total == total
    assert all(torch.equal(w.wr, WR) for w in windows)
    assert all(w.we is not None and w.we.shape == (1, 1, 7) for w in windows)


def test_full_context_encodes_the_sound_once_and_cuts_it():
    model, pcm = _model(), _speech(120)
    wa = model.encode_audio(torch.from_numpy(pcm.astype(np.float32) / 32768)[None], 120)
    windows = list(SpeechConditions(model, pcm, SamplingOptions()).windows(WR))
    torch.testing.assert_close(torch.cat([w.wa for w in windows], 1)[:, :120], wa)
    assert all(w.prev_wa is None for w in windows)


def test_window_context_is_the_training_call_on_the_window_and_its_history():
    model, pcm = _model(), _speech(120)
    windows = list(SpeechConditions(model, pcm, WINDOW).windows(WR))
    chunk = torch.from_numpy(pcm[40 * 640 : 100 * 640].astype(np.float32) / 32768)[None]
    wa = model.encode_audio(chunk, 60)
    torch.testing.assert_close(windows[1].prev_wa, wa[:, :10])
    torch.testing.assert_close(windows[1].wa, wa[:, 10:])
    torch.testing.assert_close(windows[1].we, model.predict_emotion(chunk)[:, None])
    assert windows[0].prev_wa is None


def test_window_context_never_looks_ahead():
    model, pcm = _model(), _speech(120)
    changed = pcm.copy()
    changed[50 * 640 :] = _speech(70, seed=1)
    before, after = (next(SpeechConditions(model, sound, WINDOW).windows(WR)) for sound in (pcm, changed))
    assert torch.equal(before.wa, after.wa)


def test_silence_gives_finite_conditions():
    window = next(SpeechConditions(_model(), np.zeros(64_000, np.int16), SamplingOptions()).windows(WR))
    assert torch.isfinite(window.wa).all() and window.we is not None and torch.isfinite(window.we).all()


def test_a_given_emotion_is_used_and_the_recogniser_is_not_called(monkeypatch: pytest.MonkeyPatch):
    model = _model()
    monkeypatch.setattr(model, "predict_emotion", None)
    given = np.eye(7, dtype=np.float32)[3]
    windows = list(SpeechConditions(model, _speech(60), SamplingOptions(), given).windows(WR))
    assert all(w.we is not None and w.we.flatten().tolist() == given.tolist() for w in windows)


def test_framewise_emotion_and_pose_are_cut_with_the_windows():
    model = _model(emotion_condition="image", pose_condition=True)
    emotion, pose = np.random.default_rng(0).random((60, 7)), np.random.default_rng(1).random((60, 6))
    first, second = SpeechConditions(model, _speech(60), SamplingOptions(), emotion, pose).windows(WR)
    assert first.we is not None and first.we.shape == (1, 50, 7)
    assert second.pose is not None
    np.testing.assert_allclose(second.pose[0, :10].numpy(), pose[50:], rtol=1e-6)
    assert torch.equal(second.pose[0, 10:], second.pose[0, 9:10].expand(40, -1))  # the last frame, repeated


@pytest.mark.parametrize(
    ("changes", "emotion", "pose", "message"),
    [
        ({"emotion_condition": "none"}, np.zeros(7), None, "takes no emotion"),
        ({"emotion_condition": "image"}, None, None, "one emotion vector per frame"),
        ({}, np.zeros((60, 7)), None, "must have the shape"),
        ({}, None, np.zeros((60, 6)), "takes no pose"),
        ({"pose_condition": True}, None, None, "needs the head pose"),
    ],
)
def test_conditions_the_network_does_not_take_are_refused(changes: dict, emotion, pose, message: str):
    with pytest.raises(UsageError, match=message):
        SpeechConditions(_model(**changes), _speech(60), SamplingOptions(), emotion, pose)


def test_an_empty_sound_is_an_error():
    with pytest.raises(ClipError, match="empty"):
        SpeechConditions(_model(), np.zeros(0, np.int16), SamplingOptions())


def test_two_hours_are_refused_in_one_pass_and_accepted_window_by_window():
    pcm = np.zeros(2 * 3600 * 16_000, np.int16)
    with pytest.raises(UsageError, match="7200 s"):
        SpeechConditions(_model(), pcm, SamplingOptions())
    assert SpeechConditions(_model(), pcm, WINDOW).total == 2 * 3600 * 25
