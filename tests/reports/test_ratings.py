"""Mean opinion scores: closed forms, intervals by simulation, attention checks, then the command as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from page_toys import write_page_run
from report_toys import toy_protocol

from floatbench.cli.app import main
from floatbench.errors import DataError, UsageError
from floatbench.reports.loading import load_run
from floatbench.reports.ratings import _Given, _interval, opinions, ratings_markdown

METHODS = {"good": 1.0, "fair": 2.0, "bad": 3.0}


@pytest.fixture
def run(tmp_path):
    return load_run(write_page_run(tmp_path / "run", METHODS, clips=2))


def write_ratings(path: Path, run, grades: dict[str, int], wrong: int = 0, **more) -> Path:
    """One person's grades of each method, the same on both clips, with an attention check in each rating."""
    given = [
        {"clip": f"clip {c}", "method": name, "scores": {"overall": grade, "sync": 3},
         "check": {"wanted": 2, "given": 3 if k < wrong else 2}}
        for k, (c, (name, grade)) in enumerate((c, item) for c in (0, 1) for item in grades.items())
    ]  # fmt: skip
    record = {"kind": "floatbench-ratings", "schema_version": 1, "protocol": run.scores.label,
              "protocol_hash": run.scores.protocol_hash, "voter": path.stem, "seed": 1,
              "ratings": given, **more}  # fmt: skip
    path.write_text(json.dumps(record))
    return path


def test_means_are_those_of_all_raters_and_metrics_are_ranked_against_them(tmp_path, run):
    files = [
        write_ratings(tmp_path / "anna.json", run, {"good": 5, "fair": 3, "bad": 1}),
        write_ratings(tmp_path / "ben.json", run, {"good": 4, "fair": 4, "bad": 2}),
    ]
    found = opinions(files, run)
    overall = [one for one in found.opinions if one.question == "overall"]
    assert [(one.method, one.mean, one.ratings, one.raters, one.clips) for one in overall] == [
        ("good", 4.5, 4, 2, 2), ("fair", 3.5, 4, 2, 2), ("bad", 1.5, 4, 2, 2),
    ]  # fmt: skip
    assert all(one.low is not None and one.low <= one.mean <= one.high for one in overall)
    tau = {(one.question, one.metric): one for one in found.correlations}
    assert (tau["overall", "toy-fid"].systems, tau["overall", "toy-csim"].systems) == (1.0, -1.0)
    assert (tau["overall", "toy-fid"].n_systems, tau["overall", "toy-fid"].n_videos) == (3, 6)
    assert tau["sync", "toy-fid"].systems is None  # everybody is given a 3: nothing to rank
    text = ratings_markdown(found)
    assert "| good | 4.50 [4.00, 5.00] | 4 | 2 | 2 |" in text and "| toy-fid | +1.00 (3) | +1.00 (6) |" in text


def test_one_rater_or_one_person_gives_a_mean_without_an_interval(tmp_path, run):
    found = opinions([write_ratings(tmp_path / "anna.json", run, {"good": 5})], run)
    assert [(one.mean, one.low, one.high) for one in found.opinions] == [(5.0, None, None), (3.0, None, None)]
    clip = toy_protocol(n=1).clips[0]
    alone = [_Given(rater, clip.identity, clip.id, "good", 4) for rater in ("a", "b")]
    assert _interval("overall", alone) == (None, None)


def test_the_interval_covers_the_mean_of_other_raters_and_people():
    """Simulated: raters and people each move a score, and the interval must allow for both."""
    random = np.random.default_rng(0)
    held = []
    for _ in range(150):
        of_rater, of_person = random.normal(0, 0.5, 12), random.normal(0, 0.5, 12)
        given = [
            _Given(str(r), str(p), str(p), "mine", 3 + of_rater[r] + of_person[p] + random.normal(0, 0.5))
            for r in range(12)
            for p in range(12)
        ]
        low, high = _interval("overall", given)
        held.append(low <= 3 <= high)
    assert 0.88 <= np.mean(held) <= 1.0


def test_a_rater_who_misses_the_attention_checks_does_not_count(tmp_path, run):
    careful = write_ratings(tmp_path / "anna.json", run, {"good": 5, "fair": 3, "bad": 1}, wrong=1)
    careless = write_ratings(tmp_path / "ben.json", run, {"good": 1, "fair": 1, "bad": 5}, wrong=2)
    found = opinions([careful, careless], run)
    assert (found.left_out, found.raters, found.checks) == ({"ben": "2 of 6"}, 2, 12)
    assert found.opinions[0].mean == 5.0
    assert "Left out: ben (2 of 6 checks wrong)." in ratings_markdown(found)
    with pytest.raises(UsageError, match="no rating is left"):
        opinions([careless], run)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"protocol_hash": "0" * 64}, "judges toy-toy@"),
        ({"ratings": []}, "holds no rating"),
        ({"ratings": [{"clip": "x", "method": "good", "scores": {}}]}, "has no clip 'x'"),
        ({"ratings": [{"clip": "clip 0", "method": "x", "scores": {}}]}, "has no method 'x'"),
        ({"schema_version": 2}, "schema version 2"),
    ],
)
def test_ratings_of_something_else_are_refused_in_a_line(tmp_path, run, more, why):
    with pytest.raises(UsageError, match=why):
        opinions([write_ratings(tmp_path / "anna.json", run, {"good": 5}, **more)], run)


def test_a_grade_beyond_the_scale_is_damage(tmp_path, run):
    with pytest.raises(DataError, match="is no file of ratings"):
        opinions([write_ratings(tmp_path / "anna.json", run, {"good": 6})], run)


def test_a_session_that_was_saved_twice_is_refused(tmp_path, run):
    first = write_ratings(tmp_path / "first.json", run, {"good": 5}, voter="anna")
    last = write_ratings(tmp_path / "last.json", run, {"good": 5, "fair": 4}, voter="anna")
    with pytest.raises(UsageError, match="in the same session"):
        opinions([first, last], run)
    again = write_ratings(tmp_path / "again.json", run, {"good": 5, "fair": 4}, voter="anna", seed=2)
    assert opinions([last, again], run).opinions[0].ratings == 4


def test_the_command_takes_votes_and_ratings_together(tmp_path, capfd, run, monkeypatch):
    rated = write_ratings(tmp_path / "anna.json", run, {"good": 5, "fair": 3, "bad": 1})
    voted = tmp_path / "votes.json"
    vote = {"clip": "clip 0", "left": "good", "right": "bad", "choice": "left"}
    record = json.loads(rated.read_text()) | {"kind": "floatbench-votes", "question": "overall", "votes": [vote]}
    del record["ratings"]
    voted.write_text(json.dumps(record))
    for files, keys in (((rated,), {"ratings"}), ((rated, voted), {"ratings", "agreements", "wins", "votes"})):
        with pytest.raises(SystemExit) as stopped:
            main(["votes", *map(str, files), str(run.folder), "--json"])
        assert not stopped.value.code
        assert keys <= json.loads(capfd.readouterr().out).keys()
