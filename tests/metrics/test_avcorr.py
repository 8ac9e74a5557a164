"""AVCORR against planted lags, silence, missing faces and constant signals."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.errors import ClipError
from floatbench.metrics import registry
from floatbench.metrics.avcorr import AudioEnvelope, envelope, lagged_correlations
from floatbench.metrics.base import Pair
from floatbench.types import ClipMedia

RNG = np.random.default_rng(3)


def _smooth(n: int) -> np.ndarray:
    return np.convolve(RNG.random(n + 4), np.ones(5) / 5, "valid")


def _features(jaw: np.ndarray, found: np.ndarray | None = None) -> dict[str, np.ndarray]:
    blend = np.zeros((len(jaw), 52), np.float32)
    blend[:, 25] = jaw
    mask = np.ones(len(jaw), bool) if found is None else found
    faces = mask.astype(np.int32)
    return {"blendshapes": blend, "mouth": jaw.astype(np.float32), "found": mask, "faces": faces}


def _value(jaw, rms, found=None, variant="avcorr"):
    table = {"mp-landmarker": _features(jaw, found), "audio-envelope": {"rms": rms.astype(np.float32)}}
    return registry.metric(variant).clip_value(Pair("c", "p", lambda side, name: table[name]))


@pytest.mark.parametrize("variant", ["avcorr", "avcorr-lips"])
@pytest.mark.parametrize("lag", [-10, -3, 0, 1, 10])
def test_a_planted_lag_is_recovered_and_positive_means_late_sound(lag, variant):
    signal = _smooth(200)
    found = _value(signal[20:170], signal[20 - lag : 170 - lag], variant=variant)
    assert found.extra["lag"] == lag
    assert found.value == pytest.approx(1, abs=1e-5)


def test_correlations_equal_numpy_on_the_overlap():
    a, b = RNG.random(60), RNG.random(60)
    r = lagged_correlations(a, b, max_lag=2)
    assert r[0] == pytest.approx(np.corrcoef(a[2:], b[:-2])[0, 1])
    assert r[4] == pytest.approx(np.corrcoef(a[:-2], b[2:])[0, 1])


def test_frames_without_a_face_are_left_out_and_counted():
    signal = _smooth(100)
    jaw, found = signal.copy(), np.ones(100, bool)
    jaw[30:40], found[30:40] = 0, False
    result = _value(jaw, signal, found)
    assert result.value == pytest.approx(1, abs=1e-5)
    assert result.extra["frames_no_face"] == 10
    assert np.isnan(result.tracks["mouth"][30:40]).all()


def test_a_frozen_mouth_scores_zero_and_says_so():
    result = _value(np.full(60, 0.3), _smooth(60))
    assert (result.value, result.extra["constant"]) == (0, 1)


def test_unequal_lengths_are_cut_and_counted():
    signal = _smooth(100)
    result = _value(signal, signal[:90])
    assert result.extra["frames_trimmed"] == 10
    assert result.value == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("jaw", "found", "reason"), [(60, False, "no_face"), (20, True, "too_short")])
def test_clips_that_cannot_be_measured_are_named(jaw, found, reason):
    with pytest.raises(ClipError) as caught:
        _value(_smooth(jaw), _smooth(jaw), np.full(jaw, found))
    assert caught.value.reason == reason


def test_the_envelope_of_a_sine_is_its_rms():
    t = np.arange(6400) / 16000
    audio = np.round(16384 * np.sin(2 * np.pi * 1000 * t)).astype(np.int16)
    assert envelope(audio) == pytest.approx(np.full(10, 0.5 / np.sqrt(2)), abs=1e-4)


@pytest.mark.parametrize(
    ("audio", "reason"),
    [(None, "no_audio"), (np.zeros(6400, np.int16), "silent"), (np.full(6400, 20, np.int16), "silent")],
)
def test_missing_or_silent_sound_is_refused(audio, reason):
    with pytest.raises(ClipError) as caught:
        AudioEnvelope().extract(ClipMedia(np.zeros((10, 8, 8, 3), np.uint8), audio))
    assert caught.value.reason == reason


def test_sound_and_picture_have_cache_keys_of_their_own():
    assert registry.backbone("audio-envelope").uses == {"audio"}
    assert registry.backbone("mp-landmarker").uses == {"frames"}
