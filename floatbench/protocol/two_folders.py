"""Scoring two folders of finished videos against each other, without a protocol file and without any cropping."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from floatbench.errors import UsageError
from floatbench.protocol.own_folder import videos_and_sounds
from floatbench.protocol.protocol import Clip, ClipFile, Preprocessing, Protocol
from floatbench.text import printable
from floatbench.weights.file_hashes import FileHashes


def as_is_protocol(folder: Path, metric_ids: tuple[str, ...]) -> Protocol:
    """A protocol over the videos of a folder; id = relative path without suffix, a `.wav` of that stem is the sound.

    The hash covers the files' bytes, so that a changed file is another protocol.
    """
    if not folder.is_dir():
        raise UsageError(f"{printable(folder)} is not a folder", fix="--reference DIR with the real videos")
    videos, sounds, notes = videos_and_sounds(folder)
    hashed = FileHashes()
    clips = tuple(_clip(folder, name, sounds.get(name, ""), hashed) for name in sorted(videos, key=PurePosixPath))
    hashed.save()
    return Protocol(
        id="score",
        title=f"two folders: {folder.name}",
        dataset="as-is",
        root=str(folder),
        preprocessing=Preprocessing(spec="as-is", boxes="none"),
        metrics=metric_ids,
        clips=clips,
        notes=notes,
    )


def _clip(folder: Path, video: str, sound: str, hashed: FileHashes) -> Clip:
    files: dict[ClipFile, str] = {"video": video, "audio": sound}
    stem = PurePosixPath(video).with_suffix("").as_posix()
    return Clip(
        id=stem,
        identity=stem,
        video=video,
        audio=sound,
        sha256={kind: hashed.sha256(folder / file) for kind, file in files.items() if file},
    )
