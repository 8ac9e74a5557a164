"""`floatbench report`, `ledger`, `explain` and `leaderboard` as a user types them."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import ModelCard
from report_toys import toy_protocol, write_run

from floatbench.cli.app import main


def floatbench(capfd, *arguments) -> tuple[int, str, str]:
    """Runs the command line in this process; returns exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    out, err = capfd.readouterr()
    return int(stopped.value.code or 0), out, err


def test_report_prints_table_1_or_writes_it(capfd, tmp_path):
    run = write_run(tmp_path / "run", {"mine": 3.0})
    code, out, err = floatbench(capfd, "report", run, "--table", 1)
    assert code == 0, err
    assert "| mine | 3 [2.5, 3.5] (4 of 4) |" in out
    code, out, _ = floatbench(capfd, "report", run, "--table", 1, "--format", "latex", "--out", tmp_path / "t.tex")
    assert (code, out) == (0, "")
    assert "\\toprule" in (tmp_path / "t.tex").read_text()


def test_markup_in_names_is_escaped_by_every_command(capfd, tmp_path):
    run = write_run(tmp_path / "run", {"<b>|name": 3.0})
    other = write_run(tmp_path / "other", {"<b>|name": 4.0})
    for arguments in (
        ("report", run, "--table", 1),
        ("ledger", run, "--row", "table1:hallo=<b>|name"),
        ("explain", run, other),
    ):
        code, out, err = floatbench(capfd, *arguments)
        assert code == 0, err
        assert "&lt;b&gt;\\|name" in out
        assert "<b>" not in out


def test_report_json_is_one_document(capfd, tmp_path):
    run = write_run(tmp_path / "run", {"mine": 3.0})
    assert json.loads(floatbench(capfd, "report", run, "--table", 2, "--json")[1])["number"] == 2
    assert json.loads(floatbench(capfd, "report", run, "--json")[1])[0]["protocol"] == "toy-hdtf"


def test_report_refuses_incomparable_runs_with_exit_code_2(capfd, tmp_path):
    a = write_run(tmp_path / "a", {"one": 1.0})
    b = write_run(tmp_path / "b", {"two": 1.0}, protocol=toy_protocol(seed=7))
    code, out, err = floatbench(capfd, "report", a, b, "--table", 1)
    assert (code, out) == (2, "")
    assert f"{a} and {b} cannot share a column" in err


def test_report_of_no_run_folder_is_exit_code_4(capfd, tmp_path):
    assert floatbench(capfd, "report", tmp_path, "--table", 1)[0] == 4


def test_commercial_safe_refuses_with_the_list(capfd, tmp_path):
    run = write_run(tmp_path / "run", {"mine": 3.0}, licence="CC BY-NC 4.0")
    code, _, err = floatbench(capfd, "report", run, "--table", 1, "--commercial-safe")
    assert code == 2
    assert "toy.pth (CC BY-NC 4.0)" in err


def test_ledger_prints_verdicts_and_takes_rows(capfd, tmp_path):
    run = write_run(tmp_path / "run", {"mine": 25.0})
    code, out, err = floatbench(capfd, "ledger", run, "--row", "table1:hallo=mine")
    assert code == 0, err
    assert "| 1 | Hallo (mine) | hdtf | FID | 25.363 | 25 [24.5, 25.5] | toy-fid | within |" in out
    assert len(json.loads(floatbench(capfd, "ledger", run, "--json")[1])) == 82
    assert floatbench(capfd, "ledger", run, "--row", "hallo")[0] == 2


def test_explain_prints_the_factor(capfd, tmp_path):
    a, b = write_run(tmp_path / "a", {"mine": 2.0}), write_run(tmp_path / "b", {"mine": 3.0})
    code, out, _ = floatbench(capfd, "explain", a, b)
    assert code == 0
    assert "| mine | toy-fid | 2 | 3 | generated features: 3 | generated features |" in out
    assert json.loads(floatbench(capfd, "explain", a, b, "--json")[1])["differences"][0]["factor"] == "generated"


def test_the_leaderboard_is_filled_checked_built_and_compared(capfd, tmp_path):
    board = tmp_path / "results" / "leaderboard"
    run = write_run(tmp_path / "run", {"mine": 2.0, "reference": 0.0, "shifted:5": 0.0})
    code, out, err = floatbench(capfd, "leaderboard", "submit", run, "--method", "mine", "--board", board)
    assert code == 0, err
    entry = out.strip().rpartition(" ")[2]
    assert floatbench(capfd, "leaderboard", "validate", entry, "--run", run, "--board", board)[:2] == (
        0,
        f"{entry}: ok\n",
    )
    assert floatbench(capfd, "leaderboard", "build", "--board", board)[0] == 0
    assert floatbench(capfd, "leaderboard", "diff", tmp_path, board)[:1] == (0,)
    assert floatbench(capfd, "leaderboard", "diff", board, tmp_path)[0] == 1
    assert "mine v1" in (board.parent / "leaderboard.md").read_text()


def test_a_board_lies_below_the_current_folder_and_every_command_says_where(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "run", {"mine": 2.0, "reference": 0.0, "shifted:5": 0.0})
    for command in (("validate",), ("build",), ("export", "abc")):
        code, _, err = floatbench(capfd, "leaderboard", *command)
        assert code == 4
        assert "there is no board in results/leaderboard" in err
    _, out, err = floatbench(capfd, "leaderboard", "submit", run, "--method", "mine")
    entry = out.strip().rpartition(" ")[2]
    assert f"written: results/leaderboard/entries/{entry}.json" in err
    assert "board: results/leaderboard" in floatbench(capfd, "leaderboard", "validate")[2]
    assert floatbench(capfd, "leaderboard", "build")[1].split() == ["results/leaderboard.csv", "results/leaderboard.md"]
    assert (tmp_path / "results" / "leaderboard" / "entries" / f"{entry}.json").is_file()


def test_an_entry_is_exported_as_the_metadata_that_the_hub_reads(capfd, tmp_path):
    board = tmp_path / "board"
    run = write_run(tmp_path / "run", {"mine": 2.0, "reference": 0.0, "shifted:5": 0.0})
    out = floatbench(capfd, "leaderboard", "submit", run, "--method", "mine", "--board", board)[1]
    entry = out.strip().rpartition(" ")[2]
    assert floatbench(capfd, "leaderboard", "export", "nowhere", "--board", board)[0] == 2
    written = tmp_path / "index.yml"
    arguments = ("leaderboard", "export", entry, "--model", "me/mine", "--board", board)
    assert floatbench(capfd, *arguments, "--out", written)[0] == 0
    card = ModelCard(f"---\n{written.read_text()}---\n")
    assert card.data.model_name == "me/mine"
    assert card.data.eval_results is not None
    results = {result.metric_type: result for result in card.data.eval_results}
    assert (results["toy-fid"].metric_value, results["toy-csim"].metric_name) == (2.0, "CSIM")
    assert results["toy-fid"].metric_args["interval"] == [1.5, 2.5]
    assert results["toy-fid"].dataset_args["entry"] == entry
    assert json.loads(floatbench(capfd, *arguments, "--json")[1])["model-index"][0]["name"] == "me/mine"


def test_a_figure_needs_a_speed_file_and_a_place(capfd, tmp_path):
    run = write_run(tmp_path / "run", {"mine": 2.0})
    assert floatbench(capfd, "report", run, "--figure", "pie", "--out", tmp_path / "f.svg")[0] == 2
    assert floatbench(capfd, "report", run, "--figure", "fps")[0] == 2
    code, _, err = floatbench(capfd, "report", run / "run.json", "--figure", "fps", "--out", tmp_path / "f.svg")
    assert code == 4
    assert "is no speed file" in err
