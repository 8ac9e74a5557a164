"""The voice of a synthetic clip: made in blocks, which show nowhere but in the memory it takes."""

from __future__ import annotations

import tracemalloc

import numpy as np

from floatbench.synthetic import phones, voice
from floatbench.synthetic.identity import make_identity
from floatbench.synthetic.phones import speak


def _voice(seconds):
    timeline = speak(np.random.default_rng(1), seconds, 1.0)
    return voice.synthesise(timeline, make_identity(3), "happy", 0.2, int(seconds * 16000), np.random.default_rng(2))


def test_blocks_change_no_sample(monkeypatch):
    whole = _voice(3.01)
    assert whole.dtype == np.int16 and len(whole) == 48160
    for module, name, small in ((voice, "_BLOCK", 7), (voice, "_CHUNK", 1000), (phones, "_PAIRS", 500)):
        monkeypatch.setattr(module, name, small)
        np.testing.assert_array_equal(_voice(3.01), whole)
    for module, name in ((voice, "_BLOCK"), (voice, "_CHUNK"), (phones, "_PAIRS")):
        monkeypatch.setattr(module, name, 1 << 40)
    np.testing.assert_array_equal(_voice(3.01), whole)


def test_a_long_sound_takes_the_memory_of_a_few_copies_of_itself():
    """Every phone's pull on every time at once grew with the square of the length: 35 copies here."""
    _voice(1.0)
    tracemalloc.start()
    _voice(40.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 40 * 16000 * 8
