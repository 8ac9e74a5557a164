"""`floatbench doctor` as typed: what is broken is named with the command that mends it, and the exit code follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from floatbench import doctor
from floatbench.cli.app import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", *arguments])
    return int(str(stopped.value.code)), capsys.readouterr().out


def test_a_healthy_machine_can_run_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "--json")
    document = json.loads(out)
    assert code == 0 and document["demo_can_run"] is True
    found = {row["name"]: row for row in document["findings"]}
    assert {"python", "torch", "ffmpeg", "opencv", "onnx", "home", "disk", "weights", "data", "cuda"} <= found.keys()
    assert "CPUExecutionProvider" in found["onnx"]["detail"]
    for row in document["findings"]:
        assert row["state"] != "problem" or row["fix"]


def test_a_missing_codec_and_a_second_opencv_stop_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"ffv1", "aac"})
    real = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda name: name == "opencv-contrib-python" or real(name))
    code, out = run(capsys, "--quiet")
    assert code == 3
    assert "libx264" in out and "uv pip uninstall opencv-contrib-python" in out and "cannot run" in out
    assert "ok " not in out


def test_a_home_that_is_a_file_is_a_problem_with_a_fix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("FLOATBENCH_HOME", str(tmp_path / "home"))
    code, out = run(capsys, "--quiet")
    assert code == 3 and "set FLOATBENCH_HOME" in out


def test_a_driver_without_a_usable_device_is_a_problem_but_not_for_the_demo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    code, out = run(capsys, "--quiet")
    assert code == 0 and "update the NVIDIA driver" in out


def test_the_offline_switch_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOATBENCH_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # the program sets it too; so it is taken away again after the test
    assert "offline (FLOATBENCH_OFFLINE, HF_HUB_OFFLINE)" in run(capsys)[1]


def test_problems_come_first_with_their_mends_and_the_rest_is_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"ffv1", "aac"})
    code, out = run(capsys)
    lines = out.splitlines()
    assert code == 3 and lines[0] == "1 problem; the offline demo cannot run"
    assert lines[1].startswith("problem  ffmpeg") and lines[2].strip().startswith("fix: uv pip install --reinstall")
    states = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
    assert states == sorted(states, key=["problem", "note", "ok"].index)
    kinds = [tuple(line.split()[:2]) for line in lines[1:] if not line.startswith(" ")]
    assert len(kinds) == len(set(kinds)) and len(lines) < 40  # one line for each kind of note
    assert "floatbench baseline install NAME" in out and "hallo" in out
