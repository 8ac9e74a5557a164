"""Votes: agreement of metrics with people, closed forms first, then bad files, then the command as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from page_toys import write_page_run
from report_toys import toy_protocol

from floatbench.cli.app import main
from floatbench.errors import DataError, UsageError
from floatbench.reports.loading import load_run
from floatbench.reports.votes import Vote, correlate, markdown, rank_correlation, read_votes, shares

METHODS = {"good": 1.0, "fair": 2.0, "bad": 3.0}


def vote(clip: int, left: str, right: str, choice: str) -> dict:
    return {"clip": f"clip {clip}", "left": left, "right": right, "choice": choice, "seconds": 1.5}


def write_votes(path: Path, run, votes: list[dict], **more) -> Path:
    record = {"kind": "floatbench-votes", "schema_version": 1, "protocol": run.scores.label,
              "protocol_hash": run.scores.protocol_hash, "question": "overall", "voter": "p1", "seed": 1,
              "votes": votes, **more}  # fmt: skip
    path.write_text(json.dumps(record))
    return path


@pytest.fixture
def run(tmp_path):
    return load_run(write_page_run(tmp_path / "run", METHODS, clips=2))


def by_metric(found):
    return {item.metric: item for item in found.agreements}


def test_a_metric_that_people_follow_agrees_wholly_and_its_opposite_never(tmp_path, run):
    votes = [vote(c, a, b, "left") for c in (0, 1) for a, b in (("good", "fair"), ("good", "bad"), ("fair", "bad"))]
    found = by_metric(correlate([write_votes(tmp_path / "v.json", run, votes)], run))
    fid = found["toy-fid"]  # lower is better and follows the votes
    assert (fid.agreement, fid.pairs, fid.rank_correlation, fid.methods) == (1.0, 6, 1.0, 3)
    csim = found["toy-csim"]  # higher is better, so the same distances say the contrary
    assert (csim.agreement, csim.rank_correlation) == (0.0, -1.0)


def test_the_side_a_video_stood_on_changes_nothing(tmp_path, run):
    left = [vote(0, "good", "bad", "left"), vote(1, "fair", "bad", "right"), vote(1, "good", "fair", "tie")]
    flip = {"left": "right", "right": "left", "tie": "tie"}
    right = [{**v, "left": v["right"], "right": v["left"], "choice": flip[v["choice"]]} for v in left]
    a = correlate([write_votes(tmp_path / "a.json", run, left)], run)
    b = correlate([write_votes(tmp_path / "b.json", run, right)], run)
    assert a.wins == b.wins
    for one, two in zip(a.agreements, b.agreements, strict=True):
        assert (one.agreement, one.pairs, one.rank_correlation) == (two.agreement, two.pairs, two.rank_correlation)


def test_ties_are_counted_apart_and_are_half_a_win(tmp_path, run):
    found = correlate([write_votes(tmp_path / "v.json", run, [vote(0, "good", "bad", "tie")])], run)
    assert (found.votes, found.ties) == ({"overall": 1}, {"overall": 1})
    assert found.wins["overall"] == {"bad": 0.5, "good": 0.5}
    assert all(item.agreement is None and item.pairs == 0 for item in found.agreements)
    assert "no value for one clip" in markdown(found)


def test_shares_of_won_votes():
    votes = [Vote(clip="c", left="a", right="b", choice="left"), Vote(clip="c", left="b", right="a", choice="left"),
             Vote(clip="c", left="a", right="b", choice="left")]  # fmt: skip
    assert shares(votes) == {"a": pytest.approx(2 / 3), "b": pytest.approx(1 / 3)}


def test_the_rank_correlation_is_kendalls_tau_b():
    from scipy.stats import kendalltau

    won = {"a": 0.9, "b": 0.5, "c": 0.5, "d": 0.1, "e": 0.3}
    scores = {"a": 3.0, "b": 4.0, "c": 1.0, "d": 1.0, "e": 2.0}
    expected = kendalltau([won[n] for n in "abcde"], [scores[n] for n in "abcde"]).statistic
    assert rank_correlation(won, scores) == (pytest.approx(expected, abs=1e-12), 5)
    assert rank_correlation(won, dict.fromkeys(scores, 1.0)) == (None, 5)
    assert rank_correlation(won, {"a": 1.0, "b": 2.0}) == (None, 2)


def test_questions_of_several_people_stay_apart(tmp_path, run):
    a = write_votes(tmp_path / "a.json", run, [vote(0, "good", "bad", "left")])
    b = write_votes(tmp_path / "b.json", run, [vote(0, "good", "bad", "right")], question="sync", voter="p2")
    found = correlate([a, b], run)
    assert found.voters == 2
    assert [(i.question, i.agreement) for i in found.agreements if i.metric == "toy-fid"] == [
        ("overall", 1.0),
        ("sync", 0.0),
    ]


def test_votes_that_do_not_belong_to_the_run_are_refused(tmp_path, run):
    good = [vote(0, "good", "bad", "left")]
    cases = [
        ({"protocol_hash": "0" * 64}, good, "judges"),
        ({}, [vote(7, "good", "bad", "left")], "no clip 'clip 7'"),
        ({}, [vote(0, "good", "other", "left")], "no method 'other'"),
        ({}, [vote(0, "good", "good", "left")], "with itself"),
        ({}, [], "no vote"),
        ({"schema_version": 2}, good, "schema version 2"),
    ]
    for more, votes, why in cases:
        with pytest.raises(UsageError, match=why):
            correlate([write_votes(tmp_path / "v.json", run, votes, **more)], run)
    same = [write_votes(tmp_path / name, run, good) for name in ("a.json", "b.json")]
    with pytest.raises(UsageError, match="the same votes"):
        correlate(same, run)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "other"}', '{"schema_version": 1, "votes": 3}'])
def test_damaged_files_are_refused_by_name(tmp_path, text):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(DataError, match=r"v\.json"):
        read_votes(tmp_path / "v.json")


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_votes(tmp_path / "none.json")


def test_the_command_prints_a_table_or_one_document(tmp_path, run, capfd):
    file = write_votes(tmp_path / "v.json", run, [vote(0, "good", "bad", "left"), vote(1, "good", "bad", "left")])
    for arguments, check in (([], "| toy-fid | 1.00 [1.00, 1.00] | 2 |"), (["--json"], '"agreement": 1.0')):
        with pytest.raises(SystemExit) as stopped:
            main(["votes", str(file), str(run.folder), *arguments])
        assert stopped.value.code in (0, None)
        assert check in capfd.readouterr().out


def test_names_in_the_table_are_escaped(tmp_path):
    run = load_run(write_page_run(tmp_path / "run", {"<b>|x": 1.0, "y": 2.0}, protocol=toy_protocol("toy", n=1)))
    found = correlate([write_votes(tmp_path / "v.json", run, [vote(0, "<b>|x", "y", "left")])], run)
    assert "&lt;b&gt;\\|x" in markdown(found)
    assert "<b>" not in markdown(found)
