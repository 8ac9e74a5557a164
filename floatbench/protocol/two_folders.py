"""Scoring two folders of finished videos against each other, without a protocol file and without any cropping."""

from __future__ import annotations

from pathlib import Path

from floatbench.errors import UsageError
from floatbench.protocol.own_folder import walk
from floatbench.protocol.protocol import Clip, ClipFile, Preprocessing, Protocol
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.file_hashes import FileHashes

SOUND_SUFFIX = ".wav"


def as_is_protocol(folder: Path, metric_ids: tuple[str, ...]) -> Protocol:
    """A protocol over the videos of a folder; id = relative path without suffix, a `.wav` of that stem is the sound.

    The hash covers the files' bytes, so that a changed file is another protocol.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", fix="--reference DIR with the real videos")
    clips, hashed = [], FileHashes()
    for video in sorted(p for p in walk(folder, []) if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()):
        name = video.relative_to(folder)
        sound = video.with_suffix(SOUND_SUFFIX)
        hashes: dict[ClipFile, str] = {"video": hashed.sha256(video)}
        if sound.is_file():
            hashes["audio"] = hashed.sha256(sound)
        stem = name.with_suffix("").as_posix()
        clips.append(
            Clip(
                id=stem,
                identity=stem,
                video=name.as_posix(),
                audio=name.with_suffix(SOUND_SUFFIX).as_posix() if sound.is_file() else "",
                sha256=hashes,
            )
        )
    hashed.save()
    if not clips:
        raise UsageError(f"{folder} holds no video", fix=f"videos end in {', '.join(VIDEO_SUFFIXES)}")
    return Protocol(
        id="score",
        title=f"two folders: {folder.name}",
        dataset="as-is",
        root=str(folder),
        preprocessing=Preprocessing(spec="as-is", boxes="none"),
        metrics=metric_ids,
        clips=tuple(clips),
    )
