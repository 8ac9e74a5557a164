"""What reading data costs a training step of phase 1: steps a second with and without data, for some processes.

    python benchmarks/training_data.py [--ranks 1,2,8] [--workers 8] [--wait 0.02] [--step 0.35]

Clips are files of noise as the prepared store has them (lossless video) and folders of pictures. Every opened clip
waits `--wait` seconds, as from a network disk; a step is waiting `--step` seconds, as a GPU would compute meanwhile.
Ranks share one machine here, so that each runs alone with its rows of the batch: what is timed is one of them.
`--start` times the first and the second start on `--clips` folders, with a landmarker that waits 17 ms a frame.
`--paper` times a second start of `float-512` on the paper's lists: all of their clips, each with what was seen in it,
in files that are as many as the real ones but hold next to nothing (`--pictures` in each folder of VFHQ's 16,000).
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

from floatbench.data.catalogue import dataset_for
from floatbench.data.dataset import Dataset
from floatbench.data.prepared import PreparedDataset
from floatbench.media import write_lossless
from floatbench.media.boxes import Box
from floatbench.media.crop import Crop
from floatbench.media.frames import read_pictures
from floatbench.media.image import write_image
from floatbench.media.manifest import Backend, ManifestRow, SourceFile
from floatbench.media.pp1 import VIDEO, read_row
from floatbench.paths import data_dir
from floatbench.progress import NullProgress
from floatbench.protocol.load import load_protocol
from floatbench.training import frame_folders, protocol_clips
from floatbench.training.clip_facts import pictures_content, write_facts
from floatbench.training.clip_order import MixedOrder
from floatbench.training.clips import NO_EMOTION, ClipSet, TrainingClip, usable
from floatbench.training.configs import CONFIGS
from floatbench.training.frame_folders import FrameFolders
from floatbench.training.pair_stream import PairStream
from floatbench.training.protocol_clips import ProtocolClips
from floatbench.training.train import clip_set

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


VFHQ, LINKS = 16_000, 30_000
"""Folders of VFHQ, and names that one file may have."""


def paper_seconds(home: Path, pictures: int) -> dict[str, float]:
    """Seconds of each part of a second start of phase 1 on the paper's lists, one process."""
    os.environ["FLOATBENCH_HOME"] = str(home)
    protocol_clips.FaceBoxes = frame_folders.FaceBoxes = WaitingLandmarker  # type: ignore[misc, assignment]
    for name in ("hdtf-train", "ravdess-train"):
        fabricate_prepared(dataset_for(load_protocol(name)))
    fabricate_folders(data_dir() / "raw" / "vfhq", pictures)
    time.sleep(2.5)  # files that have just changed are not remembered
    config = CONFIGS["float-512"]
    for part in clip_set(config, NullProgress(), pairs=True).parts:  # type: ignore[attr-defined]
        remember(part)
    start, worked = time.perf_counter(), time.process_time()
    clips = clip_set(config, NullProgress(), pairs=True)
    listed = time.perf_counter()
    good = usable(clips, 2, NullProgress())
    known = time.perf_counter()
    MixedOrder(clips, good, 0).entry(0)
    done = time.perf_counter()
    times = {"list": listed - start, "check": known - listed, "order": done - known, "whole": done - start}
    times["processor"] = time.process_time() - worked
    return {"clips": len(good), "pictures": VFHQ * pictures} | {name: round(value, 2) for name, value in times.items()}


def fabricate_prepared(dataset: Dataset) -> None:
    """Folders of prepared clips whose notes are as long as real ones and whose videos are holes of 2 MB."""
    assert isinstance(dataset, PreparedDataset)
    no = "0" * 64
    source = SourceFile(
        sha256=no, bytes=1, width=720, height=1280, fps=25, pix_fmt="yuv420p", color_range=1, colorspace=1,
        color_primaries=1, color_trc=1,
    )  # fmt: skip
    for number, clip in enumerate(dataset.protocol.clips):
        frames = round(25 * ((clip.end_s or 3.7) - (clip.start_s or 0)))
        row = ManifestRow(
            spec="pp1", label="pp1", dataset=dataset.protocol.dataset, clip_id=clip.id, identity=clip.identity,
            split=dataset.protocol.split, source=source, start_s=clip.start_s, end_s=clip.end_s, t0_s=0.0,
            n_frames=frames, size=512, source_index=tuple(range(frames)), backend=Backend(name="s3fd", version="1"),
            boxes=(Box(100, 100, 300, 300),) * frames, crop=Crop(0, 0, 512), padded_share=0.0, flags=(),
            pixels_sha256=no, pcm_sha256=no, versions={}, platform="",
        )  # fmt: skip
        folder = dataset.folder(clip)
        folder.mkdir(parents=True)
        (folder / "clip.json").write_text(row.model_dump_json())
        with (folder / VIDEO).open("wb") as video:
            video.write(number.to_bytes(8, "little"))
            video.truncate(2 << 20)


def fabricate_folders(root: Path, pictures: int) -> None:
    """VFHQ's folders, their pictures links to few files of a few bytes."""
    root.mkdir(parents=True)
    for number in range(VFHQ * pictures):
        one = root.parent / f"one-{number // LINKS}.png"
        if number % LINKS == 0:
            one.write_bytes(number.to_bytes(8, "little"))
        folder = root / f"Clip+{number // pictures:05d}+P0+C0+F1-9"
        if number % pictures == 0:
            folder.mkdir()
        os.link(one, folder / f"{number % pictures:08d}.png")


def remember(part: ProtocolClips | FrameFolders) -> None:
    """Writes down a face for every frame that a first start would have looked at."""
    for index in range(len(part)):
        if isinstance(part, FrameFolders):
            files = part._files(index)
            write_facts(part._fact_key(pictures_content(files)[0]), np.full((len(files), 13, 4), 0.5, np.float32))
        elif not part.combs[index].first:
            comb = part.combs[index]
            frames = len(comb.numbers) or read_row(part.dataset.folder(comb.clip)).n_frames  # type: ignore[attr-defined]
            write_facts(part._fact_key(comb), np.full((frames, 13, 4), 0.5, np.float32))


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
    parser.add_argument("--paper", action="store_true")
    parser.add_argument("--pictures", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.start:
            print(json.dumps(start_seconds(place, options.clips, 16, options.size, options.workers)))
            return
        if options.paper:
            print(json.dumps(paper_seconds(place, options.pictures)))
            return
        clips = NetworkClips(place, options.size, 1_000, options.wait)
        for ranks in (int(value) for value in options.ranks.split(",")):
            row = share_of_data(clips, options.batch, ranks, options.workers, options.step, options.steps)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
