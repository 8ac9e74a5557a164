"""Baselines through `floatbench run`, as typed: failures stay with their system, killed runs go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]


def command(out: Path, methods: str, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "floatbench", "run", "--protocol", "synthetic", "--limit", "2", "--no-controls",
        "--metrics", "csim-tiny", "--methods", methods, "--workers", "0", "--device", "cpu", "--out", str(out), *more,
    ]  # fmt: skip


def run(out: Path, methods: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, methods, *more), cwd=ROOT, capture_output=True, text=True)


def rows(out: Path) -> dict[tuple[str, str], dict]:
    """The last row of each method and clip."""
    lines = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    return {(line["method"], line["clip"]): line for line in lines}


def test_one_system_dies_in_every_clip_while_another_goes_on(dummy, tmp_path):
    dummy()
    dummy(name="mortal", fault="crash")
    done = run(tmp_path / "run", "mortal,dummy")
    assert done.returncode == 1, done.stderr
    found = rows(tmp_path / "run")
    assert [row["status"] for (method, _), row in found.items() if method == "dummy"] == ["ok", "ok"]
    failed = [row for (method, _), row in found.items() if method == "mortal"]
    assert [row["reason"] for row in failed] == ["crashed", "crashed"]
    assert "about to die" in failed[0]["details"]["stderr_tail"]


@pytest.mark.slow
def test_a_system_that_does_not_load_fails_its_own_rows_with_its_last_words(dummy, tmp_path):
    dummy()
    dummy(name="stillborn", fault="load_error")
    assert run(tmp_path / "run", "dummy,stillborn").returncode == 1
    found = rows(tmp_path / "run")
    reasons = {method: row["reason"] for (method, _), row in found.items()}
    assert reasons == {"dummy": "", "stillborn": "load_failed"}
    failed = next(row for (method, _), row in found.items() if method == "stillborn")
    assert any("the checkpoint does not fit" in line for line in failed["details"]["stderr_tail"])


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is only told on Linux")
def test_a_run_killed_in_the_middle_goes_on_with_equal_pixels_and_leaves_no_process(dummy, tmp_path):
    dummy()
    assert run(tmp_path / "whole", "dummy").returncode == 0
    _forget_weights()
    dummy(slow=30)
    out = tmp_path / "killed"
    host = subprocess.Popen(command(out, "dummy"), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    driver = _driver(host.pid)
    os.kill(host.pid, signal.SIGKILL)
    host.wait()
    for _ in range(100):
        try:
            if psutil.Process(driver).status() == psutil.STATUS_ZOMBIE:
                break
        except psutil.NoSuchProcess:  # also when it goes between two questions
            break
        time.sleep(0.05)
    else:
        pytest.fail("the driver outlived its host")
    _forget_weights()
    dummy()
    assert run(out, "dummy").returncode == 0
    whole, resumed = rows(tmp_path / "whole"), rows(out)
    assert {key: row["pixels_sha256"] for key, row in whole.items()} == {
        key: row["pixels_sha256"] for key, row in resumed.items()
    }


@pytest.mark.slow  # six runs of a worker, each with imports of its own
def test_other_weights_or_another_driver_never_reuse_a_video(dummy, tmp_path):
    out = tmp_path / "run"
    manifest = dummy()
    marker = tmp_path / "weights" / "dummy" / "FABRICATED.json"
    marker.write_text('{"seed": 1}')  # random weights may change; real ones are refused before it comes to this
    assert run(out, "dummy").returncode == 0
    first = rows(out)
    assert run(out, "dummy").returncode == 0 and rows(out) == first  # the same again: nothing is made
    assert len((out / "rows.jsonl").read_text().splitlines()) == 2
    shutil.copytree(out, tmp_path / "before")
    level = tmp_path / "weights" / "dummy" / "ckpts" / "level.json"
    level.write_text(json.dumps(json.loads(level.read_text()) | {"level": 77}))
    assert run(out, "dummy").returncode == 0
    second = rows(out)
    for key, row in second.items():
        assert row["method_key"] != first[key]["method_key"]
        assert row["pixels_sha256"] != first[key]["pixels_sha256"]
    driver = manifest.folder / "driver.py"
    driver.write_text(driver.read_text() + "\n# a change\n")
    assert run(out, "dummy").returncode == 0
    third = rows(out)
    for key, row in third.items():  # made again, with equal pixels: only a comment was added
        assert row["method_key"] != second[key]["method_key"]
        assert row["pixels_sha256"] == second[key]["pixels_sha256"]
    assert len((out / "rows.jsonl").read_text().splitlines()) == 6
    both = [str(tmp_path / "before"), str(out), "--out", str(tmp_path / "both")]
    merged = subprocess.run([sys.executable, "-m", "floatbench", "merge", *both], capture_output=True, text=True)
    assert merged.returncode == 2 and "ran dummy with other weights or another adapter" in merged.stderr


def test_a_machine_with_other_weights_fails_its_rows_instead_of_mixing_them(dummy, tmp_path):
    from floatbench.data.catalogue import dataset_for
    from floatbench.engine.job import Item, Job, JobSettings, Worker
    from floatbench.methods.baseline import BaselineMethod
    from floatbench.protocol.load import load_protocol

    dummy()
    protocol = load_protocol("synthetic")
    worker = Worker(JobSettings(dataset_for(protocol), tmp_path, None, 0, {"dummy": BaselineMethod("dummy")}, {}, {}))
    try:
        [row] = worker.run(Job(protocol.clips[0], (Item("dummy", 0, key="planned elsewhere"),)))
    finally:
        worker.close()
    assert (row.status, row.reason, row.method_key) == ("failed", "env_mismatch", "planned elsewhere")


@pytest.mark.parametrize(("workers", "share"), [(0, 7), (1, 7), (2, 4), (8, 1)])
def test_each_process_is_promised_its_share_of_the_clips(workers, share):
    from floatbench.engine.worker_memory import share_of_clips

    assert share_of_clips(7, workers) == share


def test_the_row_of_an_author_preset_keeps_the_original_and_is_marked_in_the_table(dummy, tmp_path):
    dummy()
    out = tmp_path / "run"
    done = run(out, "dummy,dummy@author")
    assert done.returncode == 0, done.stderr
    found = rows(out)
    for (method, _), row in found.items():
        assert ("original" in row["details"]) is (method == "dummy@author")
        if method == "dummy@author":
            assert (out / row["details"]["original"]).is_file() and row["video"] != row["details"]["original"]
    table = (out / "table.md").read_text()
    lines = {name: line for line in table.splitlines() for name in ("dummy", "dummy@author") if f"| {name} (" in line}
    assert "re-cropped" in lines["dummy@author"] and "24 fps resampled" in lines["dummy@author"]
    assert "not ranked" in lines["dummy@author"] and "not ranked" not in lines["dummy"]
    assert "modern profile" in lines["dummy"]


def _forget_weights() -> None:
    """The dummy's switches lie in its weights, whose hash is held from the first use on."""
    (Path(os.environ["FLOATBENCH_HOME"]) / "weights" / "baselines" / "dummy.lock.json").unlink(missing_ok=True)


def _driver(host: int) -> int:
    """Waits until the host's worker has begun a clip; returns its process id."""
    for _ in range(2400):
        for child in psutil.Process(host).children():
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):  # helpers of the host come and go
                if any("driver.py" in part for part in child.cmdline()) and _busy(child):
                    return child.pid
        time.sleep(0.05)
    pytest.fail("no worker was started")


def _busy(child: psutil.Process) -> bool:
    clips = Path(child.cwd()).parent / "clips"
    return any(clips.glob("*/in/*.wav"))


def test_fabricated_weights_make_a_run_unscorable(dummy, tmp_path):
    dummy()
    (tmp_path / "weights" / "dummy" / "FABRICATED.json").write_text('{"seed": 1}')
    done = run(tmp_path / "run", "dummy", "--json")
    reasons = json.loads((tmp_path / "run" / "scores.json").read_text())["unranked_because"]
    assert any(reason.startswith("unscorable: seeded random weights (dummy)") for reason in reasons), done.stderr
