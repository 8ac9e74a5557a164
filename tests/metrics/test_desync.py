"""Synchformer against its public code on a small seeded network; windows, spectra and the value of a clip."""

import numpy as np
import pytest
import torch

from floatbench.errors import ClipError
from floatbench.metrics import desync, registry
from floatbench.metrics.base import Pair
from floatbench.metrics.network import seeded_state
from floatbench.metrics.synchformer import Synchformer
from floatbench.types import ClipMedia
from tests.golden.make_synchformer import SMALL, inputs

# tests/golden/make_synchformer.py: v-iashin/Synchformer at b66668a1
LOGITS = [1.767355, -2.013958, 0.531828, 0.436668, 1.708074, 0.608557, -0.142896, -3.776332, -0.531518, -0.019393,
          1.852884, -3.45673, 0.664078, -0.540139, 0.343014, -1.174331, 0.525543, 0.480052, 0.28476, 0.122342,
          1.094644]  # fmt: skip


def small():
    network = Synchformer(SMALL).eval()
    network.load_state_dict(seeded_state(network, 0))
    return network


def test_logits_equal_those_of_the_public_code():
    with torch.inference_mode():
        logits = small()(*inputs(SMALL.side))
    assert logits.tolist() == pytest.approx(LOGITS, abs=2e-5)  # printed to six places


def test_its_judge_reads_the_probabilities_of_the_network_window_by_window():
    backbone = registry.backbone("synchformer")
    backbone.network = small()
    rng = np.random.default_rng(1)
    clip = ClipMedia(rng.integers(0, 256, (250, 16, 24, 3), dtype=np.uint8), sound(250))
    features = backbone.extract(clip)
    found = registry.metric("judge-acc-desync").clip_value(
        Pair("c", "p", lambda side, _: {"reference": features}[side])
    )
    chance = np.log(torch.from_numpy(features["logits"]).double().softmax(1).numpy()).mean(axis=0)
    at = {round(-25 * offset): value for offset, value in zip(desync.OFFSETS, chance, strict=True)}
    for k in (5, 10, 15):
        assert found.extra[f"at_{k}"] == np.mean([at[0] > at[-k], at[0] > at[k]])
    assert found.extra["offset"] == max(range(-15, 16, 5), key=at.__getitem__)


def test_its_judge_is_right_about_the_golden_logits():
    features = {"logits": np.array([LOGITS], np.float32)}
    value = registry.metric("judge-acc-desync").clip_value(Pair("c", "p", lambda *_: features))
    assert value.value == 1 and value.extra["offset"] == 0  # 1.85 at 0 s, -0.02 and -3.46 beside it


def sound(frames):
    return (np.random.default_rng(0).normal(0, 3000, 640 * frames)).astype(np.int16)


def test_segments_lie_in_the_middle_of_five_seconds_and_sound_lies_under_its_frames():
    frames = np.repeat(np.arange(125, dtype=np.uint8)[:, None, None, None], 8, 1).repeat(8, 2).repeat(3, 3)
    samples = torch.arange(80000).float()
    heard = []
    original, desync.spectrogram = desync.spectrogram, lambda x: heard.append(x) or x
    try:
        seen, _ = desync.segments(torch.from_numpy(frames), samples)
    finally:
        desync.spectrogram = original
    numbers = ((seen[:, 0, :, 100, 100] + 1) * 127.5).round().int()
    assert numbers[:, 0].tolist() == list(range(2, 107, 8)) and numbers[-1].tolist() == list(range(106, 122))
    assert heard[0][:, 0].tolist() == [640 * n for n in numbers[:, 0].tolist()] and heard[0].shape == (14, 10240)


def test_a_tone_lies_in_its_mel_band_and_silence_at_the_floor():
    time = torch.arange(10240) / 16000
    tone = desync.spectrogram(torch.sin(2 * torch.pi * 1000 * time)[None])[0]
    mel = 2595 * np.log10(1 + np.array([1000, 8000]) / 700)  # HTK: band k has its top at (k + 1) / 129 of the scale
    assert tone[30].argmax().item() == pytest.approx(129 * mel[0] / mel[1] - 1, abs=1)
    silence = desync.spectrogram(torch.zeros(1, 10240))[0]
    floor = (np.log(1e-6) + 4.2677393) / (2 * 4.5689974)
    assert silence[:65].numpy() == pytest.approx(np.full((65, 128), floor), rel=1e-5)
    assert silence.shape == (66, 128) and silence[65, 0].item() == pytest.approx(4.2677393 / (2 * 4.5689974), rel=1e-5)


def test_one_row_for_five_seconds_and_shorter_clips_say_so():
    backbone = registry.backbone("synchformer")
    backbone.network = lambda seen, heard: torch.arange(21.0)
    clip = ClipMedia(np.zeros((251, 16, 24, 3), np.uint8), sound(251))
    assert backbone.extract(clip)["logits"].shape == (2, 21)
    with pytest.raises(ClipError, match="needs 125 frames with sound, got 124"):
        backbone.extract(ClipMedia(np.zeros((124, 16, 24, 3), np.uint8), sound(124)))
    with pytest.raises(ClipError, match="no_audio"):
        backbone.extract(ClipMedia(np.zeros((130, 16, 24, 3), np.uint8)))


def test_the_value_is_the_mean_distance_from_0():
    logits = np.zeros((2, 21), np.float32)
    logits[0, 10], logits[1, 5] = 1, 1  # 0 s and -1 s
    even = np.zeros((1, 21), np.float32)
    even[0, 12] = 1  # 0.4 s
    sides = {"generated": {"logits": logits}, "reference": {"logits": even}}
    value = registry.metric("desync").clip_value(Pair("c", "p", lambda side, _: sides[side]))
    assert value.value == pytest.approx(0.5) and value.extra["offset"] == pytest.approx(-0.5)
    assert value.extra["reference"] == pytest.approx(0.4) and value.extra["windows"] == 2
