"""Per-frame tracks of a clip for the page: sync confidence, CSIM to the source, mouth opening, head motion, and others.

All come from what the run recorded: `tracks.parquet` and the cached features. Nothing is decoded or measured again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from floatbench.engine.features import FeatureStore
from floatbench.engine.records import Row
from floatbench.errors import ClipError, DataError
from floatbench.reports.loading import RecordedRun
from floatbench.types import FPS, Features

KINDS = {
    "sync": "sync confidence",
    "csim": "CSIM to source",
    "mouth": "mouth opening",
    "head": "head motion",
}
"""What every clip should have, in the order of the page; other tracks of the metrics follow."""
NEEDED = {
    "sync": "an LSE metric",
    "csim": "a CSIM metric against the source picture",
    "mouth": "a metric on face landmarks",
    "head": "a metric on face landmarks or head pose",
}
WINDOW_CENTRE = 2  # SyncNet's window i covers frames i .. i + 4
SMOOTHING = 9  # frames of the median that SyncNet's own script applies to its frame-wise confidence


@dataclass(frozen=True)
class PageTrack:
    """Values of consecutive frames from `start` on; NaN where a frame has none."""

    kind: str
    label: str
    unit: str
    origin: str  # metric variant or backbone it was taken from
    start: int
    values: np.ndarray

    def record(self) -> dict[str, Any]:
        """JSON types, four significant digits."""
        values = [None if not np.isfinite(v) else float(f"{v:.4g}") for v in self.values]
        return {
            "kind": self.kind, "label": self.label, "unit": self.unit, "from": self.origin, "start": self.start,
            "values": values,
        }  # fmt: skip


def median_smooth(values: np.ndarray, width: int = SMOOTHING) -> np.ndarray:
    """(W,) running median; the ends are repeated, so that the length stays the same."""
    padded = np.pad(np.asarray(values, np.float64), width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def sync_confidence(distance: np.ndarray, extras: dict[str, float]) -> np.ndarray:
    """Frame-wise confidence: the median of the mean distances over all offsets less the distance of each window.

    The recorded confidence is that median less the least mean, so the sum of both extras gives the median back.
    """
    return median_smooth(extras["distance"] + extras["confidence"] - np.asarray(distance, np.float64))


def rotation_speed(angles: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(T,) degrees a second between neighbouring frames, from (T, 3) angles in radians; NaN next to lost faces."""
    steps = np.diff(np.asarray(angles, np.float64), axis=0, prepend=np.nan)
    speed = np.degrees(np.linalg.norm(np.angle(np.exp(1j * steps)), axis=1)) * FPS
    lost = ~np.asarray(found, bool)
    lost[1:] |= lost[:-1].copy()
    return np.where(lost, np.nan, speed)


def _found(features: Features, values: np.ndarray) -> np.ndarray:
    return np.where(features["found"].astype(bool), values, np.nan)


_JAW = 0  # first expression coefficient of the small networks
_FROM_FEATURES: tuple[tuple[str, str, str, Callable[[Features], np.ndarray]], ...] = (
    ("mouth", "mp-landmarker", "lip gap / face height", lambda f: _found(f, f["mouth"])),
    ("mouth", "tiny-expression", "jaw, 0..1", lambda f: f["expression"][:, _JAW]),
    ("mouth", "tiny-frames", "jaw, 0..1", lambda f: f["expression"][:, _JAW]),
    ("head", "mp-landmarker", "degrees / s", lambda f: rotation_speed(f["rotation"], f["found"])),
    ("head", "tiny-frames", "degrees / s", lambda f: rotation_speed(f["pose"][:, :3], f["found"])),
)


class RecordedTracks:
    """All tracks of a finished run; raises DataError when its Parquet tables are absent or damaged."""

    def __init__(self, run: RecordedRun) -> None:
        self.run = run
        self._store = FeatureStore(run.folder, None)
        self._tracks: dict[tuple[str, str], list[tuple[str, str, np.ndarray]]] = defaultdict(list)
        self._extras: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
        for record in read_table(run, "tracks"):
            if record["replicate"] == 0:
                self._tracks[record["method"], record["clip"]].append(
                    (record["metric"], record["name"], np.asarray(record["values"], np.float64))
                )
        for record in read_table(run, "clip_values"):
            if record["replicate"] == 0 and record["value"] is not None:
                self._extras[record["method"], record["clip"], record["metric"]][record["name"]] = record["value"]

    def value(self, method: str, clip: str, metric: str) -> float | None:
        """The metric's own value of one clip; None for distances between distributions and failed clips."""
        found = self._extras.get((method, clip, metric), {}).get("value")
        return None if found is None or not np.isfinite(found) else found

    def extras(self, method: str, clip: str, metric: str) -> dict[str, float]:
        """Further numbers of the clip: offset, frames used ..."""
        found = self._extras.get((method, clip, metric), {})
        return {name: value for name, value in found.items() if name != "value" and np.isfinite(value)}

    def of(self, row: Row) -> list[PageTrack]:
        """Tracks of one finished row: one of each kind that can be given, then those of the other metrics."""
        found: dict[str, PageTrack] = {}
        others: list[PageTrack] = []
        for metric, name, values in self._tracks.get((row.method, row.clip), ()):
            track = self._recorded(row, metric, name, values)
            if track.kind and track.kind not in found:
                found[track.kind] = track
            elif not track.kind:
                others.append(track)
        for kind, backbone, unit, make in _FROM_FEATURES:
            features = self._features(row, backbone) if kind not in found else None
            if features is not None:
                found[kind] = PageTrack(kind, KINDS[kind], unit, backbone, 0, make(features))
        return [found[kind] for kind in KINDS if kind in found] + others

    def _recorded(self, row: Row, metric: str, name: str, values: np.ndarray) -> PageTrack:
        column = self.run.scores.metrics[metric].column
        extras = self._extras.get((row.method, row.clip, metric), {})
        if column.startswith("LSE") and name == "distance" and {"distance", "confidence"} <= extras.keys():
            start = int(extras.get("track_start", 0)) + WINDOW_CENTRE
            return PageTrack("sync", KINDS["sync"], "LSE distance", metric, start, sync_confidence(values, extras))
        if column.startswith("CSIM") and not metric.startswith("csim-gt"):
            return PageTrack("csim", KINDS["csim"], "cosine", metric, 0, values)
        if name == "mouth":
            return PageTrack("mouth", KINDS["mouth"], metric, metric, 0, values)
        label = f"{column} ({name})" if name != "value" else column
        return PageTrack("", label, "", metric, 0, values)

    def _features(self, row: Row, backbone: str) -> Features | None:
        key = row.features.get("generated", {}).get(backbone)
        if key is None:
            return None
        try:
            return self._store.get(key)
        except ClipError:  # the extraction had failed; the row's values say so
            return None


def read_table(run: RecordedRun, name: str) -> list[dict[str, Any]]:
    """The records of one of the run's Parquet tables."""
    import pyarrow
    import pyarrow.parquet

    path = run.folder / f"{name}.parquet"
    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is missing or damaged: {error}", fix="run the same command again") from None
