"""The protocol side of the synthetic data: clips are rendered when they are asked for, nothing lies on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from floatbench.code_hash import code_of
from floatbench.data.dataset import Availability, Dataset, Reference
from floatbench.errors import UsageError
from floatbench.protocol.protocol import Clip
from floatbench.synthetic.clip import SyntheticClip, parse_id

DEFAULT_SECONDS = 4.0


class SyntheticDataset(Dataset):
    """Gives the rendered clips of a protocol.

    A clip's id holds its numbers (``syn-90003-1``), its `start_s` and `end_s` hold its length, the protocol's
    preprocessing the picture's size and its seed the data set's seed. A label `emotion` fixes the emotion.
    """

    def spec(self, clip: Clip) -> SyntheticClip:
        """The numbers of a protocol's clip; raises UsageError for an id of another form or a cut in the middle."""
        identity, number = parse_id(clip.id)
        if clip.start_s:
            raise UsageError(f"synthetic clips start at 0 s, {clip.id} starts at {clip.start_s}")
        seconds = DEFAULT_SECONDS if clip.end_s is None else clip.end_s
        return SyntheticClip(identity, number, seconds, self.protocol.seed, clip.labels.get("emotion", ""))

    def availability(self) -> list[Availability]:
        return [Availability(clip.id, "ready") for clip in self.protocol.clips]

    def content_keys(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Over the code that renders: the rest of a clip is in the protocol's hash."""
        code = code_of("floatbench.synthetic.clip")
        text = repr((sorted(code.sources.items()), sorted(code.libraries.items())))
        return dict.fromkeys((clip.id for clip in clips), hashlib.sha256(text.encode()).hexdigest())

    def load(self, clip: Clip) -> Reference:
        spec = self.spec(clip)
        media = spec.media(self.protocol.preprocessing.size)
        return Reference(media=media, source=media.frames[0].copy(), truth=spec.truth())

    def load_source(self, clip: Clip) -> tuple[np.ndarray, None]:
        spec = self.spec(clip)
        return spec.frames(self.protocol.preprocessing.size, every=spec.n_frames)[0], None
