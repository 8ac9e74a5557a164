"""What each motion direction of a FLOAT model does to a portrait (FLOAT, Fig. 6 and Eq. 15)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.reports.frames_figure import drawn_clips
from floatbench.reports.loading import RecordedRun
from floatbench.reports.page.build import dataset_of
from floatbench.reports.page.footage import Footage
from floatbench.reports.sheet import SheetRow, write_sheet
from floatbench.sampling.animator import Animator
from floatbench.sampling.control import Control, edit_motion
from floatbench.sampling.picture import to_pixels, whole_picture

VALUES = (-10.0, 0.0, 10.0)
ACROSS = 2
"""Directions in a row of the sheet."""


def direction_pictures(model: Animator, picture: np.ndarray) -> np.ndarray:
    """(M, 3, R, R, 3) uint8: the portrait with each of `VALUES` added to its own coefficient of each direction.

    Args:
        picture: (R, R, 3) uint8.
    """
    source = model.encode(picture)
    basis = model.network.basis()
    edits = [Control(d, value) for d in range(model.network.config.dim_m) for value in VALUES]
    motion = torch.cat([edit_motion(source.motion[:, None], basis, (edit,))[:, 0] for edit in edits])
    with torch.no_grad():
        decoded = torch.cat(list(model.pictures(source.latent + motion, source)))
    pixels = to_pixels(decoded, "round").cpu().numpy()
    return pixels.reshape(len(edits) // len(VALUES), len(VALUES), *pixels.shape[1:])


def write_directions(run: RecordedRun, out: Path, reference: Path | None = None) -> list[Path]:
    """Writes `out`.png and .pdf: the first FLOAT model of a run on the portrait of the clip that the seed draws first.

    Raises:
        UsageError: no FLOAT model in the run. DataError: its weights or the portrait are not those that were scored.
    """
    name, files = _model_of(run)
    model = Animator.from_pretrained(name)
    if model.origin.files != files:
        raise DataError(f"{name}: the weights are not those of {run.folder}", fix="run it again")
    available = set(run.info.available)
    clip = drawn_clips(run, [clip for clip in run.info.protocol.clips if clip.id in available])[0]
    try:
        portrait = Footage(run, dataset_of(run, reference)).reference(clip).source
    except ClipError as error:
        raise DataError(f"{clip.id}: {error.what}", fix="--reference DIR with the real videos") from error
    picture, _ = whole_picture(portrait, model.size, model.choices.options.crop_filter)
    tiles = direction_pictures(model, picture)
    names = model.card.directions or tuple(f"direction {d}" for d in range(len(tiles)))
    rows = [_row(tiles[d : d + ACROSS], names[d : d + ACROSS], first=d == 0) for d in range(0, len(tiles), ACROSS)]
    drawn = f"{clip.id} (drawn by the protocol's seed {run.info.protocol.seed})"
    note = f"{name} on the portrait of {drawn}: the number above is added to its own coefficient of one direction."
    return write_sheet(rows, note, out)


def _model_of(run: RecordedRun) -> tuple[str, dict[str, str]]:
    """The first system of the run that is a FLOAT model, and the hashes of its weights."""
    for name in run.systems:
        described = run.scores.methods[name]
        if "options" in described and "preset" in described:
            return name, dict(described["weights"])
    raise UsageError(f"{run.folder} has no FLOAT model", fix="floatbench run -m float-tiny")


def _row(tiles: np.ndarray, names: tuple[str, ...], first: bool) -> SheetRow:
    captions = [f"{value:+g}" if value else "0" for value in VALUES] * ACROSS if first else ()
    spaced: list[np.ndarray | None] = []
    for group in tiles:
        spaced += list(group)
    return SheetRow(" | ".join(names), spaced, captions)
