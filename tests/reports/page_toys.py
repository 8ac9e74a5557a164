"""A finished run with small real videos, sound, tables and a data set that gives its references: what a page needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from report_toys import toy_protocol, write_run

from floatbench.engine.features import FeatureStore
from floatbench.engine.merge import plan_of
from floatbench.engine.records import Row, RowFile, RunInfo
from floatbench.engine.runner import write_parquet
from floatbench.files import write_bytes
from floatbench.media import write_lossless, write_wav
from floatbench.records import read_record
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

FRAMES = 100


def moving(seed: int, frames: int = FRAMES, side: int = 64) -> ClipMedia:
    """A block that moves over a grey ground, and a tone that comes and goes."""
    rng = np.random.default_rng(seed)
    pictures = np.full((frames, side, side, 3), 90, np.uint8)
    colour = rng.integers(60, 255, 3)
    for t in range(frames):
        x = 4 + (t + seed * 5) % (side - 20)
        pictures[t, 20:36, x : x + 12] = colour
    time = np.arange(frames * SAMPLES_PER_FRAME) / 16000
    tone = 9000 * np.sin(2 * np.pi * (200 + 40 * seed) * time) * (np.sin(2 * np.pi * 2 * time) > 0)
    return ClipMedia(pictures, tone.astype(np.int16))


def write_page_run(
    folder: Path, methods: dict[str, float], clips: int = 2, failed: dict[str, tuple[str, ...]] | None = None, **more
) -> Path:
    """`write_run` with a stored video and sound for every row, and the Parquet tables."""
    protocol = more.pop("protocol", None) or toy_protocol("toy", n=clips)
    write_run(folder, methods, protocol=protocol, failed=failed, **more)
    info = read_record(folder / "run.json", RunInfo)
    rows = RowFile(folder / "rows.jsonl").read()
    for m, name in enumerate(methods):
        for c, clip in enumerate(protocol.clips):
            row = rows[name, clip.id, 0]
            if row.status == "ok":
                _store(folder, row, moving(10 * m + c), f"{m}-{clip.slug}")
    text = "".join(f"{row.model_dump_json()}\n" for row in rows.values())
    write_bytes(folder / "rows.jsonl", text.encode())
    write_parquet(folder, plan_of(info), rows, FeatureStore(folder, None))
    return folder


def _store(folder: Path, row: Row, media: ClipMedia, stem: str) -> None:
    assert media.audio is not None
    row.video, row.sound = f"generated/{stem}.mkv", f"generated/{stem}.wav"
    write_lossless(folder / row.video, media.frames)
    write_wav(folder / row.sound, media.audio)
    row.n_frames = row.expected_frames = media.n_frames
    row.height, row.width = media.frames.shape[1:3]
    row.pixels_sha256, row.pcm_sha256 = media.pixels_sha256, media.pcm_sha256
