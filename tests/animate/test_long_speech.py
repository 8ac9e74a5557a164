"""Ten minutes of speech take no more memory than one: nothing that was made is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from floatbench.animate.pipeline import FLOAT
from floatbench.sampling.loading import Origin
from floatbench.sampling.options import SamplingOptions

MINUTE = 60 * 25


def resident() -> int:
    """Bytes of this process that are in memory now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_stays_flat_over_ten_minutes_of_speech(network):
    model = FLOAT(network, Origin("float-test", {"float-test": "0" * 64}))
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 3000, 10 * MINUTE * 640).astype(np.int16)
    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    options = SamplingOptions(nfe=1, a_cfg=1.0, audio_context="window")
    taken, weight = {}, 0
    for number, frame in enumerate(model.stream(picture, speech, options=options), start=1):
        if number % MINUTE == 0:
            taken[number // MINUTE] = resident()
            weight = MINUTE * frame.nbytes
    assert sorted(taken) == list(range(1, 11))
    # kept pictures alone would add `weight` a minute; an allocator may hold a little more than a minute earlier
    assert max(taken.values()) - taken[1] < weight / 2
