"""Brings back the pictures and sound that were scored and writes them as videos a browser plays.

What is shown is what was scored: the decoded content must have the hashes of the row, or it is not shown.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from floatbench.data.dataset import Dataset, Reference
from floatbench.engine.admission import cut_audio, decode
from floatbench.engine.local_folders import local_folders
from floatbench.engine.records import Row, kind_of
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.media import Mp4Writer, probe, read_audio, write_image
from floatbench.methods import catalogue
from floatbench.methods.method import ClipRequest, Generated
from floatbench.methods.videos import PREFIX, VideosMethod
from floatbench.protocol.protocol import Clip
from floatbench.reports.loading import RecordedRun
from floatbench.types import SAMPLES_PER_FRAME, ClipMedia

POSTER = 192  # longer side in pixels
KEYFRAMES = 12  # frames between key frames: a step backwards decodes at most that many
PEAKS_PER_FRAME = 2
_KEPT = 4  # decoded references held at a time: the clip's own and those that controls borrow from


@dataclass(frozen=True)
class Exported:
    """Files of one row, relative to the page's folder, and its waveform (PEAKS_PER_FRAME values a frame, 0..100)."""

    video: str
    poster: str
    peaks: list[int]


class Footage:
    """The scored media of one run's rows.

    Args:
        run: a finished run.
        dataset: gives the reference media; None when the run's data cannot be found on this machine.
    """

    def __init__(self, run: RecordedRun, dataset: Dataset | None) -> None:
        self.run = run
        self._dataset = dataset
        self.clips = {clip.id: clip for clip in run.info.protocol.clips}
        self._references: OrderedDict[str, Reference | ClipError] = OrderedDict()
        self._finished: dict[str, VideosMethod] = {}

    def load(self, row: Row) -> ClipMedia:
        """Pictures and sound of a row as they were scored; sound is None where it is not on this machine.

        Raises:
            ClipError: there is no video, or it is no longer the one that was scored.
        """
        output = self._output(row)
        frames = output.media.frames if output.media is not None else self._decoded(output)
        frames = frames[: row.n_frames]
        audio = output.audio if output.audio is not None else self._driving_sound(row)
        media = ClipMedia(frames, cut_audio(audio, len(frames)) if row.pcm_sha256 else None)
        if media.pixels_sha256 != row.pixels_sha256:
            raise ClipError("source_changed", "the video is no longer the one that was scored")
        if media.audio is not None and media.pcm_sha256 != row.pcm_sha256:
            raise ClipError("source_changed", "the sound is no longer the one that was scored")
        return media

    def _output(self, row: Row) -> Generated:
        if row.video:
            sound = read_audio(self.run.folder / row.sound) if row.sound else None
            return Generated(video=self.run.folder / row.video, audio=sound)
        kind = kind_of(self.run.info.methods.get(row.method, {}))
        if kind == "videos":
            cropped = self.run.info.methods[row.method].get("crop") == "same"
            cut = self.reference(self.clips[row.clip]).cut if cropped else None
            return Generated(video=self._finished_video(row), cut=cut)
        if kind != "control":
            raise ClipError("missing", "the run kept no video of it")
        return self._control(row)

    def _finished_video(self, row: Row) -> Path:
        """The video that was scored, where it lies; runs of the first version kept the folder in the name only."""
        record, folder = self.run.info.methods[row.method], row.method.removeprefix(PREFIX)
        if row.method == folder:
            folder = str(record.get("folder", ""))
        if row.method not in self._finished:
            remembered = local_folders(self.run.folder).videos.get(row.method, "")
            folder = remembered if remembered and Path(remembered).is_dir() else folder
            clips = list(self.clips.values())
            try:
                method = VideosMethod(folder, strip_suffixes=record.get("strip_suffixes", ()))
                method.match(clips, clips)
            except (UsageError, DataError) as error:
                raise ClipError("missing", error.what) from error
            self._finished[row.method] = method
        return self._finished[row.method].find(row.clip)

    def _control(self, row: Row) -> Generated:
        """A control is a function of the reference, so it is made again."""
        method, clip = catalogue.create(row.method), self.clips[row.clip]
        reference = self.reference(clip)
        partner = row.details.get("partner")
        with tempfile.TemporaryDirectory() as folder:
            request = ClipRequest(
                clip_id=clip.id,
                slug=clip.slug,
                source=reference.source,
                audio=reference.media.audio,
                n_frames=reference.media.n_frames,
                seed=row.seed,
                folder=Path(folder),
                reference=reference.media,
                spec=self.run.info.protocol.preprocessing.spec,
                partner=self.reference(self.clips[partner]).media if partner in self.clips else None,
            )
            output = method.generate(request)
            if output.media is None:  # a control that writes a file: decoded before the folder goes
                return Generated(media=ClipMedia(self._decoded(output)), audio=output.audio)
            return output

    def _decoded(self, output: Generated) -> np.ndarray:
        if output.video is None or not output.video.is_file():
            raise ClipError("missing", "the video is gone from the run folder")
        return decode(output, self.run.info.protocol.preprocessing.spec)

    def reference(self, clip: Clip) -> Reference:
        """The prepared clip; ClipError when it is not on this machine."""
        if clip.id not in self._references:
            self._references[clip.id] = self._load_reference(clip)
            if len(self._references) > _KEPT:
                self._references.popitem(last=False)
        found = self._references[clip.id]
        if isinstance(found, ClipError):
            raise found
        return found

    def _load_reference(self, clip: Clip) -> Reference | ClipError:
        if self._dataset is None:
            return ClipError("missing", "the real video is not on this machine")
        try:
            return self._dataset.load(clip)
        except (ClipError, DataError, UsageError) as error:
            return ClipError("missing", f"the real video is not on this machine: {error.what}")

    def _driving_sound(self, row: Row) -> np.ndarray | None:
        try:
            return self.reference(self.clips[row.clip]).media.audio
        except ClipError:
            return None


def export(footage: Footage, row: Row, page: Path) -> Exported:
    """Writes a row's video and poster below the page's folder; files that are there are kept (their names hold hashes).

    Raises:
        ClipError: there is nothing to show, with the reason.
    """
    content = hashlib.sha256(f"{row.pixels_sha256} {row.pcm_sha256}".encode()).hexdigest()[:10]
    stem = f"media/{catalogue.slug(row.method)}/{footage.clips[row.clip].slug}-{content}"
    video, poster = f"{stem}.mp4", f"{stem}.jpg"
    if (page / video).is_file() and (page / poster).is_file():
        peaks = bytes.fromhex(probe(page / video).metadata.get("waveform", ""))
        if peaks or not row.pcm_sha256:  # a video without its sound is tried again
            return Exported(video, poster, list(peaks))
    media = footage.load(row)
    peaks = waveform(media.audio)
    height, width = media.frames.shape[1:3]
    tags = {**provenance_tags(footage.run, row), "waveform": bytes(peaks).hex()}
    with Mp4Writer(
        page / video, width, height, media.audio, tags, crf=20, preset="veryfast", keyframes=KEYFRAMES
    ) as writer:
        for frame in media.frames:
            writer.write(frame)
    write_image(page / poster, _small(media.frames[len(media.frames) // 2]))
    return Exported(video, poster, peaks)


def _small(frame: np.ndarray) -> np.ndarray:
    import cv2

    scale = min(1.0, POSTER / max(frame.shape[:2]))
    size = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def waveform(audio: np.ndarray | None) -> list[int]:
    """Largest magnitude in each piece of SAMPLES_PER_FRAME / PEAKS_PER_FRAME samples, 0..100 of full scale."""
    if audio is None:
        return []
    step = SAMPLES_PER_FRAME // PEAKS_PER_FRAME
    pieces = np.abs(audio[: len(audio) // step * step].astype(np.int32)).reshape(-1, step)
    return np.ceil(pieces.max(1) * 100 / 32768).astype(int).tolist()


def provenance_tags(run: RecordedRun, row: Row) -> dict[str, str]:
    """Metadata of a video on the page: which system made it with which settings, and whether it is synthetic."""
    drawn = run.info.protocol.preprocessing.spec == "rendered"
    settings = {
        "system": row.method,
        "settings": run.scores.methods[row.method],
        "clip": row.clip,
        "seed": row.seed,
        "protocol": run.scores.label,
        "protocol_hash": run.scores.protocol_hash,
        "pixels_sha256": row.pixels_sha256,
        "floatbench": run.scores.environment.get("floatbench", ""),
    }
    if not run.scores.is_control(row.method):
        mark, what = "yes", f"synthetic media: made by {row.method}, shows no real event"
    elif drawn:
        mark, what = "yes", f"synthetic media: a procedurally drawn head (control {row.method})"
    elif row.method == "reference":
        mark, what = "no", "a recording of the data set, re-encoded for viewing"
    else:
        mark, what = "altered", f"an altered recording of the data set (control {row.method})"
    document = json.dumps(settings, sort_keys=True, default=str)
    return {"title": f"{row.method}: {row.clip}", "comment": what, "synthetic_media": mark, "floatbench": document}


def remove_stale(page: Path, keep: set[str]) -> None:
    """Deletes media and clip files of an earlier page that this one does not name."""
    for folder in ("media", "clips"):
        for path in sorted((page / folder).rglob("*"), reverse=True):
            if path.is_file() and path.relative_to(page).as_posix() not in keep:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
