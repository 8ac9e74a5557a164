"""Systems by times, as papers show them side by side; clips and times are drawn, not chosen by hand.

The protocol's seed draws them: whoever runs the protocol shows the same frames, whatever the seed of the run.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.files import write_bytes
from floatbench.protocol.protocol import Clip
from floatbench.reports.loading import RecordedRun
from floatbench.reports.page.build import dataset_of
from floatbench.reports.page.document import PageRuns
from floatbench.reports.page.footage import Footage
from floatbench.reports.sheet import SheetRow, write_sheet
from floatbench.seeds import derive_seed
from floatbench.types import FPS

CLIPS, TIMES = 2, 6
REFERENCE = "reference"


def drawn_clips(run: RecordedRun, clips: Sequence[Clip]) -> list[Clip]:
    """The clips in the order that the protocol's seed draws; more clips do not change the order of these."""
    return sorted(clips, key=lambda clip: derive_seed(run.info.protocol.seed, f"figure\n{clip.id}"))


def drawn_times(run: RecordedRun, clip: Clip, n_frames: int, count: int = TIMES) -> list[int]:
    """Different frames in order, one out of each of `count` equal parts of the clip."""
    random = np.random.default_rng(derive_seed(run.info.protocol.seed, f"figure times\n{clip.id}"))
    edges = np.linspace(0, n_frames, min(count, n_frames) + 1).astype(int)
    return [int(random.integers(low, high)) for low, high in itertools.pairwise(edges)]


def write_frames(runs: Sequence[RecordedRun], out: Path, reference: Path | None = None) -> list[Path]:
    """Writes `out`.png, .pdf and .csv (which frames are shown) and returns the paths.

    Args:
        runs: of one protocol, clips and seed.
        reference: folder of the real videos, for runs of `floatbench score`.

    Raises:
        UsageError: runs that may not stand together, or no clip that every system has.
        DataError: what was scored is no longer on this machine.
    """
    page = PageRuns(runs)
    systems = [name for name in page.methods if not page.owner[name].scores.is_control(name)]
    shown = [*([REFERENCE] if REFERENCE in page.methods else []), *systems]
    whole = [clip for clip in page.clips if all(page.row(name, clip.id).status == "ok" for name in shown)]
    if not systems or not whole:
        raise UsageError("there is no clip that every system has", fix="floatbench run ... --retry-failed")
    footage = {id(run): Footage(run, dataset_of(run, reference)) for run in page.runs}
    rows, listed = [], []
    for clip in drawn_clips(page.runs[0], whole)[:CLIPS]:
        times = drawn_times(page.runs[0], clip, min(page.row(name, clip.id).n_frames for name in shown))
        for name in shown:
            frames = _frames(footage[id(page.owner[name])], page, name, clip)
            captions = [f"{time / FPS:.2f} s" for time in times] if name == shown[0] else []
            title = f"{clip.id}: {name}" if captions else name
            rows.append(SheetRow(title, [frames[time] for time in times], captions))
            listed += [(clip.id, name, time, page.row(name, clip.id).pixels_sha256) for time in times]
    label, seed = page.runs[0].scores.label, page.runs[0].info.protocol.seed
    note = (
        f"{label}: clips and times drawn by the protocol's seed {seed} among {len(whole)} clips that every system has."
    )
    paths = write_sheet(rows, note, out)
    table = paths[0].with_suffix(".csv")
    write_bytes(table, _csv(listed).encode("utf-8", "replace"))
    return [*paths, table]


def _frames(footage: Footage, page: PageRuns, name: str, clip: Clip) -> np.ndarray:
    try:
        return footage.load(page.row(name, clip.id)).frames
    except ClipError as error:
        what = f"{name} on {clip.id} cannot be shown: {error.what}"
        raise DataError(what, fix="--reference DIR with the real videos, or run it again here") from error


def _csv(listed: Sequence[tuple[str, str, int, str]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["clip", "system", "frame", "pixels_sha256"])
    writer.writerows(listed)
    return stream.getvalue()
