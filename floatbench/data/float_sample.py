"""The sample of the FLOAT release: its picture, its sound and the video that it made of them, by address and hash.

They are the only public output of the trained model. The one clip's reference is that video: nothing real shows what
was to come out, so only metrics that look at one side say anything of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from floatbench.data.fetch_report import FetchReport
from floatbench.data.prepared import PreparedDataset, Raw
from floatbench.errors import DataError
from floatbench.files import file_sha256, write_bytes
from floatbench.paths import data_dir
from floatbench.progress import Progress
from floatbench.protocol.protocol import Clip
from floatbench.weights.download import download

NAME = "float-sample"
ADDRESS = "https://raw.githubusercontent.com/deepbrainai-research/float/97cfdd51f6fba43b465802116bc53cd02e4261d1/assets"
PICTURE, SOUND, VIDEO = "sam_altman_512x512.jpg", "aud-sample-vs-1.wav", "sam_altman_result.mp4"
FILES = {
    PICTURE: (53154, "e9f13b994be3d08c9489759cacbb8225b3bf277f1c91e696e955aec0a55e1785"),
    SOUND: (962638, "04118f3ed64b3b0c53c5cf69ec559756a65fe3bfd9dbefe29ce1dde041a36079"),
    VIDEO: (935145, "81dd3c524e4998d4b62ecdfd68fff7e8a6767960e4322ae8960e6df04a6e8c5e"),
}
"""Name -> bytes and SHA-256."""


def folder() -> Path:
    """Where the three files lie."""
    return data_dir() / "raw" / NAME


def present() -> bool:
    """True when all three are here."""
    return all((folder() / name).is_file() for name in FILES)


def finished_video() -> Path:
    """The release's own video; DataError, with the command that brings it, when it is not here."""
    path = folder() / VIDEO
    if not path.is_file():
        raise DataError("the sample of the FLOAT release is not here", fix=FloatSampleDataset.FIX)
    return path


class FloatSampleDataset(PreparedDataset):
    """The sample as a data set of one clip, 512 x 512 as the release cropped it."""

    FIX = f"floatbench protocol fetch {NAME} --accept-license"
    auto_prepare = True

    def raw(self, clip: Clip) -> Raw | None:
        return Raw(folder() / VIDEO, folder() / SOUND, folder() / PICTURE) if present() else None

    def missing_fix(self) -> str:
        return self.FIX


def fetch_float_sample(clips: Sequence[Clip], progress: Progress, source: Path | None) -> FetchReport:
    """Brings the three files, from the release's repository or from a folder that holds them (in any subfolder).

    Raises DataError when a file cannot be had or is another.
    """
    names = [clip.id for clip in clips]
    if present():
        return FetchReport(present=names)
    for name, (size, sha256) in FILES.items():
        if source is None:
            download([f"{ADDRESS}/{name}"], folder() / name, sha256, size, name, FloatSampleDataset.FIX, progress)
            continue
        found = next((path for path in sorted(source.rglob(name)) if file_sha256(path) == sha256), None)
        if found is None:
            raise DataError(f"{source} does not hold {name} of the release", fix=FloatSampleDataset.FIX)
        write_bytes(folder() / name, found.read_bytes())
    return FetchReport(fetched=names)
