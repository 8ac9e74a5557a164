"""`explain` finds a planted difference and what it is worth."""

from __future__ import annotations

import pytest
from report_toys import toy_protocol, write_run

from floatbench.reports.explain import differences, gaps, markdown
from floatbench.reports.loading import load_run


def pair(tmp_path, more_a=None, more_b=None, a=2.0, b=2.0):
    one = write_run(tmp_path / "a", {"mine": a}, **(more_a or {}))
    two = write_run(tmp_path / "b", {"mine": b}, **(more_b or {}))
    return load_run(one), load_run(two)


def test_equal_runs_have_no_difference(tmp_path):
    a, b = pair(tmp_path)
    assert differences(a, b) == []
    assert all(gap.equal for gap in gaps(a, b))
    assert "nothing different" in markdown(a, b, [], gaps(a, b))


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        ({"seed": 5}, "seed"),
        ({"protocol": toy_protocol(coverage_floor=0.5)}, "protocol"),
        ({"reference": 1.0}, "media"),
        ({"described": {"preset": "official"}}, "method"),
    ],
)
def test_a_planted_difference_is_named(tmp_path, change, factor):
    a, b = pair(tmp_path, more_b=change)
    assert factor in {found.factor for found in differences(a, b)}


def test_other_videos_explain_the_gap_alone(tmp_path):
    a, b = pair(tmp_path, a=2.0, b=3.0)
    (fid,) = [gap for gap in gaps(a, b) if gap.metric == "toy-fid"]
    assert (fid.a, fid.b, fid.steps, fid.named) == (2.0, 3.0, {"generated features": 3.0}, "generated features")


def test_other_settings_explain_the_gap_alone(tmp_path):
    double = toy_protocol(settings={"toy-fid": {"scale": 2.0}})
    a, b = pair(tmp_path, more_b={"protocol": double})
    (fid,) = [gap for gap in gaps(a, b) if gap.metric == "toy-fid"]
    assert (fid.steps, fid.named) == ({"settings": 4.0}, "settings")


def test_failed_clips_are_a_factor(tmp_path):
    loose = {"protocol": toy_protocol(coverage_floor=0.5)}
    a, b = pair(tmp_path, loose, {**loose, "failed": {"mine": ("clip 0",)}}, a=2.0, b=2.5)
    (fid,) = [gap for gap in gaps(a, b) if gap.metric == "toy-fid"]
    assert fid.steps == {"clips": 2.0, "generated features": 2.5}
    assert fid.named == "generated features"


def test_features_of_two_networks_are_never_mixed(tmp_path):
    a, b = pair(tmp_path, a=2.0, b=3.0)
    for run, mark in ((a, "1"), (b, "2")):
        run.info.metrics["toy-fid"].backbones["toy"] = mark * 64
    (fid,) = [gap for gap in gaps(a, b) if gap.metric == "toy-fid"]
    assert set(fid.steps) == {"weights of all features"}
