"""The launch files of `examples/`, started as they are with two processes on the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_config import TOY

ROOT = Path(__file__).resolve().parents[2]
EMOTION = """
[emotion]
steps = 2
people = 2
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cluster of this machine: `srun` runs what it is told, `scontrol` names one host and notes what it is asked."""
    (tmp_path / "toy.toml").write_text(TOY + EMOTION)
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (
        ("srun", 'case "$1" in --*) echo "$1" >> "$OUT.srun"; shift;; esac; exec "$@"'),
        ("scancel", f'echo "scancel $@" >> {tmp_path}/asked; kill -TERM "$(cat {tmp_path}/task)"'),
        ("scontrol", f'echo "$@" >> {tmp_path}/asked; [ "$1" = show ] && echo 127.0.0.1'),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    return dict(
        os.environ, PATH=f"{tools}:{os.environ['PATH']}", PYTHON=sys.executable, PYTHONPATH=str(ROOT),
        CONFIG=str(tmp_path / "toy.toml"), OUT=str(tmp_path / "run"), PROCESSES="2", WORKERS="1", PORT="29633",
        SLURM_JOB_NODELIST="here", SLURM_JOB_NUM_NODES="1", SLURM_JOB_ID="7", OMP_NUM_THREADS="1",
        FLOATBENCH_HOME=str(tmp_path / "home"),
    )  # fmt: skip


def start(file: str, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "examples" / file), "--device", "cpu", "--quiet", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_file_for_one_machine_trains_both_phases_and_goes_on_when_it_is_started_again(environment, tmp_path):
    assert start("train_8gpu.sh", environment, "--steps", "1").returncode == 0
    assert (tmp_path / "run" / "float.safetensors").is_file()
    again = start("train_8gpu.sh", environment | {"PHASES": "autoencoder"}, "--steps", "2")
    assert again.returncode == 0, again.stderr
    assert steps(tmp_path / "run" / "autoencoder") == [0, 1]


@pytest.mark.slow
def test_the_file_for_slurm_trains_and_does_not_queue_again_what_got_nowhere(environment, tmp_path):
    done = start("train.sbatch", environment | {"PHASES": "autoencoder"}, "--steps", "1")
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path / "run" / "autoencoder") == [0]
    wrong = start("train.sbatch", environment | {"PHASES": "autoencoder", "CONFIG": "no-such"}, "--steps", "1")
    assert wrong.returncode != 0
    assert "requeue" not in (tmp_path / "asked").read_text()


def slurm(environment: dict[str, str], task: str) -> subprocess.CompletedProcess[str]:
    """The file for Slurm around a task of the shell instead of a training."""
    python = Path(environment["OUT"]).with_name("task.sh")
    python.write_text(f"#!/bin/sh\n{task}\n")
    python.chmod(0o755)
    return start("train.sbatch", environment | {"PYTHON": str(python), "SLURM_CPUS_PER_TASK": "9"})


def test_a_job_whose_time_is_up_is_queued_again_before_there_is_any_checkpoint(environment, tmp_path):
    """Slurm tells the batch script alone, as `--signal=B:USR1` asks; the task ends by the TERM that it is handed."""
    waiting = f'echo $$ > {tmp_path}/task; trap "exit 1" TERM; kill -USR1 $PPID; while :; do sleep 0.1; done'
    stopped = slurm(environment, waiting)
    assert stopped.returncode == 143, stopped.stderr
    assert (tmp_path / "asked").read_text().split("\n")[1:3] == ["scancel --signal=TERM 7", "requeue 7"]
    assert (tmp_path / "run.srun").read_text() == "--cpus-per-task=9\n"


@pytest.mark.parametrize(("task", "again"), [("exit 143", True), ("exit 130", True), ("exit 2", False)])
def test_what_a_signal_ended_is_queued_again_and_what_is_wrong_is_not(environment, tmp_path, task, again):
    assert slurm(environment, task).returncode == int(task.split()[1])
    assert ("requeue 7" in (tmp_path / "asked").read_text()) == again


def test_told_between_two_phases_it_begins_no_further_one(environment, tmp_path):
    done = slurm(environment, f"kill -USR1 $PPID; echo >> {tmp_path}/phases; exit 0")
    assert done.returncode == 143 and (tmp_path / "phases").read_text() == "\n"
    assert "requeue 7" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("file", ["train_8gpu.sh", "train.sbatch"])
def test_launch_files_are_sound_shell(file):
    checked = subprocess.run(["bash", "-n", str(ROOT / "examples" / file)], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
