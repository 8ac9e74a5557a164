"""What a table of results is made of, whatever it is written as: numbers, columns, lines, blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from floatbench.reports.comparison import Mark
from floatbench.reports.table import number

Intervals = Literal["none", "pm", "full"]
INTERVALS: tuple[Intervals, ...] = ("none", "pm", "full")

COLUMNS: dict[int, tuple[str, ...]] = {
    1: ("FID", "FVD", "CSIM", "E-FID", "P-FID", "LSE-D", "LSE-C"),
    2: ("FID", "FVD", "E-FID", "P-FID", "LSE-D"),
    3: ("FID", "FVD", "E-FID", "LSE-D", "NFE"),
}
TITLES = {
    1: "Table 1: comparison",
    2: "Table 2: additional driving conditions",
    3: "Table 3: ablations",
}
HIGHER = ("CSIM", "LSE-C")
DATASETS = {"hdtf": "HDTF", "ravdess": "RAVDESS"}


@dataclass(frozen=True)
class TableNumber:
    """One number: a cell has one for each data set.

    Attributes:
        value: None when there is no number; `why` then says why.
        n, of: clips that entered and clips available; None for published numbers.
        pictures, of_pictures: measured inside these clips, and what they have.
        marks: what a reader must know beside the number, in two words each.
        rank_value: the common subset's value where methods failed on different clips, else the value.
        place, tied, mark: by the paired test, see floatbench.reports.comparison.Place.
        second_hand: a published number that was not read in the paper itself.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    n: int | None = None
    of: int | None = None
    pictures: int = 0
    of_pictures: int = 0
    marks: tuple[str, ...] = ()
    ranked: bool = False
    rank_value: float | None = None
    mark: Mark = ""
    place: int | None = None
    tied: bool = False
    why: str = ""
    second_hand: bool = False
    text: str = ""  # as published; measured numbers have four digits

    @property
    def shown(self) -> str:
        """The number, or the reason why there is none."""
        if self.value is None:
            return self.why or "none"
        return self.text or number(self.value)

    @property
    def extra(self) -> str:
        """Interval or spread, count, and the value on the common clips."""
        return self.beside("full")

    def beside(self, intervals: Intervals) -> str:
        """What stands beside the number: interval or spread as asked for, count, and the value on the common clips.

        With `none` and `pm` a count is left out where nothing is missing.
        """
        if self.value is None:
            return ""
        parts = [self._interval(intervals)] if intervals != "none" else []
        whole = self.pictures == self.of_pictures
        if self.n is not None and (intervals == "full" or not whole or self.n != self.of):
            lost = "" if whole else f" clips, {self.pictures} of {self.of_pictures} pictures"
            parts.append(f"({self.n} of {self.of}{lost})")
        parts += [f"({mark})" for mark in self.marks]
        if self.n is not None and self.rank_value is not None and self.rank_value != self.value:
            parts.append(f"common clips {number(self.rank_value)}")
        return " ".join(filter(None, parts))

    def _interval(self, intervals: Intervals) -> str:
        if self.low is not None and self.high is not None:
            if intervals == "pm":
                return f"± {number((self.high - self.low) / 2)}"
            return f"[{number(self.low)}, {number(self.high)}]"
        return f"± {number(self.spread)}" if self.spread is not None and intervals == "full" else ""


@dataclass(frozen=True)
class Column:
    """Heading, direction (None = no direction) and the variant it was made with (empty for published numbers)."""

    title: str
    higher: bool | None
    variant: str = ""
    tiny: bool = False
    group: str = ""  # the table it stands in, where one does not hold all

    @property
    def heading(self) -> str:
        """Title, `(tiny)` for the small bundled networks, and an arrow to the better side."""
        arrow = "" if self.higher is None else " ↑" if self.higher else " ↓"
        return f"{self.title}{' (tiny)' if self.tiny else ''}{arrow}"


@dataclass(frozen=True)
class Line:
    """One row; `cells[c][d]` is column c on data set d; `marks` say how it was made (floatbench.reports.marks)."""

    name: str
    dagger: bool
    cells: tuple[tuple[TableNumber, ...], ...]
    marks: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name, dagger and marks, as tables print them."""
        return self.name + (" †" if self.dagger else "") + (f" ({', '.join(self.marks)})" if self.marks else "")


@dataclass(frozen=True)
class TableBlock:
    """Rows that may be compared with each other."""

    title: str
    datasets: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class TableChoices:
    """What of the runs a table shows, and how.

    Attributes:
        only: the methods that are shown, controls too; by default all.
        names: method -> the name it is printed by.
        controls, published: show the controls, the paper's own rows.
        intervals: `full` as [low, high], `pm` as half of their width, or `none`.
        label: of the LaTeX table, for references to it.
        sets: of metrics, by whose names the columns were asked for.
    """

    only: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    controls: bool = True
    published: bool = True
    intervals: Intervals = "full"
    label: str = ""
    sets: tuple[str, ...] = ()

    def shows(self, name: str) -> bool:
        """True for a method that was not left out."""
        return not self.only or name in self.only

    def printed(self, name: str) -> str:
        """The name that stands in the table."""
        return self.names.get(name, name)


@dataclass(frozen=True)
class PaperTable:
    """Our rows and the paper's, in blocks of their own, with notes.

    Attributes:
        number: of the paper's table; None where the columns are the metrics of the runs.
        slices: our rows once more, on some of the clips each (floatbench.reports.slices).
        intervals, label: see `TableChoices`.
    """

    number: int | None
    title: str
    ours: TableBlock
    controls: TableBlock
    paper: TableBlock
    notes: list[str] = field(default_factory=list)
    slices: tuple[TableBlock, ...] = ()
    intervals: Intervals = "full"
    label: str = ""

    @property
    def blocks(self) -> dict[str, TableBlock]:
        """Origin -> block, without empty ones."""
        found = {"measured": self.ours, "control": self.controls, "published": self.paper}
        found |= {block.title: block for block in self.slices}
        return {origin: block for origin, block in found.items() if block.lines}

    @property
    def parts(self) -> list[tuple[str, list[TableBlock]]]:
        """Heading and blocks of each group of columns; one without a heading where all columns stand together."""
        headings = dict.fromkeys(column.group for block in self.blocks.values() for column in block.columns)
        return [
            (heading, [part for block in self.blocks.values() if (part := _only(block, heading)).columns])
            for heading in headings
        ]


def _only(block: TableBlock, group: str) -> TableBlock:
    """The block with the columns of one group."""
    kept = [i for i, column in enumerate(block.columns) if column.group == group]
    lines = tuple(replace(line, cells=tuple(line.cells[i] for i in kept)) for line in block.lines)
    return replace(block, columns=tuple(block.columns[i] for i in kept), lines=lines)
