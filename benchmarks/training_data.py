"""What reading data costs a training step of phase 1: steps a second with and without data, for some processes.

    python benchmarks/training_data.py [--ranks 1,2,8] [--workers 8] [--wait 0.02] [--step 0.35]

Clips are files of noise as the prepared store has them (lossless video) and folders of pictures. Every opened clip
waits `--wait` seconds, as from a network disk; a step is waiting `--step` seconds, as a GPU would compute meanwhile.
Ranks share one machine here, so that each runs alone with its rows of the batch: what is timed is one of them.
`--start` times the first and the second start on `--clips` folders, with a landmarker that waits 17 ms a frame.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from floatbench.media import write_lossless
from floatbench.media.frames import read_pictures
from floatbench.media.image import write_image
from floatbench.progress import NullProgress
from floatbench.training.clip_order import MixedOrder
from floatbench.training.clips import NO_EMOTION, ClipSet, TrainingClip, usable
from floatbench.training.frame_folders import FrameFolders
from floatbench.training.pair_stream import PairStream

FRAMES = 32
LOOK_SECONDS = 0.017
"""Of the face landmarker at 512 px."""


class NetworkClips(ClipSet):
    """Many clips that stand for a few files: videos and folders of pictures in turn, each opened after a wait."""

    def __init__(self, folder: Path, size: int, count: int, wait: float) -> None:
        self.folder, self.size, self.number, self.wait = folder, size, count, wait
        rng = np.random.default_rng(0)
        smooth = rng.integers(0, 256, (FRAMES, size // 16, size // 16, 3), np.uint8).repeat(16, 1).repeat(16, 2)
        frames = smooth + rng.integers(0, 16, smooth.shape, np.uint8)
        write_lossless(folder / "clip.mkv", frames)
        for i, frame in enumerate(frames):
            write_image(folder / "pictures" / f"{i:04d}.png", frame)

    def __len__(self) -> int:
        return self.number

    def load(self, index: int) -> TrainingClip:
        return self.picked(index, range(FRAMES))

    def count(self, index: int) -> int:
        return FRAMES

    def picked(self, index: int, numbers: Sequence[int]) -> TrainingClip:
        from floatbench.media.image import read_image

        time.sleep(self.wait)
        if index % 2:
            frames = read_pictures(self.folder / "clip.mkv", numbers)
        else:
            frames = np.stack([read_image(self.folder / "pictures" / f"{i:04d}.png") for i in numbers])
        boxes = np.zeros((len(frames), 3, 4), np.float32)
        return TrainingClip(str(index), str(index), frames, np.zeros(0, np.int16), boxes, NO_EMOTION, {})


def share_of_data(clips: ClipSet, batch: int, ranks: int, workers: int, step: float, steps: int) -> dict[str, float]:
    """Wall seconds a step of rank 0 with data and without, and what data adds, as a share of the whole."""
    order = MixedOrder(clips, range(len(clips)), 0)
    rows, warm = slice(0, None, ranks), 4 + 2 * workers
    with PairStream(clips, order, batch, 0, True, warm + steps, rows, workers) as stream:
        for number in range(warm):
            stream.at(number)
            time.sleep(step)
        start, waited = time.perf_counter(), 0.0
        for number in range(warm, warm + steps):
            begin = time.perf_counter()
            stream.at(number)
            waited += time.perf_counter() - begin
            time.sleep(step)
        whole = time.perf_counter() - start
    return {
        "ranks": ranks,
        "workers": workers,
        "rows": len(range(batch)[rows]),
        "steps_a_second_without_data": round(1 / step, 3),
        "steps_a_second": round(steps / whole, 3),
        "data_share": round(waited / whole, 4),
    }


class WaitingLandmarker:
    """Takes as long as the face landmarker and sees a face in every frame."""

    sha256 = "waits"

    def seen(self, media: object) -> np.ndarray:
        frames = len(media.frames)  # type: ignore[attr-defined]
        time.sleep(LOOK_SECONDS * frames)
        return np.full((frames, 13, 4), 0.5, np.float32)


def start_seconds(folder: Path, clips: int, frames: int, size: int, workers: int) -> dict[str, float]:
    """Seconds until the first batch could be drawn, for a new set of folders and for a known one."""
    picture = np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)
    write_image(folder / "one.png", picture)
    for clip in range(clips):
        (folder / "clips" / f"{clip:05d}").mkdir(parents=True)
        for number in range(frames):
            os.link(folder / "one.png", folder / "clips" / f"{clip:05d}" / f"{clip:05d}-{number:04d}.png")
    time.sleep(2.5)  # files that have just changed are not remembered
    found: dict[str, float] = {"clips": clips, "pictures": clips * frames}
    for name in ("first", "second"):
        start = time.perf_counter()
        known = FrameFolders(folder / "clips", size)
        known._face_boxes = WaitingLandmarker()  # type: ignore[assignment]
        usable(known, 2, NullProgress(), workers)
        found[name] = round(time.perf_counter() - start, 2)
    return found


def main() -> None:
    """Prints a line for each number of ranks, or what a start takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--ranks", default="1,2,8")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--wait", type=float, default=0.02)
    parser.add_argument("--step", type=float, default=0.35)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--start", action="store_true")
    parser.add_argument("--clips", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.start:
            print(json.dumps(start_seconds(place, options.clips, 16, options.size, options.workers)))
            return
        clips = NetworkClips(place, options.size, 1_000, options.wait)
        for ranks in (int(value) for value in options.ranks.split(",")):
            row = share_of_data(clips, options.batch, ranks, options.workers, options.step, options.steps)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
