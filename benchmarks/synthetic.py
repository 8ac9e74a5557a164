"""How fast synthetic heads are made: pictures a second by size and cores, and the shares of a clip's time.

    python benchmarks/synthetic.py --sizes 64 128 256 512 --cores 1 2

Times are the best of several interleaved rounds, so that other work on the machine disturbs all cases alike.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import cv2
import numpy as np

from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.identity import make_identity
from floatbench.synthetic.render import Renderer


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
    clip = SyntheticClip(3, 0, frames / 25)
    drawn = {size: Renderer(clip.person, size) for size in sizes}
    cases: dict[str, Callable[[], object]] = {
        f"{size} px, {count} core{'s' if count > 1 else ''}": (
            lambda size=size, count=count: drawn[size].frames(clip.pose, clip.expression, threads=count)
        )
        for size in sizes
        for count in cores
    }
    return {name: frames / seconds for name, seconds in best_of(rounds, cases).items()}


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


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast synthetic heads are made.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # the cores are counted by our own threads
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


if __name__ == "__main__":
    main()
