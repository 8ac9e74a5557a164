"""What the engine costs: one decode for all backbones, overhead per clip, memory against clips and their length.

    python benchmarks/engine.py [--size 128] [--seconds 10] [--clips 6] [--json]
    python benchmarks/engine.py --memory [--size 128] [--json]
    python benchmarks/engine.py --hand-over [--size 512] [--seconds 4] [--json]

Ratios are taken inside one run, the two ways interleaved, so that the machine's noise hits both.
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

import numpy as np

from floatbench.data.as_is import AsIsDataset
from floatbench.engine import decoded
from floatbench.engine.runner import RunOptions, run
from floatbench.media import read_clip, write_lossless, write_wav
from floatbench.methods.method import ClipRequest, Generated, Method
from floatbench.metrics.base import Backbone, ClipValue, Metric, MetricInfo, Pair, Score
from floatbench.protocol.two_folders import as_is_protocol
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia, Features

N_BACKBONES = 4


class Trivial(Backbone):
    """Looks at one pixel."""

    def __init__(self, number: int) -> None:
        self.id = f"trivial-{number}"

    def load(self, device: str = "cpu") -> None:
        return None

    def extract(self, clip: ClipMedia) -> Features:
        return {"pixel": clip.frames[:, 0, 0].copy()}


class Still(Method):
    """The source picture for the whole clip, in memory or as a lossless file."""

    name = "still"

    def generate(self, request: ClipRequest) -> Generated:
        frames = np.broadcast_to(request.source, (request.n_frames, *request.source.shape))
        if request.in_memory(*frames.shape[:3]):
            return Generated(media=ClipMedia(np.ascontiguousarray(frames)))
        write_lossless(request.folder / "still.mkv", frames)
        return Generated(video=request.folder / "still.mkv")


class TrivialMetric(Metric):
    """Always 1; needs every trivial backbone."""

    info = MetricInfo(
        id="trivial", column="TRIVIAL", title="", higher_is_better=True, level="clip",
        backbones=tuple(f"trivial-{k}" for k in range(N_BACKBONES)), sides=("generated", "reference"),
        formula="", source="", parity="",
    )  # fmt: skip

    def clip_value(self, pair: Pair) -> ClipValue:
        return ClipValue(1.0)

    def reduce(self, pairs) -> Score:
        return Score("trivial", 1.0, len(pairs))


METRICS = {"trivial": TrivialMetric}
BACKBONES = {f"trivial-{k}": (lambda k=k: Trivial(k)) for k in range(N_BACKBONES)}


def make_clips(folder: Path, clips: int, size: int, seconds: float, grain: int = 0) -> None:
    """Clips of one picture and noise for a sound; with `grain` a picture that compresses as a photograph does."""
    rng = np.random.default_rng(0)
    frames = round(seconds * 25)
    for k in range(clips):
        ramp = np.linspace(0, 200, size)[:, None, None] + np.linspace(0, 25, size)[None, :, None]
        ramp = ramp * (1 - grain / 255) + (rng.integers(0, grain, (size, size, 3)) if grain else 0)
        pictures = ((ramp + rng.integers(0, 30, 3)).astype(np.uint8) for _ in range(frames))
        write_lossless(folder / f"clip{k}.mkv", pictures)  # one at a time: the peak is to be the engine's
        write_wav(folder / f"clip{k}.wav", rng.normal(0, 2000, frames * SAMPLES_PER_FRAME).astype(np.int16))


def videos(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mkv"))


def decode(folder: Path) -> tuple[float, float]:
    """CPU seconds to decode every clip once, and to hash its content."""
    decoding = hashing = 0.0
    for video in videos(folder):
        begin = time.process_time()
        clip = read_clip(video, audio_path=video.with_suffix(".wav"))
        middle = time.process_time()
        _ = clip.pixels_sha256, clip.pcm_sha256
        decoding, hashing = decoding + middle - begin, hashing + time.process_time() - middle
    return decoding, hashing


def one_run(folder: Path, out: Path, method: str | Method = "reference") -> float:
    """CPU seconds of a whole run of the engine: plan, decode once, four backbones, scores, tables."""
    protocol = as_is_protocol(folder, ("trivial",))
    options = RunOptions(methods=[method], controls=False, out=out, workers=0, device="cpu")
    begin = time.process_time()
    run(protocol, AsIsDataset(protocol), options)
    return time.process_time() - begin


def hand_over(size: int, seconds: float, clips: int, repeats: int) -> dict[str, float]:
    """CPU and wall milliseconds a frame of a run whose method's frames go by file and in memory, turn about."""
    times: dict[str, list[tuple[float, float]]] = {"by_file": [], "in_memory": []}
    frames, limit = round(seconds * 25) * clips, decoded.IN_MEMORY
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clips"
        folder.mkdir()
        make_clips(folder, clips, size, seconds, grain=8)
        for repeat in range(-1, repeats):
            for way, found in times.items():
                os.environ["FLOATBENCH_HOME"] = str(Path(scratch) / f"home-{way}{repeat}")
                decoded.IN_MEMORY = limit if way == "in_memory" else 0
                begin = time.perf_counter()
                found.append((one_run(folder, Path(scratch) / f"{way}{repeat}", Still()), time.perf_counter() - begin))
    result: dict[str, float] = {"size": size, "seconds_per_clip": seconds, "clips": clips}
    for number, clock in enumerate(("cpu", "wall")):
        columns = {way: [pair[number] for pair in found[1:]] for way, found in times.items()}
        result |= {f"{way}_{clock}_ms_a_frame": 1e3 * statistics.median(c) / frames for way, c in columns.items()}
        ratios = [a / b for a, b in zip(columns["by_file"], columns["in_memory"], strict=True)]
        result[f"by_file_over_in_memory_{clock}"] = statistics.median(ratios)
    return result


def decode_per_backbone(folder: Path) -> float:
    """CPU seconds of the other way: every backbone opens and decodes every clip for itself."""
    begin = time.process_time()
    for number in range(N_BACKBONES):
        for video in videos(folder):
            Trivial(number).extract(read_clip(video, audio_path=video.with_suffix(".wav")))
    return time.process_time() - begin


def measure(size: int, seconds: float, clips: int, repeats: int) -> dict[str, float]:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clips"
        folder.mkdir()
        make_clips(folder, clips, size, seconds)
        os.environ["FLOATBENCH_HOME"] = str(Path(scratch) / "home")
        one_run(folder, Path(scratch) / "warm")
        for repeat in range(repeats):
            os.environ["FLOATBENCH_HOME"] = str(Path(scratch) / f"home{repeat}")
            engine = one_run(folder, Path(scratch) / f"run{repeat}")
            rows.append((engine, *decode(folder), decode_per_backbone(folder)))
    engine, decoding, hashing, each = (statistics.median(column) for column in zip(*rows, strict=True))
    return {
        "size": size,
        "seconds_per_clip": seconds,
        "clips": clips,
        "decode_ms_per_clip": 1e3 * decoding / clips,
        "content_hash_ms_per_clip": 1e3 * hashing / clips,
        "other_overhead_ms_per_clip": 1e3 * (engine - decoding - hashing) / clips,
        "decode_per_backbone_over_engine": each / engine,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def peak_mb(size: int, seconds: float, clips: int) -> float:
    """Peak resident memory of a fresh process that makes the clips and runs the engine over them once."""
    command = [
        sys.executable,
        __file__,
        "--peak",
        "--size",
        str(size),
        "--seconds",
        str(seconds),
        "--clips",
        str(clips),
    ]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def one_peak(size: int, seconds: float, clips: int) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clips"
        folder.mkdir()
        make_clips(folder, clips, size, seconds)
        os.environ["FLOATBENCH_HOME"] = str(Path(scratch) / "home")
        one_run(folder, Path(scratch) / "run")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(size: int) -> dict[str, float]:
    """Peak memory for every pair of clip length and number of clips, MB."""
    pairs = [(seconds, clips) for seconds in (5, 10, 20) for clips in (1, 4)]
    return {f"{seconds} s x {clips}": peak_mb(size, seconds, clips) for seconds, clips in pairs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory", action="store_true", help="peak memory by length and number of clips")
    parser.add_argument("--hand-over", action="store_true", help="a method's frames by file and in memory")
    parser.add_argument("--peak", action="store_true", help="peak memory of this process for one length and number")
    arguments = parser.parse_args()
    sys.modules["engine_benchmark"] = sys.modules[__name__]  # this file is the plugin that brings the trivial metric
    os.environ["FLOATBENCH_PLUGINS"] = "engine_benchmark"
    if arguments.peak:
        print(one_peak(arguments.size, arguments.seconds, arguments.clips))
        return
    if arguments.memory:
        result = memory(arguments.size)
    elif arguments.hand_over:
        result = hand_over(arguments.size, arguments.seconds, arguments.clips, arguments.repeats)
    else:
        result = measure(arguments.size, arguments.seconds, arguments.clips, arguments.repeats)
    if arguments.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:32s} {value:10.2f}")


if __name__ == "__main__":
    main()
