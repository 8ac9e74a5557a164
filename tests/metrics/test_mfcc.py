"""MFCC against python_speech_features 0.6, number for number."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.metrics.mfcc import frame_count, mfcc

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("samples", [1, 399, 400, 401, 560, 561, 3200, 79_999, 80_000])
def test_int16_sound_gives_exactly_the_reference_numbers(samples):
    reference = pytest.importorskip("python_speech_features")
    audio = RNG.integers(-32768, 32768, samples).astype(np.int16)
    expected = reference.mfcc(audio, 16000)
    found = mfcc(audio)
    assert len(found) == len(expected) == frame_count(samples)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))


def test_silence_and_scaled_sound_have_the_stated_values():
    silence = mfcc(np.zeros(1600, np.int16))
    assert silence[:, 0] == pytest.approx(-36.04365, abs=1e-5)
    assert np.abs(silence[:, 1:]).max() < 1e-12
    audio = RNG.integers(-3000, 3000, 16000).astype(np.int16)
    shift = mfcc(audio / 32768.0) - mfcc(audio)
    assert shift[:, 0] == pytest.approx(-2 * np.log(32768), abs=1e-9)
    assert np.abs(shift[:, 1:]).max() < 1e-9


def test_five_seconds_have_499_windows():
    assert frame_count(80_000) == 499
