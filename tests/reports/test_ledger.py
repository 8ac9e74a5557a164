"""Verdicts say how near two numbers lie and nothing more; readings are named and swept."""

from __future__ import annotations

import pytest
from report_toys import toy_protocol, write_run

from floatbench.errors import UsageError
from floatbench.reports import ledger as room
from floatbench.reports.ledger import ledger, markdown, verdict_of
from floatbench.reports.loading import load_run
from floatbench.reports.published import Reading


def entry(entries, table, row, column):
    (found,) = [e for e in entries if (e.table, e.row, e.column) == (table, row, column)]
    return found


@pytest.mark.parametrize(
    ("value", "interval", "verdict"),
    [
        (105.0, None, "within"),
        (94.9, None, "near"),
        (115.0, None, "near"),
        (115.1, None, "apart"),
        (84.9, None, "apart"),
        (150.0, (99.0, 201.0), "within"),
        (150.0, (101.0, 199.0), "apart"),
    ],
)
def test_the_verdict_follows_from_distance_and_interval(value, interval, verdict):
    assert verdict_of(100.0, value, interval) == verdict


def test_each_cell_of_the_data_set_gets_a_verdict(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"float@official": 21.3, "hallo": 60.0}))
    entries = ledger(run)
    assert len(entries) == 6 * 7 + 4 * 5 + 4 * 5
    assert entry(entries, 1, "FLOAT", "FID").verdict == "within"
    assert entry(entries, 1, "Hallo", "FID").verdict == "apart"
    assert entry(entries, 1, "FLOAT", "FVD").verdict == "not run"
    assert entry(entries, 1, "SadTalker", "FID").verdict == "not run"
    assert entry(entries, 2, "B: A + 3DPose", "LSE-D").verdict == "undefined by the paper"
    assert entry(entries, 3, "FLOAT", "NFE").verdict == "within"


def test_the_official_preset_stands_for_the_papers_row_before_the_default_one(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"float": 99.0, "float@official": 21.1}))
    assert entry(ledger(run), 1, "FLOAT", "FID").method == "float@official"


def test_evaluations_of_long_clips_are_compared_a_window(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"float": 25.0}, details={"nfe": 20, "windows": 2}))
    found = entry(ledger(run), 3, "FLOAT", "NFE")
    assert (found.value, found.verdict) == (10.0, "within")


def test_other_rows_can_be_named(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"mine": 21.7}))
    found = ledger(run, {"table3:diffusion-x0": "mine"})
    assert entry(found, 3, "diffusion, x0 prediction", "FID").verdict == "within"
    with pytest.raises(UsageError, match="no row table9:x"):
        ledger(run, {"table9:x": "mine"})
    with pytest.raises(UsageError, match="no method theirs"):
        ledger(run, {"table3:diffusion-x0": "theirs"})


def test_seeded_random_weights_and_other_data_sets_are_never_compared(tmp_path):
    reasons = ["unscorable: seeded random weights (inception-fid)"]
    fabricated = write_run(tmp_path / "a", {"float": 21.1}, ranked=False, unranked_because=reasons)
    assert {e.verdict for e in ledger(load_run(fabricated)) if e.column == "FID"} == {"not run"}
    other = write_run(tmp_path / "b", {"float": 21.1}, dataset="folder")
    assert {e.verdict for e in ledger(load_run(other))} == {"not run", "undefined by the paper"}


def test_the_ledger_never_claims_more_and_names_what_is_open(tmp_path):
    run = load_run(write_run(tmp_path / "run", {"float": 21.1}))
    text = markdown(run, ledger(run))
    assert "reproduced" not in text.lower()
    assert "- FVD: the paper says 16 frames, not which" in text
    assert "| toy-fid | within |" in text


def test_a_sweep_scores_other_readings_from_the_runs_features(tmp_path, monkeypatch):
    variants = ("toy-fid", "toy-fid-double", "fid")
    monkeypatch.setattr(room, "readings", lambda: {"FID": Reading("FID", "which toy", variants)})
    run = load_run(write_run(tmp_path / "run", {"float": 10.5}, protocol=toy_protocol()))
    found = entry(ledger(run, sweep=True), 1, "FLOAT", "FID")
    assert [(s.reading, s.value, s.nearest) for s in found.sweep[:2]] == [
        ("toy-fid", 10.5, False),
        ("toy-fid-double", 21.0, True),
    ]
    assert found.sweep[2].value is None
    assert "--metrics fid" in found.sweep[2].why
    assert "**toy-fid-double 21 (nearest)**" in markdown(run, [found])
