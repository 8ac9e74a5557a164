"""`floatbench weights` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from floatbench.weights import table

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "floatbench", "weights", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.fixture
def blaze(shared: Path) -> Path:
    return shared / "data" / "models" / "blaze_face_short_range.tflite"


def test_list_names_every_entry_and_is_readable_by_machines():
    names = [row.name for row in table.ENTRIES]
    plain = run("list")
    assert plain.returncode == 0 and all(name in plain.stdout for name in names)
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == names
    assert {row["state"] for row in rows} == {"missing"}
    needed = json.loads(run("list", "--used-by", "csim-source", "--json").stdout)
    assert {row["name"] for row in needed} == {"arcface-w600k-r50", "scrfd-det-10g"}


def test_show_gives_addresses_hash_and_licence():
    plain = run("show", "inception-fid")
    assert plain.returncode == 0
    for part in ("6726825d0af5f729", "mseitzer/pytorch-fid", "Apache-2.0"):
        assert part in plain.stdout
    document = json.loads(run("show", "float", "--json").stdout)
    assert "CC BY-NC-ND 4.0" in document["licence"] and "CC BY-NC 4.0" in document["licence"]
    assert document["files"][0]["sha256"].startswith("f5cd8155")
    unpublished = json.loads(run("show", "hsemotion", "--json").stdout)["files"][0]
    assert unpublished["sha256"] is None and unpublished["hash_is"] == "recorded on first use"


def test_missing_weight_is_exit_code_4_with_the_command_that_fetches_it():
    answer = run("path", "float")
    assert answer.returncode == 4 and answer.stdout == ""
    assert "fix: floatbench weights fetch float --accept-license" in answer.stderr
    document = json.loads(run("path", "inception-fid", "--json").stdout)
    assert document["exit_code"] == 4 and document["fix"] == "floatbench weights fetch inception-fid"


def test_unknown_name_is_exit_code_2():
    answer = run("fetch", "flaot")
    assert answer.returncode == 2 and "did you mean float" in answer.stderr


def test_fetch_without_names_is_exit_code_2():
    assert run("fetch").returncode == 2


def test_licence_has_to_be_accepted_when_nobody_can_be_asked():
    answer = run("fetch", "float")
    assert answer.returncode == 2
    assert "CC BY-NC" in answer.stderr and "--accept-license" in answer.stderr


def test_offline_fetch_is_exit_code_4_and_asks_nobody():
    answer = run("fetch", "vgg19", "--offline")
    assert answer.returncode == 4
    assert "floatbench weights import vgg19 FILE" in answer.stderr


def test_import_path_and_verify_of_a_real_file(blaze):
    answer = run("import", "mediapipe-blaze-face", str(blaze), "--json")
    assert answer.returncode == 0
    where = json.loads(answer.stdout)["path"]
    assert run("path", "mediapipe-blaze-face").stdout.strip() == where
    assert run("verify").stdout == "mediapipe-blaze-face: ok\n"
    Path(where).write_bytes(b"damaged")
    damaged = run("verify", "--json")
    assert damaged.returncode == 4
    assert json.loads(damaged.stdout)[0]["ok"] is False
    states = {row["name"]: row["state"] for row in json.loads(run("list", "--json").stdout)}
    assert states["mediapipe-blaze-face"] == "damaged"


def test_fetch_from_a_file_mirror_offline(blaze, tmp_path):
    folder = tmp_path / "mediapipe-blaze-face"
    folder.mkdir()
    (folder / blaze.name).write_bytes(blaze.read_bytes())
    answer = run("fetch", "mediapipe-blaze-face", "--offline", "--json", FLOATBENCH_MIRROR=tmp_path.as_uri())
    assert answer.returncode == 0
    assert json.loads(answer.stdout)[0]["sources"][blaze.name].startswith("file://")
    again = run("fetch", "mediapipe-blaze-face", "--quiet")
    assert again.returncode == 0 and "(was here)" in again.stdout and again.stderr == ""


def test_import_of_a_wrong_file_is_exit_code_4(tmp_path):
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"wrong")
    answer = run("import", "vgg19", str(wrong))
    assert answer.returncode == 4 and "wrong.pth" in answer.stderr
    assert run("path", "vgg19").returncode == 4


def test_entry_without_fabricator_is_exit_code_2(monkeypatch):
    without = next(row.name for row in table.ENTRIES if not row.fabricate)
    assert run("fabricate", without).returncode == 2
