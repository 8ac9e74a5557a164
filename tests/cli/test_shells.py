"""Shells and users as they are: no home, closed or full output, other encodings, signals, byte-order marks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from floatbench import paths
from floatbench.cli.app import main
from floatbench.engine.features import FeatureStore
from floatbench.errors import DependencyError, UsageError

ROOT = Path(__file__).resolve().parents[2]
FULL = Path("/dev/full")
full = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


def floatbench(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own, whose streams can be what they never are under pytest."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    command = [sys.executable, "-m", "floatbench", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run(command, text=True, env=environment, encoding="utf-8", errors="replace", **streams)


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(str(stopped.value.code)), out, err


# --- standard output ---------------------------------------------------------------------------------------------


@full
@pytest.mark.parametrize("arguments", [("metrics", "list"), ("metrics", "list", "--json"), ("--help",)])
def test_a_full_output_is_an_error_of_the_environment_in_two_lines(arguments: tuple[str, ...]):
    with FULL.open("w") as stream:
        done = floatbench(*arguments, stdout=stream)
    assert done.returncode == 3
    assert done.stderr.startswith("error: ") and "No space left" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_a_closed_output_is_no_reason_to_fail():
    done = floatbench("metrics", "list", preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


@full
def test_a_full_standard_error_does_not_stop_the_work(tmp_path: Path):
    with FULL.open("w") as stream:
        done = floatbench("synth", "-o", str(tmp_path / "s"), "--identities", "1", "--seconds", "1", "--size", "64",
                          "--json", stderr=stream)  # fmt: skip
    assert done.returncode == 0 and len(json.loads(done.stdout)["clips"]) == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_the_encoding_lacks_is_replaced_in_text_and_escaped_in_json(encoding: str):
    code = "from floatbench.cli.output import *; prepare_streams(); o = Output(json={}); o.result(['ρ ↑'], 'ρ ↑')"
    shown = {
        form: subprocess.run(
            [sys.executable, "-c", code.format(form)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=True,
        ).stdout
        for form in (False, True)
    }
    assert shown[False] == b"? ?\n"
    assert json.loads(shown[True]) == ["ρ ↑"]


def test_a_name_that_is_no_text_is_printed(capsys: pytest.CaptureFixture[str]):
    code, out, err = call(capsys, "run", "--protocol", "folder:/nowhere/\udcff", "--json")
    assert code == 2 and json.loads(out)["exit_code"] == 2 and err.startswith("error: ")


# --- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_as_ctrl_c_does(
    number: signal.Signals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from floatbench.engine import features

    signal.signal(number, signal.SIG_DFL)  # a suite that nohup started ignores SIGHUP, as the command then must
    monkeypatch.setattr(features, "cache_size", lambda folder: os.kill(os.getpid(), number) or time.sleep(60))
    code, out, err = call(capsys, "cache", "ls", "--json")
    assert code == json.loads(out)["exit_code"] == 130
    assert err.startswith("error: interrupted") and "run the same command again" in err
    assert signal.getsignal(number) is signal.SIG_DFL


def _alive(process: str) -> bool:
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())  # empty when it only waits to be counted
    except OSError:
        return False


def test_a_run_that_is_terminated_keeps_its_rows_and_leaves_no_worker(tmp_path: Path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "floatbench", "run", "-p", "synthetic", "--metrics", "psnr-grey128", "--workers",
               "1", "--limit", "6", "--out", str(out)]  # fmt: skip
    running = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    rows = out / "rows.jsonl"
    until = time.monotonic() + 120
    while not (rows.is_file() and rows.stat().st_size) and running.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    workers = children.read_text().split() if children.is_file() else []
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "error: interrupted after" in err and str(out) in err and "Traceback" not in err
    assert all(json.loads(line)["status"] == "ok" for line in rows.read_text().splitlines())
    until = time.monotonic() + 20
    while (left := list(filter(_alive, workers))) and time.monotonic() < until:
        time.sleep(0.1)
    assert left == []


# --- users and folders -------------------------------------------------------------------------------------------


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user without HOME and without an entry in the system's list; the folder of temporary files."""
    import pwd
    import tempfile

    def unknown(user: object) -> None:
        raise KeyError(user)

    for name in ("HOME", "XDG_CACHE_HOME", "FLOATBENCH_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_user_without_a_home_gets_a_folder_of_its_own(homeless: Path, capsys: pytest.CaptureFixture[str]):
    code, out, _ = call(capsys, "cache", "path")
    home = homeless / f"floatbench-{os.getuid()}"
    assert code == 0 and Path(out.strip()) == home / "cache"
    assert home.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_not_taken_for_a_home(homeless: Path):
    (homeless / f"floatbench-{os.getuid()}").mkdir()
    (homeless / f"floatbench-{os.getuid()}").chmod(0o777)
    with pytest.raises(DependencyError, match="set FLOATBENCH_HOME"):
        paths.home()


def test_a_tilde_without_a_home_is_a_usage_error(homeless: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLOATBENCH_HOME", "~/models")
    with pytest.raises(UsageError, match="home folder"):
        paths.home()


def test_a_home_that_cannot_be_made_is_replaced_but_a_named_one_is_not(
    homeless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(tmp_path / "nothing"))
    monkeypatch.setattr(paths.os, "access", lambda path, mode: False)  # root may write anywhere
    assert paths.home() == tmp_path / f"floatbench-{os.getuid()}"
    monkeypatch.setenv("FLOATBENCH_HOME", "/proc/nothing")
    assert paths.home() == Path("/proc/nothing")


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path):
    (tmp_path / "file").write_text("")
    store = FeatureStore(tmp_path / "run", tmp_path / "file" / "features")
    store.put("ab" * 32, {"x": np.ones(3)})
    assert store.has("ab" * 32) and store.get("ab" * 32)["x"].sum() == 3


# --- run files ---------------------------------------------------------------------------------------------------


def test_a_run_file_with_a_byte_order_mark_is_read(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text('protocol = "hdtf"\nskip-unavailable = true\njson_output = true\n', encoding="utf-8-sig")
    code, out, err = call(capsys, "run", "--config", str(file), "--show-config")
    shown = {name: (row["value"], row["origin"]) for name, row in json.loads(out).items()}
    assert code == 0, err
    assert shown["protocol"] == ("hdtf", "run file")
    assert shown["skip_unavailable"] == shown["json"] == (True, "run file")


def test_a_training_configuration_with_a_byte_order_mark_is_read(tmp_path: Path):
    from floatbench.training.configs import load_config

    file = tmp_path / "mine.toml"
    file.write_text('base = "float-tiny"\nname = "mine"\n', encoding="utf-8-sig")
    assert load_config(str(file)).name == "mine"


def test_an_option_given_twice_in_a_run_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("json = true\njson_output = false\n")
    code, _, err = call(capsys, "run", "-p", "hdtf", "--config", str(file))
    assert code == 2 and "'json' is given twice" in err


def test_the_old_name_of_an_option_is_read_where_the_new_one_is_not_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FLOATBENCH_RUN_JSON_OUTPUT", "1")
    code, out, _ = call(capsys, "run", "-p", "hdtf", "--show-config")
    assert code == 0 and json.loads(out)["json"] == {"value": True, "origin": "environment"}
    monkeypatch.setenv("FLOATBENCH_RUN_JSON", "0")
    assert "json = False  (environment)" in call(capsys, "run", "-p", "hdtf", "--show-config")[1]


def test_a_piped_table_is_markdown_and_a_drawn_one_fits_the_terminal(monkeypatch: pytest.MonkeyPatch):
    from markdown_it import MarkdownIt

    from floatbench.cli import output

    rows = [("name", "what"), ("a|b", "x" * 200), ("c", "short words " * 20)]
    html = MarkdownIt("commonmark").enable("table").render(output.table(rows))
    assert html.count("<tr>") == 3 and "<td>a|b</td>" in html
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    drawn = re.sub(r"\x1b\[[\d;]*m", "", output.table(rows))
    assert max(map(len, drawn.splitlines())) <= 60 and drawn.count("x") == 200
