"""What a metric sees of known damage is read off a run by the paired test, and written as a page."""

from __future__ import annotations

import numpy as np
import pytest
from report_toys import toy_protocol, write_run

from floatbench.cli.app import main
from floatbench.errors import DataError
from floatbench.reports.loading import load_run
from floatbench.reports.sight import Ladder, Look, sights
from floatbench.reports.sight_page import write_page

PEOPLE = 12
NOISE = 0.1 * np.random.default_rng(0).standard_normal(PEOPLE)


@pytest.fixture
def run(tmp_path):
    """`toy-fid` grows with the distance, `toy-csim` (higher is better) too: it is fooled by every damage."""
    methods = {
        "reference": np.zeros(PEOPLE), "reencoded": 1 + NOISE, "blur:2": 1 + NOISE[::-1], "blur:5": 3 + NOISE[::-1],
        "blur:12": 8 + NOISE, "noise:5": 0.2 + NOISE, "noise:15": 0.1 + NOISE, "noise:40": 0.1 - NOISE,
        "shifted:20": 0.0 + np.abs(NOISE), "swapped": 2 - NOISE[::-1],
    }  # fmt: skip
    return load_run(write_run(tmp_path / "run", methods, protocol=toy_protocol(n=PEOPLE)))


def ladder(sight, damage: str) -> Ladder:
    return next(found for found in sight.ladders if found.damage == damage)


def test_a_damage_is_seen_from_the_strength_from_which_on_the_test_decides(run):
    fid = next(sight for sight in sights(run) if sight.metric == "toy-fid")
    blur = ladder(fid, "blur")
    assert blur.strengths == (2, 5, 12)
    assert [look.word for look in blur.looks] == ["open", "worse", "worse"] and blur.from_on("worse") == 5
    assert {look.word for look in ladder(fid, "noise").looks} == {"blind"}, "below 5 % of the widest move"
    assert ladder(fid, "sound-shift").strengths == (20.0,) and ladder(fid, "swapped-sound").from_on("worse") == 1


def test_a_metric_that_prefers_the_damage_is_called_fooled(run):
    csim = next(sight for sight in sights(run) if sight.metric == "toy-csim")
    assert ladder(csim, "blur").from_on("better") == 5 and ladder(csim, "blur").from_on("worse") is None
    assert "`toy-csim` sees none of these damages; is blind to noise, sound-shift; prefers" in write_page([run])


def test_a_greater_strength_that_is_not_seen_breaks_the_ladder():
    looks = tuple(Look(f"blur:{s}", 1.0, word) for s, word in ((2, "worse"), (5, "open"), (12, "worse")))
    assert Ladder("blur", "", (2, 5, 12), looks).from_on("worse") == 12
    assert Ladder("blur", "", (2, 5), looks[:2]).from_on("worse") is None


def test_the_page_counts_the_clips_whose_own_sound_wins(run):
    fid, csim = sights(run)
    assert (fid.won["swapped"], csim.won["swapped"]) == ((12, 12), (0, 12))
    page = write_page([run])
    assert "| `toy-fid` | 12 of 12 | 12 of 12 |" in page and "| blur | 5 | **better** 5 |" in page
    assert f"{PEOPLE} clips of {PEOPLE} people" in page and str(run.folder) not in page
    again = page.partition("## Made again")[2]
    assert all(name in again for name in (*run.scores.metrics, *run.scores.methods))


def test_the_command_writes_the_page_and_refuses_a_run_without_the_base(run, tmp_path, capfd):
    with pytest.raises(SystemExit, match="0"):
        main(["metrics", "tell", str(run.folder), "--out", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == write_page([run])
    bare = write_run(tmp_path / "bare", {"reference": 0.0, "blur:2": 1.0}, protocol=toy_protocol(n=PEOPLE))
    with pytest.raises(SystemExit, match="4"):
        main(["metrics", "tell", str(bare)])
    assert "bare lacks reencoded" in capfd.readouterr().err
    with pytest.raises(DataError, match="lacks reencoded"):
        sights(load_run(bare))
