"""PSNR and SSIM at full size: closed forms, scikit-image's values, other sizes and lengths, and nothing to compare."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import floatbench
from floatbench.errors import ClipError, UsageError
from floatbench.metrics.full_size import ColourPixels, same_size
from floatbench.types import ClipMedia

RNG = np.random.default_rng(0)
REAL = RNG.integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
MADE = np.clip(REAL.astype(int) + RNG.integers(-30, 31, REAL.shape), 0, 255).astype(np.uint8)


def test_a_constant_error_of_one_channel_gives_the_closed_form():
    """1 in one of three channels is a mean square error of a third."""
    base = np.full((2, 32, 32, 3), 100, np.uint8)
    other = base.copy()
    other[..., 0] += 1
    value = floatbench.measure("psnr-rgb", [other], [base]).value
    assert value == pytest.approx(10 * np.log10(255**2 * 3), rel=1e-12)
    assert floatbench.measure("psnr-rgb", [base], [base]).value == 100
    assert floatbench.measure("ssim-rgb", [base], [base]).value == 1


def test_values_of_colour_pictures_are_those_of_scikit_image():
    found = ColourPixels().extract_pair(ClipMedia(MADE), ClipMedia(REAL))
    psnr = [peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(MADE, REAL, strict=True)]
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    ssim = [
        np.mean([
            structural_similarity(a[..., c], b[..., c], full=True, **options)[1][5:-5, 5:-5].mean() for c in range(3)
        ])
        for a, b in zip(MADE, REAL, strict=True)
    ]  # fmt: skip
    assert found["psnr"] == pytest.approx(psnr, rel=1e-12)
    assert found["ssim"] == pytest.approx(ssim, rel=1e-9)


def test_the_shorter_clip_counts_and_what_is_left_over_is_said():
    score = floatbench.measure("psnr-rgb", [MADE[:2]], [REAL])
    assert (score.details["frames"], score.details["frames_trimmed"]) == (2, 1)
    whole = floatbench.measure("psnr-rgb", [MADE[:2]], [REAL[:2]])
    assert score.value == whole.value


def test_generated_pictures_of_another_size_are_brought_to_that_of_the_reference():
    large = np.repeat(np.repeat(REAL, 2, axis=1), 2, axis=2)
    assert floatbench.measure("psnr-rgb", [large], [REAL]).value == 100  # the area filter takes doubling back
    small = REAL[:, ::2, ::2]
    assert same_size(small[0], REAL[0]).shape == REAL[0].shape
    assert floatbench.measure("psnr-rgb", [small], [REAL]).value < 100


def test_colour_counts_where_the_grey_form_sees_nothing():
    red, green = (np.zeros((2, 32, 32, 3), np.uint8) for _ in range(2))
    red[..., 0], green[..., 1] = 196, 100
    assert floatbench.measure("psnr-grey128", [red], [green]).value > 45
    assert floatbench.measure("psnr-rgb", [red], [green]).value < 12


def test_too_small_and_empty_clips_fail_with_a_reason_and_one_clip_alone_is_refused():
    tiny = np.zeros((2, 8, 8, 3), np.uint8)
    score = floatbench.measure("ssim-rgb", [tiny, MADE], [tiny, REAL])
    assert score.n == 1 and "8 x 8, 11 pixels are needed" in score.failures["000000"]
    with pytest.raises(ClipError, match="no frame"):
        ColourPixels().extract_pair(ClipMedia(MADE[:0]), ClipMedia(REAL))
    with pytest.raises(UsageError, match="sees two clips"):
        ColourPixels().extract(ClipMedia(REAL))
    with pytest.raises(UsageError, match="reference clips"):
        floatbench.measure("psnr-rgb", [MADE])
