"""`floatbench protocol ...` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from floatbench.cli.app import main
from floatbench.media import write_mp4
from floatbench.paths import data_dir


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["protocol", *arguments])
    done = capsys.readouterr()
    return int(str(stopped.value.code)), done.out, done.err


def test_list_says_how_many_clips_are_ready(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0 and "hdtf-78-v1@" in out and "0 of 78" in out and "24 of 24" in out
    rows = json.loads(run(capsys, "list", "--json")[1])
    assert {row["name"]: row["clips"] for row in rows}["ravdess"] == 112


def test_show_gives_the_hash_and_the_next_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", "hdtf", "--boxes", "mediapipe")
    assert code == 0 and "pp1-mp-512" in out and "floatbench protocol fetch hdtf" in out
    document = json.loads(run(capsys, "show", "hdtf", "--json")[1])
    assert len(document["clip_list"]) == 78 and len(document["hash"]) == 64
    assert document["clip_list"][0]["state"] == "missing"


def test_terms_are_shown_and_refused_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "fetch", "ravdess")
    assert code == 2 and "CC BY-NC-SA 4.0" in err and "--accept-license" in err


def test_offline_fetch_names_the_folder_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = run(capsys, "fetch", "hdtf", "--accept-license")
    assert code == 4 and "--from DIR" in err


def test_an_unknown_protocol_is_a_usage_error_in_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "show", "ravdes", "--json")
    assert code == 2 and "did you mean ravdess" in err
    assert json.loads(out)["exit_code"] == 2


def test_prepare_and_verify_find_damage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = tmp_path / "v"
    root.mkdir()
    frames = np.random.default_rng(0).integers(0, 255, (75, 64, 64, 3), dtype=np.uint8)
    write_mp4(root / "a.mp4", frames, np.zeros(48_000, np.int16))
    (root / "clips.csv").write_text("id,end_s\na.mp4,2\n")
    options = (f"folder:{root}", "--boxes", "none", "--size", "64", "-q")
    assert run(capsys, "verify", *options)[0] == 4
    code, out, _ = run(capsys, "prepare", *options)
    assert code == 0 and "1 of 1 clips ready" in out
    code, out, _ = run(capsys, "verify", *options, "--raw")
    assert code == 0 and "1 of 1 prepared clips verify" in out
    (video,) = data_dir().rglob("video.mkv")
    video.write_bytes(video.read_bytes()[:-5000])
    code, out, _ = run(capsys, "verify", *options)
    assert code == 4 and "0 of 1" in out and "a.mp4" in out
