"""Scoring two folders of finished videos against each other, without a protocol file and without any cropping."""

from __future__ import annotations

from pathlib import Path

from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.errors import ClipError, UsageError
from floatbench.files import file_sha256
from floatbench.protocol.protocol import Clip, ClipFile, Preprocessing, Protocol
from floatbench.types import VIDEO_SUFFIXES

SOUND_SUFFIX = ".wav"


class AsIsDataset(Dataset):
    """Reference videos used as they are: only the time line (25 fps, 16 kHz) is applied."""

    def availability(self) -> list[Availability]:
        return [Availability(clip.id, "ready") for clip in self.protocol.clips]

    def load(self, clip: Clip) -> Reference:
        from floatbench.media import read_clip

        folder = Path(self.protocol.root)
        video = folder / clip.video
        if not video.is_file():
            raise ClipError("missing", f"{clip.video} does not exist")
        media = read_clip(video, audio_path=folder / clip.audio if clip.audio else None)
        return Reference(media=media, source=media.frames[0], video=video)


def as_is_protocol(folder: Path, metric_ids: tuple[str, ...]) -> Protocol:
    """A protocol over the videos of a folder; id = relative path without suffix, a `.wav` of that stem is the sound.

    The hash covers the files' bytes, so that a changed file is another protocol.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", fix="--reference DIR with the real videos")
    clips = []
    for video in sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()):
        name = video.relative_to(folder)
        sound = video.with_suffix(SOUND_SUFFIX)
        hashes: dict[ClipFile, str] = {"video": file_sha256(video)}
        if sound.is_file():
            hashes["audio"] = file_sha256(sound)
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
