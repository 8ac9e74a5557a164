"""pp1 and pp2: from a raw video to a prepared clip (25 fps, one fixed square crop, 16 kHz sound), streaming.

A prepared clip is a folder with `video.mkv` (FFV1), `audio.wav`, `source.png` (frame 0) and `clip.json` (its manifest
row). `clip.json` is written last: a folder without it is not prepared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from floatbench.errors import ClipError, DataError
from floatbench.files import file_sha256, write_bytes
from floatbench.media import crop as cropping
from floatbench.media.boxes import Box, BoxBackend, FaceFollower
from floatbench.media.clip import Timed, put_on_time_line, timed_frames
from floatbench.media.container import check_file, require_memory
from floatbench.media.crop import Crop, Cut
from floatbench.media.frames import read_video
from floatbench.media.image import read_image, write_image
from floatbench.media.manifest import Backend, ManifestRow, SourceFile, label_of, machine, parse_row, tool_versions
from floatbench.media.probe import probe
from floatbench.media.rules import Rule, Spec, rule_of
from floatbench.media.sound import read_audio, write_wav
from floatbench.media.writers import LosslessWriter
from floatbench.text import printable
from floatbench.types import ClipMedia

VIDEO, AUDIO, SOURCE, ROW = "video.mkv", "audio.wav", "source.png", "clip.json"


def prepare_clip(
    video: Path,
    out_folder: Path,
    *,
    audio: Path | None = None,
    start: float | None = None,
    end: float | None = None,
    boxes: BoxBackend | None,
    dataset: str,
    clip_id: str,
    identity: str,
    split: str,
    manifest_row: ManifestRow | None = None,
    size: int = cropping.SIZE,
    spec: Spec = "pp1",
) -> ManifestRow:
    """Prepares one clip and returns its manifest row. Pictures are streamed: memory does not grow with the clip.

    Args:
        video: the original, uncropped file.
        out_folder: made when absent; what it holds of an earlier preparation is replaced.
        audio: a second file whose sound replaces the video's own.
        start, end: the window in source time, in seconds.
        boxes: the box back end; may be None with `manifest_row`.
        dataset, clip_id, identity, split: go into the manifest.
        manifest_row: a row of an earlier preparation of the same file: its window, size, boxes and crop are used, and
            nothing is detected.
        size: side of the prepared pictures; a crop below half of it is rejected.
        spec: the rule, that of `manifest_row` where there is one.

    Raises:
        ClipError: the clip cannot be read or is rejected (`too_short`, `no_face`, `face_lost`, `moved`, `too_small`,
            `padding`, `source_changed`).
        DependencyError: the folder cannot be written.
    """
    video, out_folder = Path(video), Path(out_folder)
    spec = spec if manifest_row is None else manifest_row.spec
    rule = rule_of(spec)
    source = _source_file(video, audio, rule)
    if manifest_row is not None:
        _check_same_source(manifest_row, source, video)
        start, end, size = manifest_row.start_s, manifest_row.end_s, manifest_row.size
    timed = put_on_time_line(video, audio, start, end, rule=rule)
    choice = _choose(timed, source, boxes, clip_id) if manifest_row is None else _chosen(timed, manifest_row)
    facts = _facts(timed, choice, source, size)
    (out_folder / ROW).unlink(missing_ok=True)
    row = ManifestRow(
        spec=spec, label=label_of(choice.backend.name, spec),
        dataset=dataset, clip_id=clip_id, identity=identity, split=split, source=source, start_s=start, end_s=end,
        pixels_sha256=_write_video(out_folder, timed, choice.crop, size),
        pcm_sha256=_write_audio(out_folder, timed.pcm),
        versions=tool_versions(), platform=machine(), **facts,
    )  # fmt: skip
    write_bytes(out_folder / ROW, (row.model_dump_json(indent=1) + "\n").encode())
    return row


class _Choice(NamedTuple):
    backend: Backend
    boxes: tuple[Box | None, ...]
    crop: Crop


def _choose(timed: Timed, source: SourceFile, boxes: BoxBackend | None, clip_id: str) -> _Choice:
    if boxes is None:
        raise ValueError("a clip without a manifest row needs a box back end")
    backend = Backend(**asdict(boxes.info()))
    if boxes.whole_picture:
        return _Choice(backend, (), cropping.whole_picture(source.height, source.width))
    found = tuple(track_face(timed, boxes, clip_id))
    return _Choice(backend, found, cropping.from_boxes(found))


def _chosen(timed: Timed, row: ManifestRow) -> _Choice:
    if timed.line.n_frames != row.n_frames:
        raise ClipError("source_changed", f"{timed.line.n_frames} frames, the manifest has {row.n_frames}")
    return _Choice(row.backend, row.boxes, row.crop)


def _facts(timed: Timed, choice: _Choice, source: SourceFile, size: int) -> dict[str, Any]:
    """What a manifest row says of time line, boxes and crop; raises ClipError for a crop that must not be cut."""
    flags = {*timed.flags, *cropping.flags(choice.crop, source.height, source.width, size)}
    return {
        "t0_s": timed.line.t0,
        "n_frames": timed.line.n_frames,
        "size": size,
        "source_index": tuple(timed.line.source_index.tolist()),
        "backend": choice.backend,
        "boxes": choice.boxes,
        "crop": choice.crop,
        "padded_share": round(cropping.padded_share(choice.crop, source.height, source.width), 6),
        "flags": tuple(sorted(flags)),
    }


def track_face(timed: Timed, boxes: BoxBackend, clip_id: str) -> list[Box | None]:
    """One face box per frame of the clip, None where it was not found; raises ClipError as `FaceFollower` does."""
    track = FaceFollower(timed.line.n_frames, boxes.start_score, boxes.follow_score)
    boxes.begin(clip_id)
    for frame, rgb in enumerate(timed_frames(timed)):
        track.add(boxes.detect(rgb, frame))
    return track.boxes


def cropped_frames(timed: Timed, crop: Crop, size: int) -> Iterator[np.ndarray]:
    """The prepared pictures (size, size, 3) of a clip, in order."""
    return (cropping.cut(rgb, crop, size) for rgb in timed_frames(timed))


def load_prepared(folder: Path) -> tuple[ClipMedia, np.ndarray, ManifestRow]:
    """Reads a prepared clip and holds it to the hashes of its `clip.json`.

    Returns:
        the clip ((N, S, S, 3) frames; `audio` None when flagged `no_audio` or `silent`), the source picture (S, S, 3)
        and the manifest row.

    Raises:
        DataError: the folder holds no prepared clip, or `clip.json` cannot be understood.
        ClipError: `damaged` when the content is not what `clip.json` says, or it cannot be decoded.
    """
    folder = Path(folder)
    row = read_row(folder)
    require_memory((row.n_frames, row.size, row.size, 3), folder / VIDEO)
    frames, _ = read_video(folder / VIDEO)
    pcm = read_audio(folder / AUDIO) if row.pcm_sha256 else None
    media = ClipMedia(frames, pcm)
    if (media.pixels_sha256, media.pcm_sha256) != (row.pixels_sha256, row.pcm_sha256):
        raise ClipError("damaged", f"{printable(folder)}: the content is not what {ROW} says")
    if "silent" in row.flags:
        media = ClipMedia(frames)
    return media, read_image(folder / SOURCE), row


def load_sound(folder: Path) -> np.ndarray | None:
    """The sound (640 N,) int16 of a prepared clip alone; None when it is flagged `no_audio` or `silent`.

    Raises:
        DataError, ClipError: as `load_prepared`; the pictures are not looked at.
    """
    row = read_row(folder)
    if not row.pcm_sha256 or "silent" in row.flags:
        return None
    media = ClipMedia(np.zeros((row.n_frames, 1, 1, 3), np.uint8), read_audio(Path(folder) / AUDIO))
    if media.pcm_sha256 != row.pcm_sha256:
        raise ClipError("damaged", f"{printable(folder)}: the sound is not what {ROW} says")
    return media.audio


def read_row(folder: Path) -> ManifestRow:
    """The manifest row of a prepared clip; raises DataError when there is none."""
    file = Path(folder) / ROW
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{printable(folder)} holds no prepared clip", fix="floatbench protocol prepare") from error
    return parse_row(text, printable(file))


def cut_of(row: ManifestRow) -> Cut:
    """How a prepared clip was cut out of its original."""
    return Cut(Crop(*row.crop), row.source.width, row.source.height, row.size)


def _source_file(video: Path, audio: Path | None, rule: Rule) -> SourceFile:
    info = probe(video, rule)
    if info.video is None:
        raise ClipError("no_video", f"{printable(video)} holds no video stream")
    facts = info.video
    return SourceFile(
        sha256=file_sha256(video),
        bytes=info.size_bytes,
        width=facts.width,
        height=facts.height,
        fps=facts.rate,
        pix_fmt=facts.pix_fmt,
        color_range=facts.color_range,
        colorspace=facts.colorspace,
        color_primaries=facts.color_primaries,
        color_trc=facts.color_trc,
        audio_sha256=file_sha256(check_file(Path(audio))) if audio is not None else None,
    )


def _check_same_source(row: ManifestRow, source: SourceFile, video: Path) -> None:
    if (row.source.sha256, row.source.audio_sha256) != (source.sha256, source.audio_sha256):
        raise ClipError("source_changed", f"{printable(video)} is not the file that the manifest was made from")


def _write_video(folder: Path, timed: Timed, crop: Crop, size: int) -> str:
    """Writes `video.mkv` and `source.png`; returns the hash of the pixels."""
    digest = hashlib.sha256(repr((timed.line.n_frames, size, size, 3)).encode())  # as ClipMedia.pixels_sha256
    with LosslessWriter(folder / VIDEO, size, size) as out:
        for frame, rgb in enumerate(cropped_frames(timed, crop, size)):
            if frame == 0:
                write_image(folder / SOURCE, rgb)
            out.write(rgb)
            digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def _write_audio(folder: Path, pcm: np.ndarray | None) -> str:
    """Writes `audio.wav`, or removes an old one when there is no sound; returns the hash of the samples."""
    if pcm is None:
        (folder / AUDIO).unlink(missing_ok=True)
        return ""
    write_wav(folder / AUDIO, pcm)
    return hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest()
