"""What the harness adds to a baseline: seconds per clip over the driver's own time, by part.

    python benchmarks/baseline_overhead.py [--frames 50] [--size 256] [--clips 20] [--json]

A system that only writes ready frames is started as any other, so that the rest is the harness: staging the picture and
the sound, the messages, reading the frames back, the lossless file. The encoder's share (`collect`) grows with the
pixels and is what a run keeps. `harness_cpu` is processor time, which a busy machine does not stretch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from floatbench.baselines import manifest as manifests
from floatbench.baselines.install import Choices, install
from floatbench.methods.baseline import BaselineMethod
from floatbench.methods.method import ClipRequest

MANIFEST = """
id = "ready"
title = "Ready frames"
[source]
repo = "local/ready"
commit = "{commit}"
[licence]
code = "Apache-2.0"
weights = "none"
[profiles.modern]
python = "3"
lock = "lock-modern.txt"
[presets.protocol]
flags = {{ size = {size} }}
"""
DRIVER = """
import driverlib
import random


class Driver(driverlib.System):
    def load(self, options):
        self.size = int(options.flags["size"])
        self.row = bytes(random.randrange(256) for _ in range(self.size * 3))

    def generate(self, request):
        side = self.size
        with self.stage("write"):
            frames = ((self.row[t:] + self.row[:t]) * side for t in range(request.n_frames))
            driverlib.write_frames(request.out_dir, ((frame, side, side) for frame in frames))
        return driverlib.Result(frames_dir=request.out_dir)


driverlib.main(Driver)
"""


def make_system(folder: Path, size: int) -> None:
    """A repository with one file, a manifest and a driver, installed with an environment of its own."""
    repository, system = folder / "repository", folder / "systems" / "ready"
    for path in (repository, system, folder / "weights"):
        path.mkdir(parents=True)
    (repository / "README").write_text("nothing")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for step in (["init", "--quiet"], ["add", "-A"], [*who, "commit", "--quiet", "-m", "x"]):
        subprocess.run(["git", "-C", str(repository), *step], check=True)
    head = subprocess.run(
        ["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    (system / "manifest.toml").write_text(MANIFEST.format(commit=head.stdout.strip(), size=size))
    (system / "driver.py").write_text(DRIVER)
    (system / "lock-modern.txt").write_text("")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    os.environ |= {"FLOATBENCH_HOME": str(folder / "home"), "FLOATBENCH_BASELINES": str(folder / "systems")}
    install(manifests.load("ready"), "modern", Choices(repository, folder / "weights", folder / "env"))


def measure(folder: Path, frames: int, size: int, clips: int) -> dict[str, float]:
    """Medians in milliseconds over the clips after a warm-up."""
    rng = np.random.default_rng(0)
    method = BaselineMethod("ready")
    begin = time.perf_counter()
    method.load()
    start = time.perf_counter() - begin
    parts: dict[str, list[float]] = {}
    try:
        for clip in range(clips + 1):
            target = folder / f"clip{clip}"
            target.mkdir()
            source = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            audio = rng.integers(-9000, 9000, frames * 640).astype(np.int16)
            begin, cpu = time.perf_counter(), time.process_time()
            made = method.generate(ClipRequest("c", "c", source, audio, frames, clip << 32, target))
            total, cpu = time.perf_counter() - begin, time.process_time() - cpu
            driver = made.details["driver_s"]
            found = {**made.details["overhead_s"], "driver": driver, "harness": total - driver, "harness_cpu": cpu}
            for name, seconds in found.items() if clip else ():
                parts.setdefault(name, []).append(1000 * seconds)
    finally:
        method.close()
    return {"start": round(1000 * start, 1)} | {name: round(statistics.median(v), 2) for name, v in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_system(Path(folder), given.size)
        found = measure(Path(folder), given.frames, given.size, given.clips)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.clips} clips of {given.frames} frames, {given.size} px; median milliseconds a clip")
    for name, milliseconds in found.items():
        print(f"{name:10} {milliseconds:9.2f}")


if __name__ == "__main__":
    main()
