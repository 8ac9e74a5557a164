"""`floatbench train autoencoder|flow` as typed, alone and as two processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_config import TOY

from floatbench.cli.app import main
from floatbench.media import probe
from floatbench.training import train as training

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    file = tmp_path / "toy.toml"
    file.write_text(TOY)
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stopped:
        main(["train", *arguments])
    captured = capsys.readouterr()
    return int(str(stopped.value.code)), captured.out, captured.err


def test_both_phases_train_resume_and_leave_pictures_logs_and_a_model_that_loads(capsys, tmp_path, toy_file):
    from floatbench.model import checkpoint

    out = tmp_path / "run"
    code, text, _ = run(
        capsys, "autoencoder", "--config", str(toy_file), "--out", str(out), "--device", "cpu", "--json"
    )
    assert code == 0 and json.loads(text)["steps"] == 2
    code, text, _ = run(capsys, "flow", "--config", str(toy_file), "--out", str(out), "--device", "cpu")
    assert code == 0 and "2 steps" in text
    code, text, _ = run(
        capsys, "flow", "--config", str(toy_file), "--out", str(out), "--steps", "3", "--resume", "--json"
    )
    assert code == 0 and json.loads(text)["steps_now"] == 1
    for phase, last in (("autoencoder", 2), ("flow", 3)):
        assert len((out / phase / "log.jsonl").read_text().splitlines()) == last
        assert list((out / phase / "samples").glob("*.png")) and list((out / phase / "tensorboard").iterdir())
    clip = probe(out / "flow" / "samples" / "flow-0000003.mp4")
    assert clip.video is not None and (clip.video.width, clip.video.height) == (128, 64) and clip.audio is not None
    assert checkpoint.load(out / "float.safetensors").config.name == "float-tiny"


def test_mistakes_are_named_with_their_exit_codes(capsys, tmp_path, toy_file):
    toy_file.write_text(TOY + "speed = 9\n")
    code, _, err = run(capsys, "flow", "--config", str(toy_file), "--out", str(tmp_path / "a"))
    assert code == 2 and "unknown key flow.'speed'" in err
    code, _, err = run(capsys, "flow", "--config", "float-huge", "--out", str(tmp_path / "a"))
    assert code == 2 and "float-huge" in err
    code, _, err = run(capsys, "flow", "--config", "float-tiny", "--out", str(tmp_path / "a"), "--quiet")
    assert code == 4 and "train autoencoder" in err and "with the same --config" in err


def test_who_stops_it_while_the_painter_learns_is_told_to_resume(capsys, tmp_path, toy_file, monkeypatch):
    def stopped(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    arguments = ["autoencoder", "--config", str(toy_file), "--out", str(tmp_path / "run"), "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_painter", stopped)
        code, _, err = run(capsys, *arguments)
    assert code == 130 and "run again with --resume" in err
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "--resume" in err
    code, text, _ = run(capsys, *arguments, "--resume")
    assert code == 0 and "0 steps" in text


def test_of_several_processes_the_first_alone_prints_its_result(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code, text, _ = run(capsys, "flow", "--config", "float-tiny", "--out", str(tmp_path), "--plan")
    assert code == 0 and not text


ALL_TERMS = """
component = 1.0
full_adv = 0.1
eye_adv = 0.1
eye_style = 1.0
lip_adv = 0.1
lip_style = 1.0
critic_max = 8
critic_base = 512
component_width = 4
component_from = 0
r1_every = 1
"""
"""Of phase 1, switched on besides those of float-tiny."""
LATER_STEPS = {"gradient_norm": 2e-3, "r1": 2e-3}
"""Differences of rounding that two steps of Adam have grown, by term; 2e-4 of the others."""


@pytest.mark.slow
def test_two_processes_have_every_term_of_one(tmp_path, toy_file):
    every_term = TOY.replace("[reader]", ALL_TERMS + "[reader]")
    toy_file.write_text(every_term + "emotion_weight = 0.2\n[emotion]\nsteps = 0\n")
    environment = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", FLOATBENCH_HOME=str(tmp_path / "home"))

    def train(out: str, phase: str, *launcher: str) -> list[dict[str, float]]:
        command = [sys.executable, *launcher, "-m", "floatbench", "train", phase, "--config", str(toy_file)]
        command += ["--out", str(tmp_path / out), "--device", "cpu", "--quiet"]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=280)
        return [json.loads(line) for line in (tmp_path / out / phase / "log.jsonl").read_text().splitlines()]

    two = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29631")
    for phase, least in (("autoencoder", 15), ("flow", 6)):
        alone, together = train("one", phase), train("two", phase, *two)
        assert len(alone) == len(together) == 2
        for a, b in zip(alone, together, strict=True):
            terms = set(a) - {"step", "seconds", "step_seconds"}
            assert len(terms) >= least and set(b) == set(a)
            for name in terms:
                assert b[name] == pytest.approx(a[name], rel=LATER_STEPS.get(name, 2e-4), abs=1e-6), (phase, name)
