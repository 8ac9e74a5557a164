"""Where FLOAT's time goes: seconds by stage, frames a second, true NFE and peak memory, plain beside fast.

    python benchmarks/float_speed.py --weights float-tiny --seconds 5
    python benchmarks/float_speed.py --weights float --fabricated --seconds 2 --repeats 1 --out speed.json
    python benchmarks/float_speed.py --random float-tiny --seconds 10,120 --audio-context window --impl fast

Each row runs in a process of its own, so that its peak memory is its own. The rows of a repeat follow one another
(plain, fast, plain, fast ...), so that a busy machine burdens both; the medians over the repeats are printed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

STAGES = ("speech", "emotion", "encode", "solve", "decode", "convert", "mux", "overlapped")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="float", help="float, float-tiny or a checkpoint file")
    parser.add_argument("--random", metavar="CONFIG", help="seeded random weights of this configuration instead")
    parser.add_argument("--fabricated", action="store_true", help="let random weights stand in for missing ones")
    parser.add_argument("--seconds", default="5", help="lengths of sound, comma separated")
    parser.add_argument("--impl", default="plain,fast")
    parser.add_argument("--dtype", default="float32", help="of the fast rows")
    parser.add_argument("--compile", action="store_true", help="compile the fast rows")
    parser.add_argument("--graphs", action="store_true", help="replay the fast rows as CUDA graphs")
    parser.add_argument("--nfe", type=int, help="evaluations of a window, instead of the preset's")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--audio-context", choices=("full", "window"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=float, default=0.2, help="seconds of sound generated before the clock starts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: of this process, on a busy machine"
    )
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # one measurement: the child process
    return parser.parse_args()


def load(given: argparse.Namespace, impl: str) -> Any:
    import torch

    from floatbench.animate.pipeline import FLOAT
    from floatbench.model.config import config
    from floatbench.model.float import FloatModel
    from floatbench.model.randomise import randomise
    from floatbench.sampling.loading import Origin

    torch.set_num_threads(given.threads)
    extra = {"dtype": given.dtype, "compile": given.compile, "graphs": given.graphs} if impl == "fast" else {}
    if not given.random:
        return FLOAT.from_pretrained(given.weights, device=given.device, impl=impl, **extra)
    network = FloatModel(config(given.random))
    randomise(network, 0)
    return FLOAT(
        network, Origin(f"{given.random}, random weights", {}, fabricated=True), given.device, impl=impl, **extra
    )


def measure(given: argparse.Namespace, impl: str, seconds: float) -> dict[str, Any]:
    """One video of noise speech, written as MP4 into a temporary folder."""
    import tempfile
    import time

    import numpy as np
    import torch

    from floatbench.sampling.animator import Direction
    from floatbench.sampling.clock import StageClock
    from floatbench.sampling.options import preset

    model = load(given, impl)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (model.size, model.size, 3), dtype=np.uint8)
    options = preset(given.preset, audio_context=given.audio_context, nfe=given.nfe)
    pcm = rng.normal(0, 3000, int(seconds * 16_000)).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        if given.warmup:
            model.generate(picture, pcm[: int(given.warmup * 16_000)], Path(folder) / "warm.mp4", options=options)
        before = peak_mib()
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        clock = StageClock(model.device, time.process_time if given.clock == "cpu" else None)
        file = Path(folder) / "out.mp4"
        video = model.animate(picture, pcm, file, options=model.fit(options), direction=Direction(), clock=clock)
    record = {
        "impl": impl, "dtype": model.dtype, "compiled": model.compiled, "sound_s": seconds,
        "frames": video.n_frames, "seconds": video.seconds, "total_s": sum(video.seconds.values()), "fps": video.fps,
        "nfe": video.evaluations, "network_rows": video.rows, "peak_rss_mib": peak_mib(), "loaded_rss_mib": before,
        "weights": video.settings["model"],
    }  # fmt: skip
    if model.device.type == "cuda":
        record["peak_cuda_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return record


def peak_mib() -> float:
    """Largest resident size of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def machine(given: argparse.Namespace) -> dict[str, Any]:
    import torch

    name = (
        torch.cuda.get_device_name() if given.device.startswith("cuda") else platform.processor() or platform.machine()
    )
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return {
        "device": name, "threads": given.threads, "load_1m": os.getloadavg()[0], "torch": torch.__version__,
        "cpu_flags": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
    }  # fmt: skip


def median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of medians of repeated measurements."""
    merged = dict(rows[0])
    for key in ("total_s", "fps", "peak_rss_mib", "loaded_rss_mib", "peak_cuda_mib"):
        if key in merged:
            merged[key] = statistics.median(row[key] for row in rows)
    stages = rows[0]["seconds"]
    merged["seconds"] = {stage: statistics.median(row["seconds"][stage] for row in rows) for stage in stages}
    return merged | {"repeats": len(rows)}


def table(rows: list[dict[str, Any]]) -> str:
    heads = ["impl", "dtype", "sound s", *STAGES, "total", "FPS", "NFE", "rows", "peak MiB"]
    lines = [heads]
    for row in rows:
        name = row["impl"] + ("+compile" if row["compiled"] else "")
        stages = [f"{row['seconds'].get(stage, 0):.2f}" for stage in STAGES]
        lines.append([name, row["dtype"], f"{row['sound_s']:g}", *stages, f"{row['total_s']:.2f}", f"{row['fps']:.2f}",
                      str(row["nfe"]), str(row["network_rows"]), f"{row['peak_rss_mib']:.0f}"])  # fmt: skip
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def main() -> None:
    given = parse()
    if given.fabricated:
        os.environ["FLOATBENCH_FABRICATED"] = "1"
    if given.one:
        impl, seconds = given.one.split(":")
        print(json.dumps(measure(given, impl, float(seconds))))
        return
    cases = [(impl, seconds) for seconds in given.seconds.split(",") for impl in given.impl.split(",")]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {case: [] for case in cases}
    for repeat in range(given.repeats):
        for case in cases:
            command = [sys.executable, __file__, *sys.argv[1:], "--one", ":".join(case)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found[case].append(json.loads(output.splitlines()[-1]))
            print(f"repeat {repeat + 1}/{given.repeats}: {case[0]}, {case[1]} s done", file=sys.stderr, flush=True)
    rows = [median(found[case]) for case in cases]
    print(table(rows))
    document = {
        "machine": machine(given),
        "clock": given.clock,
        "preset": given.preset,
        "audio_context": given.audio_context,
        "rows": rows,
    }
    if given.out:
        given.out.write_text(json.dumps(document, indent=2) + "\n")
    else:
        print(json.dumps(document))


if __name__ == "__main__":
    main()
