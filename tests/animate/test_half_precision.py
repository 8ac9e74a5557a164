"""What is chosen for speed keeps the pictures: bfloat16 and compiled networks on the bundled model's own clips."""

from __future__ import annotations

import numpy as np
import pytest

from floatbench.animate.pipeline import FLOAT
from floatbench.media import read_video
from floatbench.synthetic.clip import TEST_FIRST, SyntheticClip


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """Decibels of 8-bit frames; infinite for equal ones."""
    error = np.square(found.astype(float) - expected.astype(float)).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choices", "least"),
    [("dtype=bfloat16", 50.0), ("compile=true", 70.0), ("dtype=bfloat16&compile=true", 50.0)],
)
def test_fast_choices_stay_close_to_float32_through_generate(tmp_path, choices, least):
    clip = SyntheticClip(TEST_FIRST, 0, 2.4)
    picture, sound = clip.frames(128, every=clip.n_frames)[0], clip.audio()
    made = []
    for name in ("float-tiny", f"float-tiny?{choices}"):
        model = FLOAT.from_pretrained(name, device="cpu")
        made.append(read_video(model.generate(picture, sound, tmp_path / "o.mkv", crop=None, seed=1).path)[0])
    assert len(made[0]) == clip.n_frames == 60
    found = psnr(*made)
    print(f"{choices}: {found:.1f} dB")
    assert least <= found < float("inf")  # another arithmetic, the same pictures
