"""Is a prepared clip what its manifest says, exactly or within the rounding of another FFmpeg?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from floatbench.files import file_sha256
from floatbench.media.clip import put_on_time_line
from floatbench.media.container import check_file
from floatbench.media.frames import iterate, upright_rgb
from floatbench.media.manifest import ManifestRow
from floatbench.media.pp1 import AUDIO, VIDEO, cropped_frames, read_row
from floatbench.media.rules import rule_of
from floatbench.media.sound import read_audio

TOLERANCE = 2  # levels of a pixel, and steps of a 16-bit sample


@dataclass(frozen=True)
class VerifyResult:
    """Outcome of a verification.

    Attributes:
        state: `exact` (equal hashes), `equivalent` (same crop and length, no pixel or sample more than 2 apart) or
            `different`.
        detail: one line that says what was compared or what differs.
        max_pixel_difference, max_sample_difference: None where they were not measured.
    """

    state: Literal["exact", "equivalent", "different"]
    detail: str
    max_pixel_difference: int | None = None
    max_sample_difference: int | None = None


def verify_prepared(
    folder: Path, published: ManifestRow | None = None, video: Path | None = None, audio: Path | None = None
) -> VerifyResult:
    """Compares a prepared clip with a manifest row and, where the raw file is given, with a new preparation of it.

    Args:
        folder: the prepared clip.
        published: the row to hold it to; its own `clip.json` when None.
        video, audio: the raw files. Without them only `exact` and `different` are possible, since hashes do not tell
            how far apart two clips are.

    Raises:
        DataError: there is no prepared clip in the folder.
        ClipError: a stored or raw file cannot be decoded.
    """
    folder = Path(folder)
    own = read_row(folder)
    row = published or own
    for name in ("spec", "crop", "n_frames", "size"):
        if getattr(own, name) != getattr(row, name):
            return VerifyResult("different", f"{name} is {getattr(own, name)}, the manifest has {getattr(row, name)}")
    stored_pcm = read_audio(folder / AUDIO) if own.pcm_sha256 else None
    if video is None:
        return _by_hashes(folder, row, stored_pcm)
    return _by_content(folder, row, stored_pcm, Path(video), audio)


def _by_hashes(folder: Path, row: ManifestRow, pcm: np.ndarray | None) -> VerifyResult:
    digest = _PixelDigest(row)
    for rgb in _stored_frames(folder):
        digest.add(rgb)
    wrong = ["pixels"] * (digest.value() != row.pixels_sha256) + ["sound"] * (_pcm_sha256(pcm) != row.pcm_sha256)
    if not wrong:
        return VerifyResult("exact", "the hashes of pixels and sound are equal")
    return VerifyResult(
        "different", f"other hash of the {' and the '.join(wrong)}; the raw file is needed to say how far"
    )


def _by_content(
    folder: Path, row: ManifestRow, pcm: np.ndarray | None, video: Path, audio: Path | None
) -> VerifyResult:
    if file_sha256(check_file(video)) != row.source.sha256:
        return VerifyResult("different", "the raw video is not the one the manifest was made from")
    timed = put_on_time_line(video, audio, row.start_s, row.end_s, rule=rule_of(row.spec))
    if timed.line.n_frames != row.n_frames:
        return VerifyResult("different", f"the raw video gives {timed.line.n_frames} frames, not {row.n_frames}")
    if (pcm is None) != (timed.pcm is None):
        return VerifyResult("different", "only one of the two has sound")
    samples = 0 if pcm is None or timed.pcm is None else _largest_difference(pcm, timed.pcm)
    stored, made, pixels = _PixelDigest(row), _PixelDigest(row), 0
    for kept, fresh in zip(_stored_frames(folder), cropped_frames(timed, row.crop, row.size), strict=True):
        stored.add(kept)
        made.add(fresh)
        pixels = max(pixels, _largest_difference(kept, fresh))
    hashes = (
        {stored.value(), made.value(), row.pixels_sha256},
        {_pcm_sha256(pcm), _pcm_sha256(timed.pcm), row.pcm_sha256},
    )
    detail = f"largest difference {pixels} levels in pixels, {samples} steps in samples"
    if len(hashes[0]) == len(hashes[1]) == 1:
        return VerifyResult("exact", "the hashes of pixels and sound are equal", pixels, samples)
    state = "equivalent" if max(pixels, samples) <= TOLERANCE else "different"
    return VerifyResult(state, detail, pixels, samples)


def _stored_frames(folder: Path) -> Iterator[np.ndarray]:
    return (upright_rgb(picture.frame, aspect) for picture, aspect in iterate(folder / VIDEO))


def _largest_difference(a: np.ndarray, b: np.ndarray) -> int:
    """Largest absolute difference; of arrays of unequal shape the greatest there can be."""
    if a.shape != b.shape:
        return 65535
    return int(np.abs(a.astype(np.int32) - b.astype(np.int32)).max(initial=0))


def _pcm_sha256(pcm: np.ndarray | None) -> str:
    return "" if pcm is None else hashlib.sha256(pcm.astype("<i2").tobytes()).hexdigest()


class _PixelDigest:
    """`ClipMedia.pixels_sha256` of pictures that come one at a time; their number and size are the manifest's."""

    def __init__(self, row: ManifestRow) -> None:
        self._digest = hashlib.sha256(repr((row.n_frames, row.size, row.size, 3)).encode())

    def add(self, rgb: np.ndarray) -> None:
        self._digest.update(np.ascontiguousarray(rgb).data)

    def value(self) -> str:
        return self._digest.hexdigest()
