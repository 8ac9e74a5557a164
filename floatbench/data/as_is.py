"""Reference videos that are scored as they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.errors import ClipError
from floatbench.protocol.protocol import Clip

if TYPE_CHECKING:
    from floatbench.media.crop import Cut


class AsIsDataset(Dataset):
    """Reference videos used as they are: only the time line (25 fps, 16 kHz) is applied.

    A clip may be as short as one frame and have no sound: each metric says what it cannot measure.
    """

    def availability(self) -> list[Availability]:
        return [Availability(clip.id, "ready") for clip in self.protocol.clips]

    def load(self, clip: Clip) -> Reference:
        from floatbench.media import read_clip

        folder = Path(self.protocol.root)
        video = folder / clip.video
        if not video.is_file():
            raise ClipError("missing", f"{clip.video} does not exist")
        media = read_clip(video, audio_path=folder / clip.audio if clip.audio else None, min_frames=1)
        return Reference(media=media, source=media.frames[0], video=video)

    def load_source(self, clip: Clip) -> tuple[np.ndarray, Cut | None]:
        from floatbench.media.frames import first_picture

        return first_picture(Path(self.protocol.root) / clip.video, self.protocol.preprocessing.spec), None
