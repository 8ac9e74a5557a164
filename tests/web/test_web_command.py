"""`floatbench web` as it is typed: the address, what goes wrong before the page is up, and the end."""

from __future__ import annotations

import importlib.util
import json
import re
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import serve

from floatbench.cli.app import main
from floatbench.web import server

ROOT = Path(__file__).resolve().parents[2]
with_gradio = pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason="the extra web is not installed")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as stopped:
        main(["web", *arguments, "--json"])
    return int(str(stopped.value.code)), json.loads(capsys.readouterr().out)


def test_without_the_extra_the_command_that_installs_it_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, document = run(capsys)
    assert code == 3 and document["error"] == "the page needs the package gradio"
    assert re.fullmatch(r"(uv )?pip install .*\[web\]'", document["fix"])


def test_the_extra_is_declared_and_asks_for_what_is_imported():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["web"]
    assert {re.split(r"[><=]", line)[0] for line in declared} == {"gradio", "uvicorn", "fastapi"}
    assert all(">=" in line for line in declared)


@with_gradio
def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, document = run(capsys, "--port", str(port))
    assert code == 3
    assert document["error"] == f"127.0.0.1:{port} is in use by another program"
    assert document["fix"] == "floatbench web --port 0"


@with_gradio
def test_an_address_of_another_machine_is_refused(capsys: pytest.CaptureFixture[str]):
    code, document = run(capsys, "--host", "203.0.113.7", "--port", "0")
    assert code == 2 and "203.0.113.7" in document["error"] and document["fix"] == "--host 127.0.0.1"


def test_a_checkpoint_that_does_not_exist_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]):
    code, document = run(capsys, "--weights", "nowhere.safetensors")
    assert code == 4 and "nowhere.safetensors" in document["error"]


@pytest.mark.parametrize(
    ("host", "address", "alone"),
    [("127.0.0.1", "http://127.0.0.1:{}/", True), ("0.0.0.0", "http://127.0.0.1:{}/", False)],
)
def test_an_address_says_where_to_look_and_who_can_reach_it(host: str, address: str, alone: bool):
    with server._listening(host, 0) as listener:
        assert server._address(listener) == (address.format(listener.getsockname()[1]), alone)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str, Path]]:
    """The page in a process of its own, its address, and the folder for its temporary files."""
    here = tmp_path / "tmp"
    here.mkdir()
    process, page = serve(here)
    try:
        yield process, page, here
    finally:
        process.kill()
        process.communicate()


@with_gradio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "kill"])
def test_json_gives_the_address_and_the_end_is_clean(
    started: tuple[subprocess.Popen[str], str, Path], number: signal.Signals
):
    process, address, here = started
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    with urllib.request.urlopen(address) as answer:
        assert b"floatbench" in answer.read()
        policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'") and "http" not in policy
    assert [path.name.startswith("floatbench-web-") for path in here.iterdir()] == [True]
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(here.iterdir()) == []
