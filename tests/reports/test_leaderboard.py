"""The board only grows, every entry is verified, and places come from the paired test."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
from report_toys import toy_protocol, write_run

from floatbench.errors import UsageError
from floatbench.methods.source_video import marked
from floatbench.protocol.load import load_protocol
from floatbench.records import write_record
from floatbench.reports.leaderboard import difference, entries, place, run_problems, shipped_board, submit, validate
from floatbench.reports.leaderboard_files import build, to_csv, to_markdown
from floatbench.reports.loading import load_run


def run_of(tmp_path, name, distance, **more):
    return load_run(write_run(tmp_path / name, {name: distance, "reference": 0.0, "shifted:5": 0.0}, **more))


def fid_ranks(board):
    placed = [p for p in place(entries(board)) if p.cell.metric == "toy-fid"]
    return {(p.entry.system, p.entry.version): (p.rank, p.tied) for p in placed}


def test_a_submitted_entry_is_valid_and_its_scores_follow_from_the_features(tmp_path):
    board, run = tmp_path / "board", run_of(tmp_path, "mine", 2.0)
    entry = submit(run, "mine", board=board)
    assert validate(board) == {entry.id: []}
    assert run_problems(entry, run) == []
    assert len(entry.features) == 4


def test_places_come_from_the_paired_test_between_entries_of_different_runs(tmp_path):
    board, wide = tmp_path / "board", toy_protocol(n=12)
    noise = np.random.default_rng(0).standard_normal(12)
    # every interval reaches 0.5 either way: those of a and b overlap, and yet b is worse on every clip
    for name, distance in (("a", 3 + noise), ("b", 3.3 + noise), ("c", 3.3 - noise), ("d", 19.0)):
        submit(run_of(tmp_path, name, distance, protocol=wide), name, board=board)
    assert fid_ranks(board) == {("a", 1): (1, True), ("b", 1): (2, True), ("c", 1): (1, True), ("d", 1): (4, False)}


def test_an_entry_without_what_a_test_needs_wins_and_gains_nothing(tmp_path):
    """An older entry kept no parts of its scores, another was measured on too few people."""
    board, wide = tmp_path / "board", toy_protocol(n=12)
    for name, distance in (("a", 3.0), ("b", 4.0)):
        submit(run_of(tmp_path, name, distance, protocol=wide), name, board=board)
    run = run_of(tmp_path, "old", 2.9999, protocol=wide)
    for cell in run.scores.scores:
        cell.folds = []
    old = submit(run, "old", board=board)
    assert fid_ranks(board) == {("a", 1): (1, False), ("b", 1): (2, False), ("old", 1): (None, False)}
    assert "| untested | old v1 |" in build(board)[1].read_text()
    assert validate(board)[old.id] == []


def test_an_entry_of_before_keeps_its_id(tmp_path):
    run = run_of(tmp_path, "mine", 2.0)
    for cell in run.scores.scores:
        cell.folds = []
    entry = submit(run, "mine", board=tmp_path / "board")
    path = tmp_path / "board" / "entries" / f"{entry.id}.json"
    record = json.loads(path.read_text())
    for cell in record["scores"]["scores"]:
        del cell["folds"], cell["common_folds"]
    path.write_text(json.dumps(record))
    assert validate(tmp_path / "board") == {entry.id: []}
    record.pop("id")
    text = json.dumps(record, sort_keys=True, ensure_ascii=True)
    assert entry.id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_a_new_version_supersedes_and_the_old_entry_stays(tmp_path):
    board = tmp_path / "board"
    first = submit(run_of(tmp_path, "mine", 2.0), "mine", board=board)
    old = entries(board)
    second = submit(run_of(tmp_path, "again", 1.0), "again", system="mine", board=board)
    assert (second.version, second.supersedes) == (2, first.id)
    assert fid_ranks(board) == {("mine", 1): (None, False), ("mine", 2): (1, False)}
    assert validate(board) == {first.id: [], second.id: []}
    found = difference(old, entries(board))
    assert [len(found[kind]) for kind in ("added", "superseded", "removed", "changed")] == [1, 1, 0, 0]
    assert len(difference(entries(board), old)["removed"]) == 1


def test_the_same_scores_are_not_taken_twice(tmp_path):
    run = run_of(tmp_path, "mine", 2.0)
    submit(run, "mine", board=tmp_path / "board")
    with pytest.raises(UsageError, match="the same scores already"):
        submit(run, "mine", board=tmp_path / "board")


def test_a_changed_entry_no_longer_fits_its_id(tmp_path):
    board = tmp_path / "board"
    entry = submit(run_of(tmp_path, "mine", 2.0), "mine", board=board)
    path = board / "entries" / f"{entry.id}.json"
    record = json.loads(path.read_text())
    record["scores"]["scores"][0]["value"] = 0.1
    path.write_text(json.dumps(record))
    assert "does not fit the id" in validate(board)[entry.id][0]
    assert len(difference([entry], entries(board))["changed"]) == 1


def test_scores_that_do_not_follow_from_the_features_are_found(tmp_path):
    run = run_of(tmp_path, "mine", 2.0)
    entry = submit(run, "mine", board=tmp_path / "board")
    next(cell for cell in entry.cells if cell.metric == "toy-fid").value = 1.5
    assert "toy-fid: 1.5 in the entry, 2.0 from the features" in run_problems(entry, run)
    other = run_of(tmp_path, "other", 2.5)
    assert "the run has no method mine" in run_problems(entry, other)


def test_damaged_features_are_found(tmp_path):
    run = run_of(tmp_path, "mine", 2.0)
    entry = submit(run, "mine", board=tmp_path / "board")
    entry.features["clip 0"] = "0" * 64
    assert run_problems(entry, run) == ["the features of the run are not those of the entry"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"ranked": False, "unranked_because": ["only 4 of 9 clips were run"]}, "only 4 of 9 clips"),
        ({"failed": {"mine": ("clip 0",)}}, "coverage 3 of 4 is below 0.9"),
        ({"n_clips": 99}, "its counts are not those of the run"),
    ],
)
def test_what_may_not_be_ranked_is_refused_and_nothing_is_written(tmp_path, more, why):
    with pytest.raises(UsageError, match=why):
        submit(run_of(tmp_path, "mine", 2.0, **more), "mine", board=tmp_path / "board")
    assert entries(tmp_path / "board") == []


def test_a_run_without_controls_or_with_a_broken_rule_is_refused(tmp_path):
    alone = load_run(write_run(tmp_path / "alone", {"mine": 2.0}))
    with pytest.raises(UsageError, match="the controls were not run"):
        submit(alone, "mine", board=tmp_path / "board")
    broken = load_run(write_run(tmp_path / "broken", {"mine": 2.0, "reference": 0.0, "shifted:5": 1.0}))
    with pytest.raises(UsageError, match="breaks the rule 'sound changes nothing'"):
        submit(broken, "mine", board=tmp_path / "board")


def test_what_must_be_known_of_a_system_stands_beside_its_name(tmp_path):
    board, run = tmp_path / "results" / "leaderboard", run_of(tmp_path, "mine", 2.0)
    run.scores.methods["mine"]["marks"] = ["96x64, reference 256x256"]
    submit(run, "mine", board=board)
    build(board)
    rows = list(csv.DictReader((board.parent / "leaderboard.csv").read_text().splitlines()))
    assert {row["marks"] for row in rows} == {"96x64, reference 256x256"}
    assert "| mine v1 (96x64, reference 256x256) |" in (board.parent / "leaderboard.md").read_text()


@pytest.mark.parametrize(("rule", "mark"), [("still", "the still"), ("other-clip", "another clip"), ("own", "")])
def test_the_board_marks_a_system_that_was_given_a_video_and_refuses_one_that_saw_the_target(tmp_path, rule, mark):
    board, run = tmp_path / "results" / "leaderboard", run_of(tmp_path, "mine", 2.0)
    run.scores.methods["mine"] = marked(
        run.scores.methods["mine"], run.info.protocol.model_copy(update={"source_video": rule})
    )
    if not mark:
        with pytest.raises(UsageError, match="shown beside the ranked rows, never among them"):
            submit(run, "mine", board=board)
        return
    submit(run, "mine", board=board)
    assert f"| mine v1 (source video: {mark}) |" in build(board)[1].read_text()


def test_the_board_marks_a_number_whose_judge_taught_the_system(tmp_path):
    board, run = tmp_path / "results" / "leaderboard", run_of(tmp_path, "mine", 2.0)
    for cell in run.scores.scores:
        if (cell.method, cell.metric) == ("mine", "toy-fid"):
            cell.marks = ["self-judged: trained against a SyncNet"]
    submit(run, "mine", board=board)
    page = build(board)[1].read_text()
    assert "| mine v1 | 2 [1.5, 2.5] (self-judged) | 4 of 4 |" in page and page.count("(self-judged)") == 1
    assert "- Mine: toy-fid is self-judged: trained against a SyncNet" in page


def test_the_built_files_are_the_same_bytes_each_time_and_show_ties(tmp_path):
    board = tmp_path / "results" / "leaderboard"
    for name, distance in (("a", 2.0), ("b|<b>", 2.5)):
        submit(run_of(tmp_path, name, distance), name, board=board)
    first = [path.read_bytes() for path in build(board)]
    assert first == [path.read_bytes() for path in build(board)]
    rows = list(csv.DictReader((board.parent / "leaderboard.csv").read_text().splitlines()))
    assert {row["rank"] for row in rows if row["metric"] == "toy-fid"} == {"1"}
    page = (board.parent / "leaderboard.md").read_text()
    assert "| =1 | a v1 | 2 [1.5, 2.5] | 4 of 4 |" in page
    assert ": reference 0, shifted:5 0." in page
    assert "<b>" not in page


def test_an_entry_keeps_the_notes_on_its_clips_and_system_and_none_on_others(tmp_path):
    plain = toy_protocol()
    seen = plain.clips[0].model_copy(update={"labels": {"edtalk_list": "train"}})
    methods = {"mine": 2.0, "theirs": 3.0, "reference": 0.0, "shifted:5": 0.0}
    protocol = plain.model_copy(update={"clips": (seen, *plain.clips[1:])})
    run = load_run(write_run(tmp_path / "both", methods, protocol=protocol))
    run.info.methods["theirs"]["trained_on"] = run.scores.methods["theirs"]["trained_on"] = ["HDTF"]
    about_clips = "1 of 4 clips and 0 of 4 people are in EDTalk's published training list"
    run.scores.notes = [about_clips, "theirs was trained on HDTF"]
    entry = submit(run, "mine", board=tmp_path / "results" / "leaderboard")
    assert about_clips in entry.scores.notes
    assert not any("theirs" in note for note in entry.scores.notes)
    page = build(tmp_path / "results" / "leaderboard")[1].read_text()
    assert f"- {about_clips}" in page


def test_a_control_that_is_blind_does_not_keep_a_run_from_the_board(tmp_path):
    """Its rules are left out of the run's record, and of the entry's as well."""
    methods = {"mine": 2.0, "reference": 0.0, "shifted:5": 0.0, "wrong-identity": 0.0}
    run = load_run(write_run(tmp_path / "run", methods))
    with pytest.raises(UsageError, match="breaks the rule"):
        submit(run, "mine", board=tmp_path / "board")
    run.scores.blind_controls = {"wrong-identity": "it borrows the clip's own pictures"}
    assert validate(tmp_path / "board") == {}
    entry = submit(run, "mine", board=tmp_path / "board")
    assert validate(tmp_path / "board") == {entry.id: []}


def test_the_board_that_comes_along_is_valid_and_its_tables_are_those_of_its_entries(tmp_path):
    synthetic = load_protocol("synthetic")
    held = entries(shipped_board())
    assert {entry.system for entry in held} == {"float-tiny", "float-tiny@paper", "float-tiny@official"}
    wrong = validate(shipped_board(), {synthetic.id: synthetic.hash})
    assert wrong == {entry.id: [] for entry in held}
    board = tmp_path / "leaderboard"
    for entry in held:
        assert entry.scores.environment["dirty"] is False
        write_record(entry.path(board), entry)
    for path in build(board):
        assert path.read_bytes() == (shipped_board().parent / path.name).read_bytes()


def test_numbers_of_other_networks_stand_in_a_table_of_their_own(tmp_path):
    """A variant whose network was trained anew has another scale: old values are kept, and never beside new ones."""
    board = tmp_path / "board"
    for name, network, distance in (("mine", "a" * 64, 2.0), ("again", "b" * 64, 1.0)):
        run = run_of(tmp_path, name, distance)
        for record in run.scores.metrics.values():
            record.weights["some-network"] = network
        submit(run, name, system="mine", board=board)
    page = to_markdown(place(entries(board)))
    tables = [table for table in page.split("### ")[1:] if "`toy-fid`" in table]
    assert [("v1 |" in table, "v2 |" in table) for table in tables] == [(False, True), (True, False)]
    assert "other networks" not in tables[0] and "Made with `some-network` aaaaaaaaaaaa, " in tables[1]
    lines = to_csv(place(entries(board))).splitlines()
    assert lines[0].endswith(",networks") and sum("some-network:bbbbbbbbbbbb" in line for line in lines) > 0
