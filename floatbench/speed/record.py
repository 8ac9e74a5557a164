"""What a speed measurement writes down: one file, a row per method, tied to the quality of the same configuration.

Seconds are wall-clock seconds from handing over the picture and the sound to having the finished video (or the frame;
with `forward` the last frame, before anything is written).
`realtime_factor` is seconds of work per second of video at 25 frames a second: below 1 is faster than real time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from floatbench.errors import UsageError
from floatbench.records import RecordFile, Strict, read_record

SCHEMA_VERSION = 1
Scenario = Literal["offline", "single-stream", "streaming", "forward"]
SCENARIOS: tuple[Scenario, ...] = ("offline", "single-stream", "streaming", "forward")


class Spread(Strict):
    """Median, quartiles and range of n values."""

    median: float
    q25: float
    q75: float
    low: float
    high: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Median, quartiles (linear interpolation) and range; raises ValueError without values."""
    if not values:
        raise ValueError("no values")
    low, q25, median, q75, high = (float(v) for v in np.percentile(np.asarray(values, float), (0, 25, 50, 75, 100)))
    return Spread(median=median, q25=q25, q75=q75, low=low, high=high, n=len(values))


class GpuUse(Strict):
    """What the driver said while a method was timed.

    `energy_j` is the whole board's over the timed calls only, all repeats together: the driver's own counter where it
    has one, else the power integrated over time.
    """

    name: str
    driver: str
    samples: int
    sm_clock_mhz: Spread
    memory_clock_mhz: Spread
    power_w: Spread | None
    energy_j: float | None = None
    temperature_c: Spread | None
    memory_used_bytes: int
    throttled: dict[str, float]  # reason -> share of the samples


class Quality(Strict):
    """The run that scored the same configuration."""

    run: str
    run_sha256: str  # of its run.json
    label: str
    protocol_hash: str
    ranked: bool
    scores: dict[str, float]
    n: dict[str, int]


class ClipTiming(Strict):
    """One clip: frames made and seconds of every repeat; lists have one value per repeat."""

    clip: str
    frames: int
    seconds: list[float]
    first_frame_s: list[float] = []
    start_delay_s: list[float] = []
    stages: dict[str, list[float]] = {}


class SpeedRow(Strict):
    """One method.

    Attributes:
        configuration: what a run records of the method; the quality run must have recorded the same.
        fabricated: weights that were seeded random numbers; such a row is never paired.
        fps: frames per second over all clips, one value per repeat.
        clip_s: seconds per clip, over all clips and repeats; `clip_p90_s` is its 90th percentile.
        first_frame_s: streaming only: from the request to the first frame.
        start_delay_s: streaming only: the smallest wait after the request at which play at 25 fps never stalls.
        stages: median seconds per clip of each stage the method clocks.
        nfe: evaluations of the network per clip as the method counts them (median over clips).
        nfe_per_window: the same a window, as papers count; see floatbench.methods.evaluations.
        network_rows: rows those evaluations held, so guidance counts as often as it was computed.
        batched: offline only: the method was given all clips in one call.
        width, height: of the frames in pixels; 0 in files of before they were kept.
        joules_per_video_s: of the GPU's board for a second of video; None where no power was read.
    """

    method: str
    status: Literal["ok", "failed", "n/a"]
    reason: str = ""
    configuration: dict[str, Any] = {}
    configuration_sha256: str = ""
    fabricated: list[str] = []
    clips: list[ClipTiming] = []
    fps: Spread | None = None
    clip_s: Spread | None = None
    clip_p90_s: float | None = None
    realtime_factor: float | None = None
    first_frame_s: Spread | None = None
    start_delay_s: Spread | None = None
    load_s: float | None = None
    stages: dict[str, float] = {}
    nfe: float | None = None
    nfe_per_window: float | None = None
    network_rows: float | None = None
    details: dict[str, Any] = {}
    batched: bool = False
    width: int = 0
    height: int = 0
    joules_per_video_s: float | None = None
    peak_memory_bytes: int | None = None
    peak_cuda_bytes: int | None = None
    gpu: GpuUse | None = None
    quality: Quality | None = None
    unpaired_because: str = ""

    @property
    def paired(self) -> bool:
        """True when the row names the quality of the same configuration."""
        return self.quality is not None


class SpeedFile(RecordFile):
    """A speed file: what was measured, how, and on what machine."""

    noun: ClassVar[str] = "speed file"
    remedy: ClassVar[str] = "floatbench speed --out FILE"
    newest: ClassVar[int] = SCHEMA_VERSION

    kind: Literal["floatbench-speed"] = "floatbench-speed"
    schema_version: int = SCHEMA_VERSION
    created: str
    scenario: Scenario
    inputs: str
    clips: int
    warmup: int
    repeats: int
    seed: int
    threads: int | None
    machine: dict[str, Any]
    environment: dict[str, Any]
    rows: list[SpeedRow]


def plain(description: dict[str, Any]) -> dict[str, Any]:
    """A description as it comes back from a JSON file."""
    return json.loads(json.dumps(description, sort_keys=True, default=str))


def configuration_sha256(description: dict[str, Any]) -> str:
    """SHA-256 of a method's description as sorted JSON."""
    return hashlib.sha256(json.dumps(plain(description), sort_keys=True).encode()).hexdigest()


def rows_for_figure(paths: Iterable[Path]) -> list[tuple[SpeedFile, SpeedRow]]:
    """The rows an FPS figure may show; raises UsageError naming every measured row without a quality run."""
    found = [
        (record, row)
        for record in (read_record(path, SpeedFile) for path in paths)
        for row in record.rows
        if row.status == "ok"
    ]
    unpaired = [f"{row.method} ({row.unpaired_because})" for _, row in found if not row.paired]
    if unpaired:
        raise UsageError(
            f"speed without quality is not shown: {'; '.join(unpaired)}",
            fix="floatbench speed --run DIR with the run that scored the same configuration",
        )
    return found
