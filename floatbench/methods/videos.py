"""Finished videos of any system, matched to clips by name: `videos:DIR`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from floatbench.errors import ClipError, UsageError
from floatbench.files import file_sha256
from floatbench.methods.method import ClipRequest, Generated, Kind, Method
from floatbench.protocol.protocol import Clip
from floatbench.types import VIDEO_SUFFIXES
from floatbench.weights.file_hashes import FileHashes

PREFIX = "videos:"


class VideosMethod(Method):
    """Finished videos of any system: `DIR/<clip id>.<suffix>`, or named after the clip's slug."""

    kind: Kind = "videos"
    uses_seed = False
    needs_sound = False

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.name = f"{PREFIX}{folder}"
        if not self.folder.is_dir():
            raise UsageError(
                f"{self.name}: not a folder", fix="--methods videos:DIR with the folder of finished videos"
            )

    def describe(self) -> dict[str, Any]:
        return {"folder": self.folder.name}

    def generate(self, request: ClipRequest) -> Generated:
        video = self.find(request.clip_id, request.slug)
        return Generated(video=video, input_key=_content(video, file_sha256))

    def input_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        hashes, found = FileHashes(), {}
        for clip in clips:
            with suppress(ClipError):  # no video of that name: the row says so
                found[clip.id] = _content(self.find(clip.id, clip.slug), hashes.sha256)
        hashes.save()
        return found

    def find(self, clip_id: str, slug: str) -> Path:
        """The one video of a clip; its id may carry a suffix of its own (`a/b.mp4` matches `a/b.mkv`).

        Raises ClipError `missing` when there is none.
        """
        for stem in (clip_id, str(Path(clip_id).with_suffix("")), slug):
            for candidate in (stem, *(stem + suffix for suffix in VIDEO_SUFFIXES)):
                path = self.folder / candidate
                if (
                    path.suffix.lower() in VIDEO_SUFFIXES
                    and path.is_file()
                    and path.resolve().is_relative_to(self.folder.resolve())
                ):
                    return path
        raise ClipError("missing", f"no video named {Path(clip_id).with_suffix('')} in {self.folder.name}")


def _content(video: Path, sha256: Callable[[Path], str]) -> str:
    """The hash of a finished video; of one that may not be read, why not: it is tried again once that is mended."""
    try:
        return sha256(video)
    except OSError as error:
        return f"unreadable: {error.strerror}"
