"""Self-judged: the cells of a network that taught the system are marked, in every table and comparison."""

from __future__ import annotations

import pytest

from floatbench.baselines import manifest as manifests
from floatbench.engine.judges import JUDGES, is_self_judged, self_judged
from floatbench.errors import UsageError
from floatbench.metrics import registry

SYNC = {"trained_with": ["syncnet"]}


@pytest.mark.parametrize("metric", ["lse-direct-d", "lse-ffmpeg-c", "lse-wholeframe-c-75"])
def test_every_reading_of_lse_is_judged_by_a_syncnet(metric):
    backbones = registry.metric(metric).info.backbones
    assert self_judged(SYNC, backbones) == ["self-judged: trained against a SyncNet"]
    assert self_judged({"trained_with": ["arcface"]}, backbones) == []
    assert self_judged({}, backbones) == []


def test_a_small_bundled_network_and_another_family_judge_nobody_they_did_not_teach():
    assert self_judged(SYNC, registry.metric("lse-tiny-c").info.backbones) == []
    assert self_judged(SYNC, registry.metric("csim-gt").info.backbones) == []


def test_each_family_judges_at_least_one_metric():
    used = {name for metric in registry.metric_ids() for name in registry.metric(metric).info.backbones}
    for family in JUDGES:
        marks = self_judged({"trained_with": [family]}, used)
        assert len(marks) == 1 and is_self_judged(marks), family
    assert not is_self_judged(["few rows: 2 rows of 8 numbers"])


def test_a_manifest_may_only_name_a_family_that_is_known(tmp_path):
    folder = manifests.folders()["edtalk"]
    text = (folder / "manifest.toml").read_text()
    for name in JUDGES:
        (tmp_path / "manifest.toml").write_text(f'trained_with = ["{name}"]\n{text}')
        assert manifests.read(tmp_path).trained_with == (name,)
    (tmp_path / "manifest.toml").write_text(f'trained_with = ["lipnet"]\n{text}')
    with pytest.raises(UsageError, match="trained_with"):
        manifests.read(tmp_path)
