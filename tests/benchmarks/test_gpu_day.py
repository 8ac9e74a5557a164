"""The command for the first GPU works on a CPU, carries on where it was cut off, and tells what it did not measure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def gpu_day(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu_day

    return gpu_day


BLUR = "floatbench.model.blur_triton"
STEPS = "tests,parity,frames,release,backbones,training,first-frame,memory,batches,roofline"
SMALL = ("--device", "cpu", "--small", "--steps", STEPS)


def test_the_small_form_runs_on_a_cpu_and_a_second_call_has_nothing_left(gpu_day, monkeypatch, tmp_path):
    for name in sys.modules["gpu_speed"].RELEASE:
        monkeypatch.delenv(name, raising=False)
    document = gpu_day.main(["--out", str(tmp_path), *SMALL])
    states = {name: step["state"] for name, step in document["steps"].items()}
    assert states == dict.fromkeys(SMALL[-1].split(","), "done")
    rows = {name: step["rows"] for name, step in document["steps"].items()}
    assert len(rows["parity"]) == 14 and {row["held"] for row in rows["parity"]} == {"yes"}
    exact = [row["relative_rms"] for row in rows["parity"] if row["bound"] < 0.1]
    assert exact[:8] == [0.0] * 8 and 0 < max(exact) < 2e-5  # the same networks, then their fast twins
    assert [row["way"] for row in rows["frames"]] == ["plain", "fast", "bf16"]
    assert "not run" in rows["release"][0]["note"] and "not run" in rows["tests"][0]["result"]
    assert len(rows["backbones"]) == 6 and {row.get("relative_rms") for row in rows["backbones"]} == {0.0}
    assert [row["phase"] for row in rows["training"]] == ["flow"] and rows["training"][0]["steps_a_second"] > 0
    assert len(rows["first-frame"]) == 4 and all(row["first_frame_s"] > 0 for row in rows["first-frame"])
    assert [(row["precision"], row["batch"]) for row in rows["batches"]] == [
        ("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2),
    ]  # fmt: skip
    assert all(row["gflop"] > 0 for row in rows["roofline"] if "share" in row)
    page = (tmp_path / "gpu-day.md").read_text()
    assert "shows that the command works" in page and "## batches\n\nDecoded" in page and "Not run yet." in page
    assert json.loads((tmp_path / "gpu-day.json").read_text()) == document

    def never(*_):
        """Stands in for every step."""
        raise AssertionError("a finished step ran again")

    monkeypatch.setattr(gpu_day.gpu_steps, "Day", lambda *_, **__: None)
    monkeypatch.setattr(gpu_day.gpu_steps, "STEPS", dict.fromkeys(gpu_day.gpu_steps.STEPS, (never, 1)))
    assert gpu_day.main(["--out", str(tmp_path), *SMALL]) == document


def test_both_blurs_are_decoded_with_and_nothing_of_the_interpreter_remains(gpu_day, monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delitem(sys.modules, BLUR, raising=False)
    steps = sys.modules["gpu_steps"]
    events = list(steps.run(["blurs"], steps.Day("cpu", small=True)))
    assert events[-1]["error"] == ""
    torch_blur, kernel = (event["row"] for event in events[1:-1])
    assert (torch_blur["blur"], torch_blur["relative_rms"], kernel["blur"]) == ("torch", 0.0, "triton")
    assert 0 < kernel["relative_rms"] < 1e-5 and kernel["fps"] > 0
    assert BLUR not in sys.modules and "TRITON_INTERPRET" not in os.environ


def test_figures_of_another_machine_or_form_are_not_mixed(gpu_day, tmp_path):
    gpu_day.main(["--out", str(tmp_path), "--device", "cpu", "--small", "--steps", "tests"])
    with pytest.raises(SystemExit, match="another machine, commit or form"):
        gpu_day.main(["--out", str(tmp_path), "--device", "cpu", "--steps", "tests"])


WORKER = """
import json, subprocess, sys, time
for name in sys.argv[1].split(","):
    print("a library speaks", flush=True)
    print(json.dumps({"event": "begin", "step": name}), flush=True)
    print(json.dumps({"event": "row", "step": name, "row": {"n": 1}}), flush=True)
    if name == "slow":
        child = subprocess.Popen(["sleep", "60"])
        print(json.dumps({"event": "row", "step": name, "row": {"child": child.pid}}), flush=True)
        time.sleep(60)
    if name == "crash":
        sys.exit(7)
    print(json.dumps({"event": "end", "step": name, "error": ""}), flush=True)
"""


def gone(pid: int) -> bool:
    """Whether a process is over, or about to be taken away by its new parent."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_step_that_hangs_or_kills_its_process_costs_itself_alone(gpu_day, monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    limits = {"first": 20, "slow": 1.0, "crash": 20, "last": 20}
    steps = {name: (test_the_small_form_runs_on_a_cpu_and_a_second_call_has_nothing_left, limit)
             for name, limit in limits.items()}  # fmt: skip
    monkeypatch.setattr(gpu_day, "gpu_steps", SimpleNamespace(__file__=str(script), STEPS=steps))
    document = {"steps": {}}
    given = SimpleNamespace(device="cpu", weights="")
    saved = []
    gpu_day.follow(document, gpu_day.apart(list(limits), given, gpu_day.time.monotonic() + 60), lambda: saved.append(1))
    found = {name: (step["state"], len(step["rows"])) for name, step in document["steps"].items()}
    assert found == {"first": ("done", 1), "slow": ("too slow", 2), "crash": ("failed", 1), "last": ("done", 1)}
    assert document["steps"]["crash"]["error"] == "the process ended with 7" and len(saved) == 4
    assert gone(document["steps"]["slow"]["rows"][1]["child"])  # what the step had started went with it
    assert gpu_day.left(document, list(limits), set()) == ["slow"]
    assert gpu_day.left(document, list(limits), {"crash"}) == ["slow", "crash"]


def test_no_step_begins_when_the_time_is_over(gpu_day, monkeypatch, tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    monkeypatch.setattr(gpu_day, "gpu_steps", SimpleNamespace(__file__=str(script), STEPS={"slow": (None, 20)}))
    now = gpu_day.time.monotonic()
    events = list(gpu_day.apart(["slow"], SimpleNamespace(device="cpu", weights=""), now + 0.6))
    assert gpu_day.time.monotonic() - now < 10
    assert [event["event"] for event in events] in ([], ["begin", "row", "row", "end"])
    assert all(gone(event["row"]["child"]) for event in events[2:3])


def test_a_step_that_is_cut_off_keeps_the_rounds_that_it_has_finished(gpu_day):
    def told(way, rounds, fps):
        return {"event": "row", "step": "frames", "row": {"way": way, "rounds": rounds, "fps": fps}}

    rows = [told("plain", 1, 10.0), told("fast", 1, 30.0), told("plain", 2, 11.0)]
    document = {"steps": {}}
    gpu_day.follow(document, iter([{"event": "begin", "step": "frames"}, *rows]), lambda: None)
    found = document["steps"]["frames"]
    assert found["state"] == "cut off" and [row["fps"] for row in found["rows"]] == [30.0, 11.0]
    assert "| fast | 1 | 30 |" in gpu_day.table(found["rows"])


def test_the_row_of_a_way_counts_its_rounds(gpu_day):
    row = sys.modules["gpu_speed"]._speed_of("fast", 100, [(2.0, 4.0), (1.0, 2.0)], 5.0)
    assert (row["rounds"], row["forward_range"], row["video_fps"]) == (2, "50 to 100", 100 / 3)


ASKED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv.pop(1))
import official_float as benchmark
class Worker:
    def __init__(self, name):
        self.name, self.records = name, []
    def ask(self, picture, sound):
        if len(self.records) == 1 and self.name == "ours":
            raise SystemExit("cut off in the second round")
        return {"seconds": 2.0, "cpu_seconds": 2.0, "frames": 3, "peak_mib": 1.0}
benchmark.workers = lambda given: [Worker("official"), Worker("ours")]
benchmark.main()
"""


def test_the_release_and_ours_are_written_after_each_round(gpu_day, tmp_path):
    out = tmp_path / "paired.json"
    command = [sys.executable, "-c", ASKED, str(BENCHMARKS), "--repeats", "3", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "cut off" in done.stderr and done.returncode == 1
    assert [row["seconds"] for row in json.loads(out.read_text())["rows"]] == [[2.0], [2.0]]
    told = [*sys.modules["gpu_speed"]._against_the_release(out)]
    assert [(row["name"], row["rounds"], row["times_the_release"]) for row in told] == [
        ("official", 1, 1.0), ("ours", 1, 1.0),
    ]  # fmt: skip


def test_a_step_that_fails_says_why_and_the_next_one_follows(gpu_day, monkeypatch):
    def broken(_):
        yield {"n": 1}
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(gpu_day.gpu_steps, "STEPS", {"a": (broken, 1), "b": (lambda _: iter([{"n": 2}]), 1)})
    document = {"steps": {}}
    gpu_day.follow(document, gpu_day.gpu_steps.run(["a", "b"], None), lambda: None)
    assert document["steps"]["a"]["error"] == "OutOfMemoryError: CUDA out of memory"
    assert [step["state"] for step in document["steps"].values()] == ["failed", "done"]


def test_the_summary_of_pytest_is_told(gpu_day):
    truth = sys.modules["gpu_truth"]
    assert truth.last_line("FAILED tests/a.py::b\n== 1 failed, 2 passed in 3.1s ==\n\n") == "1 failed, 2 passed in 3.1s"
