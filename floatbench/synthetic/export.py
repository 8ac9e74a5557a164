"""Writes synthetic clips as ordinary files: videos, sound, and tables of the truth."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from floatbench.errors import UsageError
from floatbench.files import write_bytes, write_json
from floatbench.media import write_mp4, write_wav
from floatbench.progress import Progress
from floatbench.synthetic.clip import SyntheticClip
from floatbench.synthetic.expression import EXPRESSION, POSE
from floatbench.synthetic.identity import TRAITS
from floatbench.synthetic.phones import PHONES
from floatbench.synthetic.renderer import check_size

SETTINGS = "settings.json"


def export(clips: Sequence[SyntheticClip], size: int, folder: Path, progress: Progress, threads: int = 1) -> Path:
    """Writes every clip to `folder` and returns the folder; files that are there already are kept.

    Layout: ``video/<clip>.mp4`` (H.264 with the sound as AAC), ``audio/<clip>.wav`` (16 kHz), ``clips.csv`` (one row a
    clip), ``identities.csv`` (one row a person, the traits), ``frames.parquet`` (one row a frame: pose, expression,
    phone) and ``settings.json``. Raises UsageError for a folder of other settings and DependencyError for a full disk.
    """
    check_size(size)
    if size % 2:
        raise UsageError(f"H.264 files need an even size, got {size}", fix=f"--size {size + 1}")
    _claim(folder, {"size": size, "seconds": clips[0].seconds, "seed": clips[0].seed, "format": "synthetic-1"})
    with progress.task("clips", len(clips)) as task:
        for clip in clips:
            video, audio = folder / "video" / f"{clip.id}.mp4", folder / "audio" / f"{clip.id}.wav"
            if not (video.is_file() and audio.is_file()):
                sound = clip.audio()
                write_wav(audio, sound)
                write_mp4(video, clip.frames(size, threads=threads), sound)
            task.advance(note=clip.id)
    _tables(clips, folder)
    return folder


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Refuses a folder that holds clips of other settings; the same settings carry on."""
    file = folder / SETTINGS
    if file.is_file():
        try:
            found = json.loads(file.read_text())
        except ValueError:
            found = None
        if found != settings:
            raise UsageError(f"{folder} holds clips of other settings: {found}", fix="choose another folder with --out")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty and holds no synthetic clips", fix="choose another folder with --out")
    write_json(file, settings)


def _tables(clips: Sequence[SyntheticClip], folder: Path) -> None:
    rows, people, frames = [], {}, []
    for clip in clips:
        rows.append(
            {"clip": clip.id, "identity": clip.person.name, "emotion": clip.mood, "frames": clip.n_frames}
            | {"video": f"video/{clip.id}.mp4", "audio": f"audio/{clip.id}.wav"}
        )
        people[clip.person.name] = clip.person.vector
        truth = clip.truth()
        table = pd.DataFrame(truth["pose"], columns=pd.Index(POSE))
        table = table.join(pd.DataFrame(truth["expression"], columns=pd.Index(EXPRESSION)))
        table.insert(0, "clip", clip.id)
        table.insert(1, "frame", range(clip.n_frames))
        table["phone"] = [PHONES[number] for number in truth["phones"]]
        frames.append(table)
    traits = pd.DataFrame.from_dict(people, orient="index", columns=pd.Index(TRAITS)).rename_axis("identity")
    write_bytes(folder / "clips.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())
    write_bytes(folder / "identities.csv", traits.to_csv(lineterminator="\n").encode())
    buffer = io.BytesIO()
    pd.concat(frames, ignore_index=True).to_parquet(buffer, index=False)
    write_bytes(folder / "frames.parquet", buffer.getvalue())
