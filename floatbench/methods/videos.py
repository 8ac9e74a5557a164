"""Finished videos of any system, matched to clips by name: `videos:DIR`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floatbench.errors import ClipError, UsageError
from floatbench.methods.method import ClipRequest, Generated, Kind, Method
from floatbench.types import VIDEO_SUFFIXES

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
        return Generated(video=self.find(request.clip_id, request.slug))

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
