"""The official FLOAT release and ours on the same weights, picture, sound and threads: seconds of a whole clip.

    FLOATBENCH_SRC_FLOAT=... FLOATBENCH_PYTHON_FLOAT=... FLOATBENCH_CHECKPOINTS_FLOAT=... \\
    python benchmarks/official_float.py --threads 2 --seconds 1 --repeats 3 --variants fast,plain --out paired.json

Each side is loaded once, in a process of its own, and then asked for the same clip in turn (official, ours, official,
ours ...), so that a busy machine burdens all alike; CPU seconds, which load touches less, stand beside. The clock runs
from files to 8-bit frames: reading, encoding, sampling with the same options (official preset, 9 evaluations of three
branches), decoding and conversion; no H.264 on either side. A short clip before the first round warms all up. The
variables are those of tests/model/test_official_parity.py.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.files import write_json

RUNNER = Path(__file__).resolve().parents[1] / "tests" / "golden" / "official_float_clip.py"
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16")
WARM_UP_S = 0.12
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"impl": "plain"},
    "fast": {},
    "compiled": {"compile": True},
    "bf16": {"dtype": "bfloat16"},
    "bf16-compiled": {"dtype": "bfloat16", "compile": True},
    "graphs": {"graphs": True},
    "bf16-graphs": {"dtype": "bfloat16", "graphs": True},
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0, help="of sound")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variants", default="fast", help=f"of ours, comma separated: {', '.join(VARIANTS)}")
    parser.add_argument("--device", default="cpu", help="of both; graphs need cuda")
    parser.add_argument("--out", type=Path, help="write the JSON here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)  # a worker of ours
    return parser.parse_args()


class Worker:
    """A process that makes the clip each time it is asked."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: str | None = None) -> None:
        self.name, self.records = name, list[dict[str, Any]]()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )
        while (line := self._line()) != "ready":
            print(f"{name}: {line}", file=sys.stderr)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self._process.wait()}")
        return line.strip()

    def ask(self, picture: Path, sound: Path) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(picture, sound, file=self._process.stdin, flush=True)
        return json.loads(self._line())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(variant: str, threads: int, device: str) -> None:
    """Ours: answers each line "PICTURE SOUND" on stdin with a line of JSON."""
    import torch

    from floatbench.animate.pipeline import FLOAT
    from floatbench.media import read_audio
    from floatbench.model import checkpoint
    from floatbench.model.layers import set_impl
    from floatbench.sampling.loading import Origin
    from floatbench.sampling.options import preset

    torch.set_num_threads(threads)
    weights, how = Path(os.environ["FLOATBENCH_CHECKPOINTS_FLOAT"]), VARIANTS[variant]
    speech = (weights / "wav2vec2-base-960h", weights / "wav2vec-english-speech-emotion-recognition")
    network = checkpoint.load(weights / "float.pth", *speech)
    set_impl(network, how.get("impl", "fast"))
    model, options = FLOAT(network, Origin("release", {}), device, **how), preset("official")
    print("ready", flush=True)
    for line in sys.stdin:
        picture, sound = line.split()
        started, cpu = time.perf_counter(), time.process_time()
        rgb, _ = model.picture(picture, None, options)
        stream = model.stream(rgb, read_audio(Path(sound)), options=options)
        frames = [frame.copy() for frame in stream]
        record = {"seconds": time.perf_counter() - started, "frames": len(frames), "stages": stream.clock.seconds}
        record["cpu_seconds"] = time.process_time() - cpu
        print(json.dumps(record | {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}), flush=True)


def workers(given: argparse.Namespace) -> list[Worker]:
    source, python = os.environ["FLOATBENCH_SRC_FLOAT"], os.environ.get("FLOATBENCH_PYTHON_FLOAT", sys.executable)
    environment = os.environ | {"OMP_NUM_THREADS": str(given.threads)}
    weights = os.environ["FLOATBENCH_CHECKPOINTS_FLOAT"]
    command = [python, str(RUNNER), "clock", weights, str(given.threads), given.device]
    made = [Worker("official", command, environment | {"PYTHONPATH": source}, source)]
    for variant in given.variants.split(","):
        own = [sys.executable, __file__, "--serve", variant, "--threads", str(given.threads), "--device", given.device]
        made.append(Worker(f"ours, {variant}", own, environment))
    return made


def inputs(folder: Path, seconds: float) -> tuple[Path, Path]:
    """A random 512 x 512 picture and noise as speech: no stage's cost depends on what they show."""
    from floatbench.media import write_image, write_wav

    rng = np.random.default_rng(0)
    picture, sound = folder / "picture.png", folder / "sound.wav"
    write_image(picture, rng.integers(0, 256, (512, 512, 3), dtype=np.uint8))
    write_wav(sound, rng.normal(0, 3000, int(seconds * 16_000)).astype(np.int16))
    return picture, sound


def ratios(base: Worker, worker: Worker, key: str) -> list[float]:
    """How many times faster than the release, round by round."""
    return [theirs[key] / ours[key] for theirs, ours in zip(base.records, worker.records, strict=True)]


def report(made: list[Worker], given: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for worker in made:
        rows.append({
            "name": worker.name, "frames": worker.records[0]["frames"],
            "seconds": [record["seconds"] for record in worker.records],
            "cpu_seconds": [record["cpu_seconds"] for record in worker.records],
            "ratios": ratios(made[0], worker, "seconds"), "cpu_ratios": ratios(made[0], worker, "cpu_seconds"),
            "peak_mib": worker.records[-1]["peak_mib"], "stages": worker.records[-1].get("stages", {}),
        })  # fmt: skip
    cpu = Path("/proc/cpuinfo")
    flags = sorted(set(CPU_FLAGS) & set(cpu.read_text().split())) if cpu.is_file() else []
    return {"threads": given.threads, "sound_s": given.seconds, "device": given.device, "cpu_flags": flags,
            "load_1m": os.getloadavg()[0],
            "rows": rows}  # fmt: skip


def main() -> None:
    given = parse()
    if given.serve:
        serve(given.serve, given.threads, given.device)
        return
    made = workers(given)
    with tempfile.TemporaryDirectory() as folder:
        for worker in made:
            worker.ask(*inputs(Path(folder), WARM_UP_S))
        picture, sound = inputs(Path(folder), given.seconds)
        for repeat in range(given.repeats):
            for worker in made:
                worker.records.append(record := worker.ask(picture, sound))
                spent = f"{record['seconds']:.1f} s, CPU {record['cpu_seconds']:.1f} s"
                print(f"round {repeat + 1}: {worker.name} {spent}", file=sys.stderr, flush=True)
            if given.out:  # after each round: one that is stopped keeps what it has
                write_json(given.out, report(made, given))
    for worker in made:
        worker.close()
    found = report(made, given)
    print(f"{given.seconds:g} s of sound, {given.threads} threads, flags {', '.join(found['cpu_flags'])}")
    for row in found["rows"]:
        wall, cpu = (statistics.median(row[key]) for key in ("seconds", "cpu_seconds"))
        faster, less = (statistics.median(row[key]) for key in ("ratios", "cpu_ratios"))
        print(f"{row['name']:16s} {row['frames']} frames   {wall:6.1f} s ({faster:.2f} x)   "
              f"CPU {cpu:6.1f} s ({less:.2f} x)   peak {row['peak_mib']:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
