"""`floatbench report`, `ledger`, `explain` and `leaderboard` as a user types them."""

from __future__ import annotations

import json

import pytest
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
    assert "| mine | **3** [2.5, 3.5] (4 of 4) |" in out
    code, out, _ = floatbench(capfd, "report", run, "--table", 1, "--format", "latex", "--out", tmp_path / "t.tex")
    assert (code, out) == (0, "")
    assert "\\toprule" in (tmp_path / "t.tex").read_text()


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
