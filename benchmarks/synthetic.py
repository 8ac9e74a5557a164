"""How fast synthetic heads are made: pictures a second by size and cores, and the shares of a clip's time.

    python benchmarks/synthetic.py --sizes 64 128 256 512 --cores 1 2
    python benchmarks/synthetic.py --demo          # time and memory of the demo's run, stage by stage

Times are the best of several interleaved rounds, so that other work on the machine disturbs all cases alike. Cores are
processes, as in training and in runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.identity import make_identity
from floatbench.synthetic.renderer import Renderer


def best_of(rounds: int, cases: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Least seconds of each case over interleaved rounds."""
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(rounds):
        for name, run in cases.items():
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def pictures_a_second(sizes: list[int], cores: list[int], frames: int, rounds: int) -> dict[str, float]:
    """Pictures a second of one person, after the person's still parts are made."""
    with ProcessPoolExecutor(max(cores), mp_context=get_context("spawn")) as pool:

        def draw(size: int, count: int) -> None:
            list(pool.map(_draw, [size] * count, [frames] * count))

        cases: dict[str, Callable[[], object]] = {
            f"{size} px, {count} core{'s' if count > 1 else ''}": (lambda size=size, count=count: draw(size, count))
            for size in sizes
            for count in cores
        }
        for case in cases.values():
            case()  # processes start and people are built
        best = best_of(rounds, cases)
    return {name: frames * int(name.split()[2]) / seconds for name, seconds in best.items()}


def _draw(size: int, frames: int) -> None:
    """One process's share: `frames` pictures of one person."""
    cv2.setNumThreads(1)  # the cores are counted by our own processes
    SyntheticClip(3, 0, frames / 25).frames(size)


def shares(size: int, seconds: float, rounds: int) -> dict[str, float]:
    """Milliseconds of the parts of one clip: person, motion, sound, pictures."""

    def fresh() -> SyntheticClip:
        return SyntheticClip(5, 1, seconds)

    ready = fresh()
    draw = Renderer(ready.person, size)
    cases: dict[str, Callable[[], object]] = {
        "person (once)": lambda: Renderer(make_identity(5), size),
        "motion": lambda: fresh().expression,
        "sound": ready.audio,
        "pictures": lambda: draw.frames(ready.pose, ready.expression),
    }
    return {name: 1000 * value for name, value in best_of(rounds, cases).items()}


def demo_stages() -> dict[str, dict[str, float]]:
    """Seconds and greatest memory (MB, all processes) of each stage of the demo's run; a stage is a progress label.

    Memory counts what processes share once for each of them, so that it is an upper bound.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "floatbench", "run", "--protocol", "synthetic", "--out", f"{folder}/run"]
        start = now = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        peak = {"now": 0.0}
        watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
        watcher.start()
        stages: dict[str, dict[str, float]] = {}
        assert process.stderr is not None
        for line in process.stderr:
            label, colon, rest = line.partition(": ")
            if not colon or "/s" not in rest:
                continue
            stage = stages.setdefault(label, {"seconds": 0.0, "megabytes": 0.0})
            stage["seconds"] += time.perf_counter() - now
            stage["megabytes"] = max(stage["megabytes"], peak["now"])
            now, peak["now"] = time.perf_counter(), 0.0
        code = process.wait()
        end = time.perf_counter()
    stages["table and page"] = {"seconds": end - now, "megabytes": peak["now"]}
    stages[f"whole run (exit code {code})"] = {
        "seconds": end - start,
        "megabytes": max(stage["megabytes"] for stage in stages.values()),
    }
    return stages


def _watch(process: subprocess.Popen[str], peak: dict[str, float]) -> None:
    """Keeps the greatest memory of a process and its descendants in `peak`, read from /proc five times a second."""
    while process.poll() is None:
        peak["now"] = max(peak["now"], _memory(process.pid) / 1e6)
        time.sleep(0.2)


def _memory(pid: int) -> float:
    """Bytes that a process and its descendants hold; 0 for those that just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return 0.0
    return 4096.0 * pages + sum(_memory(child) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast synthetic heads are made.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--demo", action="store_true", help="Measure the demo's run instead.")
    options = parser.parse_args()
    if options.demo:
        stages = demo_stages()
        print(json.dumps(stages, indent=2) if options.json else "\n".join(_row(*stage) for stage in stages.items()))
        return
    cv2.setNumThreads(1)
    np.seterr(all="raise", under="ignore")
    speed = pictures_a_second(options.sizes, options.cores, options.frames, options.rounds)
    parts = shares(128, 3.0, options.rounds)
    if options.json:
        print(json.dumps({"pictures_per_second": speed, "milliseconds_of_a_3_s_clip_at_128_px": parts}, indent=2))
        return
    for name, value in speed.items():
        print(f"{name:20s} {value:8.1f} pictures/s")
    for name, value in parts.items():
        print(f"{name:20s} {value:8.1f} ms of a 3 s clip at 128 px")


def _row(name: str, stage: dict[str, float]) -> str:
    return f"{name:32s} {stage['seconds']:8.1f} s {stage['megabytes']:8.0f} MB"


if __name__ == "__main__":
    main()
