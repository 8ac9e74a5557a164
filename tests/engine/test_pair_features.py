"""Features of two videos seen together: kept by the content of both, and looked at once."""

from __future__ import annotations

import numpy as np
import pytest
from engine_toys import ToyDataset, protocol

from floatbench.engine.features import FeatureStore, extract_pair, feature_key
from floatbench.engine.runner import RunOptions, run
from floatbench.errors import ClipError
from floatbench.metrics import full_size
from floatbench.types import ClipMedia


def frames(seed):
    return ClipMedia(np.random.default_rng(seed).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))


def test_the_key_follows_from_both_videos_and_their_order():
    a, b, c = map(frames, range(3))
    uses = frozenset({"frames"})
    keys = {feature_key("f", uses, *pair) for pair in ((a, b), (b, a), (a, c), (a,))}
    assert len(keys) == 4
    assert feature_key("f", uses, a, b) == feature_key("f", uses, frames(0), frames(1))


def test_two_videos_are_looked_at_once_and_a_failure_is_kept(tmp_path, monkeypatch):
    calls, plain = [], full_size.ColourPixels.extract_pair
    monkeypatch.setattr(
        full_size.ColourPixels, "extract_pair", lambda self, *both: calls.append(both) or plain(self, *both)
    )
    store, backbone = FeatureStore(tmp_path, None), full_size.ColourPixels()
    keys = {extract_pair(store, backbone, "f", frames(0), frames(k)) for k in (1, 1, 2)}
    assert len(keys) == len(calls) == 2
    tiny = ClipMedia(np.zeros((1, 8, 8, 3), np.uint8))
    key = extract_pair(store, backbone, "f", tiny, tiny)
    assert extract_pair(store, backbone, "f", tiny, tiny) == key and len(calls) == 3
    with pytest.raises(ClipError, match="11 pixels are needed"):
        store.get(key)


def test_a_run_scores_them_beside_other_metrics_and_a_second_call_has_nothing_left(tmp_path, monkeypatch):
    data = ToyDataset(protocol(2, metrics=("psnr-rgb", "ssim-rgb", "psnr-grey128")))
    options = RunOptions(["reference", "frozen"], controls=False, out=tmp_path / "run", workers=0, device="cpu")
    result = run(data.protocol, data, options)
    cells = {cell.metric: cell for cell in result.scores.scores if cell.method == "reference"}
    assert (cells["psnr-rgb"].value, cells["ssim-rgb"].value, cells["psnr-rgb"].n) == (100, 1, 2)
    assert cells["psnr-grey128"].value == 100
    still = {cell.metric: cell.value for cell in result.scores.scores if cell.method == "frozen"}
    assert still["psnr-rgb"] < 40 and still["ssim-rgb"] < 0.95

    def never(*_):
        """Stands in for every look."""
        raise AssertionError("what is there was looked at again")

    monkeypatch.setattr(full_size.ColourPixels, "extract_pair", never)
    again = run(data.protocol, data, options)
    assert [cell.value for cell in again.scores.scores] == [cell.value for cell in result.scores.scores]
