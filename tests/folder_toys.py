"""Small project folders for tests: real videos in `ref`, a system's in `gen`; PSNR over them in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import floatbench
from floatbench.api import Result
from floatbench.media import write_lossless

FRAMES, SIDE = 4, 32
CLIPS = ("a", "b", "c")


def film(path: Path, seed: int, frames: int = FRAMES) -> Path:
    """A lossless film of noise that only its seed decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lossless(path, np.random.default_rng(seed).integers(0, 256, (frames, SIDE, SIDE, 3), np.uint8))
    return path


def project(folder: Path, clips: tuple[str, ...] = CLIPS, frames: int = FRAMES) -> Path:
    """`ref` and `gen` with a film for every clip; no two films are alike."""
    for number, clip in enumerate(clips):
        film(folder / "ref" / f"{clip}.mkv", number, frames)
        film(folder / "gen" / f"{clip}.mkv", 100 + number, frames)
    return folder


def score(folder: Path, out: Path | None, **more: object) -> Result:
    """`floatbench score` of a project."""
    options = {"metrics": ["psnr-grey128"], "controls": False, "workers": 0, "out": out} | more
    return floatbench.score(folder / "gen", folder / "ref", **options)  # pyright: ignore[reportArgumentType]


def psnr(result: Result) -> float | None:
    """The one system's PSNR."""
    [cell] = [cell for cell in result.run.scores.scores if cell.method.startswith("videos:")]
    return cell.value
