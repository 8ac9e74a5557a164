"""A sheet of small pictures with names of rows and columns, written as PNG and PDF."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from floatbench.errors import DependencyError
from floatbench.files import atomic_path

TILE, GAP, LINE = 1.1, 0.04, 0.16
"""Inches: height of a picture, the space between two, a line of text."""
NAME = 1.3
"""Inches: the names of rows."""
SUFFIXES = (".png", ".pdf")


@dataclass(frozen=True)
class SheetRow:
    """One row.

    Attributes:
        name: stands to the left.
        tiles: (H, W, 3) uint8 pictures; None leaves a place empty.
        captions: above the tiles, or empty.
    """

    name: str
    tiles: Sequence[np.ndarray | None]
    captions: Sequence[str] = ()


def write_sheet(rows: Sequence[SheetRow], note: str, out: Path) -> list[Path]:
    """Writes `out`.png and .pdf, whatever its suffix; equal pictures give equal bytes.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("figures need matplotlib", fix="pip install 'floatbench[report]'") from None
    tiles = [tile for row in rows for tile in row.tiles if tile is not None]
    wide = TILE * max(tile.shape[1] / tile.shape[0] for tile in tiles)
    width = NAME + max(len(row.tiles) for row in rows) * (wide + GAP)
    below = textwrap.wrap(note, int(width * 17))
    height = sum(TILE + GAP + LINE * bool(row.captions) for row in rows) + LINE * (len(below) + 1)
    figure = Figure(figsize=(width, height))
    top = height
    for row in rows:
        top -= LINE * bool(row.captions)
        for place, caption in enumerate(row.captions):
            _text(figure, NAME + place * (wide + GAP) + wide / 2, top + 0.03, caption, "center", "bottom")
        top -= TILE
        _text(
            figure,
            NAME - 0.08,
            top + TILE / 2,
            "\n".join(textwrap.wrap(row.name, 18, break_on_hyphens=False)),
            "right",
            "center",
        )
        for place, tile in enumerate(row.tiles):
            if tile is not None:
                box = (NAME + place * (wide + GAP)) / width, top / height, wide / width, TILE / height
                axes = figure.add_axes(box)
                axes.imshow(tile, interpolation="none")
                axes.set_axis_off()
        top -= GAP
    _text(figure, 0.08, LINE / 2, "\n".join(below), "left", "bottom")
    stem = out.with_suffix("") if out.suffix in SUFFIXES else out
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    with matplotlib.rc_context({"pdf.fonttype": 42}):  # letters stay letters
        for path in paths:
            undated = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
            with atomic_path(path) as partial:
                figure.savefig(partial, format=path.suffix[1:], dpi=200, metadata=undated)
    return paths


def _text(figure: Any, x: float, y: float, text: str, across: str, along: str) -> None:
    """At inches from the lower left corner; `$` would start a formula."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text.replace("$", r"\$"), fontsize=7, ha=across, va=along)
