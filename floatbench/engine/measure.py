"""One metric over video files, without a run folder.

    >>> from floatbench.metrics.fid import FID
    >>> from floatbench.engine.measure import measure_files
    >>> measure_files(FID(), ["mine/a.mp4", "mine/b.mp4"], ["real/a.mp4", "real/b.mp4"]).value

Videos are read once each, put on 25 frames a second by presentation time, and not cropped. For several metrics from one
decode, a cache, controls and a table use `floatbench score` or `floatbench run`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from floatbench.metrics import direct
from floatbench.metrics.base import Metric, Score
from floatbench.types import ClipMedia

Files = Sequence[str | Path]


def measure_files(
    metric: Metric,
    generated: Files,
    reference: Files | None = None,
    source: Files | None = None,
    identities: Sequence[str] | None = None,
    device: str = "cpu",
) -> Score:
    """Scores generated videos against reference videos (or source pictures), pair by pair in the order given.

    A file that cannot be read is a failure of its clip, named in `Score.failures`; nothing is dropped in silence.

    Args:
        metric: e.g. `FID()`.
        generated, reference: videos. source: pictures, for the metrics that compare with the source.
        identities: the person of each clip, for the intervals; without it every clip counts as its own person.

    Raises:
        UsageError: a side is missing or the counts differ. DataError: weights are missing.
    """
    videos = [
        [partial(_video, Path(path)) for path in side] if side is not None else None for side in (generated, reference)
    ]
    pictures: list[Callable[[], ClipMedia]] | None = None
    if source is not None:
        pictures = [partial(_picture, Path(path)) for path in source]
    return direct.measure(metric, videos[0] or [], videos[1], pictures, identities, device)


def _video(path: Path) -> ClipMedia:
    from floatbench.media import read_clip

    return read_clip(path)


def _picture(path: Path) -> ClipMedia:
    from floatbench.media import read_image

    return ClipMedia(read_image(path)[None])
