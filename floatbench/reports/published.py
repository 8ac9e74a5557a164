"""The paper's numbers, read from `results/paper`; cells that nobody could read stay unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from floatbench.errors import DataError
from floatbench.paths import shipped
from floatbench.protocol.tables import TableRow, read_table

SOURCE = "FLOAT, arXiv 2412.01064v5"
STATUSES = ("printed", "second-hand", "unknown")


@dataclass(frozen=True)
class PublishedCell:
    """One number of Table 1, 2 or 3; `value` is None when it is unknown, `size` is the side scored in pixels."""

    table: int
    row: str
    name: str
    methods: tuple[str, ...]
    size: int
    dataset: str
    column: str
    value: float | None
    status: str
    text: str  # with the digits as published


@dataclass(frozen=True)
class PublishedSpeed:
    """One bar of Figure 9: frames a second of the forward pass."""

    system: str
    fps: float
    device: str
    steps: int


@dataclass(frozen=True)
class Reading:
    """What the paper leaves open for a column, and the metric variants that answer it."""

    column: str
    open_question: str
    variants: tuple[str, ...]


@cache
def table_cells(number: int) -> tuple[PublishedCell, ...]:
    """All cells of Table 1, 2 or 3 in the paper's order."""
    rows = _read(f"table{number}.csv", ("row", "name", "methods", "size", "dataset", "column", "value", "status"))
    return tuple(_cell(number, row) for row in rows)


@cache
def figure9() -> tuple[PublishedSpeed, ...]:
    """The bars of Figure 9."""
    rows = _read("figure9.csv", ("system", "fps", "device", "steps", "status"))
    return tuple(
        PublishedSpeed(row.values["system"], _known(row, "fps"), row.values["device"], int(_known(row, "steps")))
        for row in rows
    )


@dataclass(frozen=True)
class SweepCell:
    """One number of the supplement's sweeps; `row` is the NFE, or the guidance scales as `2,1`."""

    row: str
    dataset: str
    column: str
    text: str


@cache
def sweep_cells(sweep: str) -> tuple[SweepCell, ...]:
    """The supplement's sweep over `nfe` or `guidance`."""
    keys = ("nfe",) if sweep == "nfe" else ("gamma_a", "gamma_e")
    rows = _read(f"supplement_{sweep}.csv", (*keys, "dataset", "column", "value", "status"))
    return tuple(
        SweepCell(
            ",".join(row.values[k] for k in keys), row.values["dataset"], row.values["column"], row.values["value"]
        )
        for row in rows
    )


@cache
def readings() -> dict[str, Reading]:
    """Column -> what is open about it."""
    rows = _read("readings.csv", ("column", "open_question", "variants"))
    return {
        row.values["column"]: Reading(
            row.values["column"], row.values["open_question"], tuple(row.values["variants"].split(";"))
        )
        for row in rows
    }


def _read(name: str, columns: Sequence[str]) -> list[TableRow]:
    path = shipped("results") / "paper" / name
    if not path.is_file():
        raise DataError(f"{path} is missing", fix="run floatbench from its clone: git checkout -- results")
    return read_table(path, required=columns, known=columns)


def _cell(number: int, row: TableRow) -> PublishedCell:
    given, value = row.values, row.number("value")
    if given["status"] not in STATUSES:
        raise row.error("status", f"{given['status']!r} is none of {', '.join(STATUSES)}")
    if (value is None) != (given["status"] == "unknown"):
        raise row.error("value", "a value is empty if and only if its status is unknown")
    return PublishedCell(
        table=number,
        row=given["row"],
        name=given["name"],
        methods=tuple(filter(None, given["methods"].split(";"))),
        size=int(_known(row, "size")),
        dataset=given["dataset"],
        column=given["column"],
        value=value,
        status=given["status"],
        text=given["value"],
    )


def _known(row: TableRow, column: str) -> float:
    value = row.number(column)
    if value is None:
        raise row.error(column, "a number is missing")
    return value
