"""The weight-free metrics against closed forms and scikit-image."""

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from floatbench import measure
from floatbench.errors import UsageError
from floatbench.metrics import registry
from floatbench.metrics.basic import Pixels, psnr, ssim
from floatbench.metrics.direct import measure


def frames(t=4, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (t, side, side, 3), dtype=np.uint8)


def test_psnr_of_a_known_error_is_exact():
    a = np.full((8, 8), 100, np.uint8)
    assert psnr(a, a + np.uint8(10)) == pytest.approx(10 * np.log10(255**2 / 100))
    assert psnr(a, a) == 100.0


def test_ssim_equals_scikit_image():
    a, b = frames(2, 48, 1)[..., 0]
    b = (0.5 * a + 0.5 * b).astype(np.uint8)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "full": True}
    full = structural_similarity(a, b, **settings)[1]
    assert ssim(a, b) == pytest.approx(full[5:-5, 5:-5].mean(), rel=1e-9)
    assert ssim(a, a) == pytest.approx(1.0)


def test_metrics_take_arrays_in_either_axis_order_and_score_them():
    metric = registry.metric("psnr-grey128")
    clips = [frames(seed=s) for s in range(3)]
    assert measure(metric, clips, clips).value == 100.0
    moved = [c.transpose(0, 3, 1, 2) for c in clips]
    noisy = measure(metric, moved, clips[1:] + clips[:1])
    assert noisy.value is not None and noisy.value < 30 and noisy.n == 3 and noisy.interval is None
    with pytest.raises(UsageError, match="uint8"):
        measure(metric, [clips[0].astype(float)], [clips[0]])
    with pytest.raises(UsageError, match="needs 1 reference clips, got 0"):
        measure(metric, [clips[0]])


def test_unequal_lengths_are_cut_and_counted_and_an_empty_clip_is_named():
    metric = registry.metric("ssim-grey128")
    score = measure(metric, [frames(4)], [frames(6)])
    assert score.details["frames"] == 4 and score.details["frames_trimmed"] == 2
    empty = measure(metric, [np.zeros((0, 8, 8, 3), np.uint8)], [frames(6)])
    assert empty.value is None and next(iter(empty.failures.values())).startswith("empty")


def test_the_fingerprint_changes_with_the_settings(monkeypatch):
    before = Pixels().fingerprint()
    assert before == Pixels().fingerprint()
    monkeypatch.setattr("floatbench.metrics.basic.SIDE", 64)
    assert Pixels().fingerprint() != before


def test_constant_frames_have_a_value():
    grey, dark = np.full((16, 16), 128, np.uint8), np.full((16, 16), 30, np.uint8)
    assert ssim(grey, grey) == pytest.approx(1.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(grey, dark) == pytest.approx((2 * 128 * 30 + c1) / (128**2 + 30**2 + c1), rel=1e-9)
    assert psnr(grey, dark) == pytest.approx(10 * np.log10(255**2 / 98**2))
