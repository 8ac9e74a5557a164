"""The folder `generated/` of a run: what methods made, one video a row."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.engine.records import Row
from floatbench.errors import UsageError
from floatbench.methods import catalogue
from floatbench.methods.method import Generated, Kind, Method
from floatbench.protocol.protocol import Clip

FOLDER = "generated"


@contextmanager
def keeping(output: Generated, kind: Kind, row: Row, run: Path, scratch: Path) -> Iterator[None]:
    """Lets the block measure what a method has made; then that lies in the run folder, and the row says where.

    Frames that were handed over in memory are written losslessly beside the block. Nothing is kept of controls that
    hand over frames, which can be made again, and of finished videos, which are their user's.

    Args:
        scratch: a folder that goes with the row.

    Raises DependencyError: the disk.
    """
    if kind == "videos" or (kind == "control" and output.video is None):
        yield
        return
    if output.video is None and output.media is not None:
        video = scratch / "frames.mkv"
        with _written_beside(output.media.frames, video):
            yield
        output = replace(output, video=video)
    else:
        yield
    _move(output, row, run)


@contextmanager
def _written_beside(frames: np.ndarray, video: Path) -> Iterator[None]:
    """Writes (T, H, W, 3) uint8 RGB frames as FFV1 in a thread; the file is whole when the block has ended."""
    from floatbench.media import write_lossless

    with ThreadPoolExecutor(1, "keep") as pool:
        written = pool.submit(write_lossless, video, frames)
        yield
        written.result()


def _move(output: Generated, row: Row, run: Path) -> None:
    assert output.video is not None
    stem = f"{FOLDER}/{catalogue.slug(row.method)}/{_stem(row)}"
    row.video = _moved(output.video, run, stem)
    if output.audio is not None:
        from floatbench.media import write_wav

        row.sound = f"{stem}.wav"
        write_wav(run / row.sound, output.audio)
    if output.original is not None:
        row.details["original"] = _moved(output.original, run, f"{stem}-original")


def _moved(file: Path, run: Path, stem: str) -> str:
    target = run / f"{stem}{file.suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(file, target)
    return str(target.relative_to(run))


def _stem(row: Row) -> str:
    slug = Clip(id=row.clip, identity=row.identity).slug
    return slug if row.replicate == 0 else f"{slug}-r{row.replicate}"


def refuse_lost_pictures(methods: Mapping[str, Method], records: Mapping[str, Mapping[str, Any]]) -> None:
    """A run without its videos makes them again for a metric that is added later: those of a seed come out the same.

    Args:
        records: of the methods; the mark `deterministic` says that a system needs no seed.

    Raises UsageError for a system that no seed reaches.
    """
    for name, method in methods.items():
        repeatable = method.uses_seed or "deterministic" in records[name].get("marks", ())
        if method.kind in ("system", "baseline", "oracle") and not repeatable:
            what = f"{name}: no seed reaches it, so that without its video a metric added later would see another"
            raise UsageError(what, fix="leave out --no-keep-videos")
