"""AVCORR against planted lags, silence, missing faces and constant signals."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.errors import ClipError
from floatbench.metrics import avcorr, registry
from floatbench.metrics.avcorr import MAX_LAG, AudioEnvelope, envelope, lagged_correlations
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


def _speech(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Loudness of syllables: white noise through a window of a fifth of a second."""
    return np.convolve(rng.random(frames + 4), np.ones(5) / 5, "valid")


def test_a_mouth_that_knows_nothing_of_the_sound_scores_zero_on_average_only_without_its_chance():
    rng = np.random.default_rng(11)
    clips = [(_speech(rng, 150), _speech(rng, 150)) for _ in range(40)]
    raw = np.array([_value(jaw, rms).value for jaw, rms in clips])
    excess = np.array([_value(jaw, rms, variant="avcorr-excess").value for jaw, rms in clips])
    assert raw.mean() > 0.15
    assert abs(excess.mean()) < 3 * excess.std() / np.sqrt(len(excess))
    assert excess.std() < 0.15


def test_the_excess_of_a_mouth_that_follows_is_high_and_its_lag_and_correlation_are_kept():
    rng = np.random.default_rng(5)
    signal = _speech(rng, 200)
    plain, found = (_value(signal[20:170], signal[17:167], variant=v) for v in ("avcorr", "avcorr-excess"))
    assert found.extra["lag"] == plain.extra["lag"] == 3
    assert found.extra["r"] == plain.value == pytest.approx(1, abs=1e-5)
    assert found.value == pytest.approx(plain.value - found.extra["null"])
    assert found.value > 0.5 and found.extra["p"] == pytest.approx(1 / 65)
    noise = _value(_speech(rng, 150), signal[17:167], variant="avcorr-excess")
    assert noise.extra["p"] > 0.05


@pytest.mark.parametrize("frames", [49, 75, 150, 5000])
def test_no_turn_of_the_sound_brings_a_lag_back_to_a_place_that_is_searched(frames):
    turns = avcorr.null_turns(frames)
    lags = np.arange(-MAX_LAG, MAX_LAG + 1)
    looked_at = (turns[:, None] + lags) % frames
    searched = lags % frames
    assert 8 <= len(turns) <= 64 and len(set(turns.tolist())) == len(turns)
    assert not np.isin(looked_at, searched).any()


def test_the_null_is_the_same_whenever_it_is_taken():
    rng = np.random.default_rng(2)
    jaw, rms = rng.random(120), rng.random(120)
    first = avcorr.null_best(jaw, rms)
    np.random.default_rng(9).random(5)
    np.testing.assert_array_equal(first, avcorr.null_best(jaw, rms))


def test_a_frozen_mouth_has_no_excess_and_a_clip_too_short_for_a_null_is_named():
    still = _value(np.full(60, 0.3), _smooth(60), variant="avcorr-excess")
    assert (still.value, still.extra["constant"], still.extra["p"]) == (0, 1, 1)
    with pytest.raises(ClipError, match="its null needs 49"):
        _value(_smooth(48), _smooth(48), variant="avcorr-excess")
    assert _value(_smooth(49), _smooth(49), variant="avcorr-excess").value is not None
