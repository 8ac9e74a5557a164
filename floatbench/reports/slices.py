"""Scores by what the clips are: a label of the protocol (emotion, category), or something that was measured.

A slice has its own numbers and intervals, made from the features of the run. Places are not decided inside slices: the
more of them there are, the more would be won by chance.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from floatbench.engine.features import FeatureStore
from floatbench.engine.records import ScoreRow
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.protocol.protocol import Clip
from floatbench.reports.layout import measured_block, renamed
from floatbench.reports.loading import RecordedRun
from floatbench.reports.subset import restricted
from floatbench.reports.table_notes import without_interval
from floatbench.reports.table_parts import PaperTable, TableBlock, TableChoices
from floatbench.text import near
from floatbench.types import FPS, Features

MOST = 40
"""Slices in one table: more of them is a wrong step, not a question."""
PERCENTILE = 95
"""Of |angle| over the frames: how far a head turns, without a single frame that was misread."""
NOT_KNOWN = "not known"
Value = Callable[[RecordedRun, Clip, Path | None], float | None]
"""Of a run's clip, where None says that it is not known; the folder is that of the real videos, where one is needed."""


@dataclass(frozen=True)
class Measure:
    """Something of the real video that a slice is made by: unit, default step, and what it says in the notes."""

    unit: str
    step: float
    note: str
    value: Value


def _angle(axis: str) -> Value:
    return lambda run, clip, _: _head(run, clip, axis)


def _head(run: RecordedRun, clip: Clip, axis: str) -> float | None:
    """Degrees to either side in the real video; None where no face was found or no metric looked at the head."""
    store = FeatureStore(run.folder, None)
    for row in run.rows.values():
        for backbone, angles in _ANGLES.items():
            key = row.features.get("reference", {}).get(backbone) if row.clip == clip.id else None
            if key is None:
                continue
            try:
                features = store.get(key)
            except (ClipError, DataError):
                continue
            turned = np.degrees(np.abs(angles[axis](features)[features["found"].astype(bool)]))
            return float(np.percentile(turned, PERCENTILE)) if len(turned) else None
    return None


_ANGLES: dict[str, dict[str, Callable[[Features], np.ndarray]]] = {
    "mp-landmarker": {"yaw": lambda f: f["rotation"][:, 1], "pitch": lambda f: f["rotation"][:, 0]},
    "tiny-frames": {"yaw": lambda f: f["pose"][:, 0], "pitch": lambda f: f["pose"][:, 1]},
}
"""Backbone -> axis -> (T,) radians."""


def _length(run: RecordedRun, clip: Clip, _: Path | None) -> float | None:
    frames = [row.expected_frames or row.n_frames for row in run.rows.values() if row.clip == clip.id]
    return max(frames, default=0) / FPS or None


def _loudness(run: RecordedRun, clip: Clip, reference: Path | None) -> float | None:
    """dBFS of the real sound; None for silence."""
    from floatbench.media.sound import loudness_dbfs
    from floatbench.reports.page.build import dataset_of

    fix = "floatbench protocol prepare, or --reference DIR for a run of floatbench score"
    dataset = dataset_of(run, reference)
    if dataset is None:
        raise DataError(f"{run.folder}: loudness needs the real videos", fix=fix)
    try:
        sound = dataset.load(clip).media.audio
    except ClipError as error:
        raise DataError(f"loudness needs the real sound of {clip.id}, which is not on this machine", fix=fix) from error
    found = -math.inf if sound is None else loudness_dbfs(sound)
    return found if math.isfinite(found) else None


MEASURES: dict[str, Measure] = {
    "yaw": Measure("°", 15.0, f"how far the head turns to either side, {PERCENTILE}th percentile of the real video's "
                   "frames", _angle("yaw")),
    "pitch": Measure("°", 10.0, f"how far the head nods up or down, {PERCENTILE}th percentile of the real video's "
                     "frames", _angle("pitch")),
    "loudness": Measure(" dBFS", 6.0, "of the real sound", _loudness),
    "length": Measure(" s", 5.0, "of the clip", _length),
}  # fmt: skip


@dataclass(frozen=True)
class Slicing:
    """What clips are cut by: a label, or a measure with a step."""

    name: str
    step: float | None

    @property
    def measure(self) -> Measure | None:
        return MEASURES[self.name] if self.step is not None else None


def parse_slicing(text: str, runs: Sequence[RecordedRun]) -> Slicing:
    """`emotion`, or `yaw:15`; a measure without a step has a usual one.

    Raises:
        UsageError: neither a label of the clips nor a measure, or a step that is none.
    """
    name, colon, step = text.partition(":")
    labels = {label for run in runs for clip in run.info.protocol.clips for label in clip.labels}
    if not colon and name in labels:
        return Slicing(name, None)
    if name not in MEASURES:
        known = [*sorted(labels), *MEASURES]
        raise UsageError(f"clips are not cut by {text!r}", fix=near(name, known))
    if not colon:
        return Slicing(name, MEASURES[name].step)
    if not re.fullmatch(r"\d+(\.\d+)?", step) or float(step) <= 0:
        raise UsageError(f"--by {text}: the step {step!r} is no positive number", fix=f"--by {name}:15")
    return Slicing(name, float(step))


def slice_table(
    table: PaperTable, runs: Sequence[RecordedRun], text: str, choices: TableChoices, reference: Path | None = None
) -> PaperTable:
    """The table with a block for each slice instead of the paper's rows.

    Args:
        table: of the same runs, whose columns are shown.
        text: see `parse_slicing`.
        reference: the folder of the real videos of a run that does not know it.
    """
    slicing = parse_slicing(text, runs)
    groups = [_groups(run, slicing, reference) for run in runs]
    keys = sorted({key for group in groups for key in group}, key=lambda key: (key is None, key))
    if len(keys) > MOST:
        raise UsageError(f"--by {text} makes {len(keys)} slices, more than {MOST}", fix="choose a wider step")
    blocks, lacking = [], list[str]()
    for key in keys:
        parts = [
            restricted(run, group[key], f"the slice {_title(slicing, key)}")
            for run, group in zip(runs, groups, strict=True)
            if key in group
        ]
        blocks.append(_block(slicing, key, parts, table, choices))
        cells = _shown_cells(parts, table, choices)
        lacking += without_interval(cells, choices, f" in {_title(slicing, key)}")
    measure = slicing.measure
    said = [f"{slicing.name}: {measure.note}."] if measure else []
    notes = [*said, "Slices are not ranked: with many of them some would be won by chance.", *table.notes]
    notes += lacking if choices.intervals != "none" else []
    return replace(table, slices=tuple(blocks), notes=notes)


def _groups(run: RecordedRun, slicing: Slicing, reference: Path | None) -> dict[float | str | None, list[str]]:
    """Lower end of the step, or label -> clips; None: those of which it is not known."""
    found: dict[float | str | None, list[str]] = {}
    for clip in run.info.protocol.clips:
        if clip.id not in run.info.available:
            continue
        if slicing.measure is None:
            key: float | str | None = clip.labels.get(slicing.name) or None
        else:
            value = slicing.measure.value(run, clip, reference)
            key = None if value is None else math.floor(value / (slicing.step or 1)) * (slicing.step or 1)
        found.setdefault(key, []).append(clip.id)
    if set(found) == {None}:
        raise UsageError(
            f"{run.folder} does not say {slicing.name} of any clip",
            fix="run it with a metric that looks at the head, such as E-FID"
            if slicing.name in ("yaw", "pitch")
            else None,
        )
    return found


def _shown_cells(runs: Sequence[RecordedRun], table: PaperTable, choices: TableChoices) -> list[ScoreRow]:
    """The numbers of a slice."""
    shown = {column.variant for column in table.ours.columns}
    return [
        cell for run in runs for cell in run.scores.scores
        if cell.metric in shown and cell.value is not None and cell.method in run.systems and choices.shows(cell.method)
    ]  # fmt: skip


def _title(slicing: Slicing, key: float | str | None) -> str:
    if key is None:
        return f"{slicing.name} {NOT_KNOWN}"
    if isinstance(key, str):
        return f"{slicing.name} {key}"
    unit = slicing.measure.unit if slicing.measure else ""
    return f"{slicing.name} {key:g} to {key + (slicing.step or 0):g}{unit}"


def _block(
    slicing: Slicing, key: float | str | None, runs: Sequence[RecordedRun], table: PaperTable, choices: TableChoices
) -> TableBlock:
    clips = [clip for run in runs for clip in run.info.protocol.clips if clip.id in run.info.available]
    count = len(dict.fromkeys(clip.id for clip in clips))
    people = len({clip.identity for clip in clips})
    title = (
        f"{_title(slicing, key)}: {count} clip{'s' * (count != 1)} of {people} {'person' if people == 1 else 'people'}"
    )
    return renamed(measured_block(title, runs, table.ours.columns, choices), choices)
