"""The paper's own rows of a table, with the marks that follow from its numbers."""

from __future__ import annotations

from dataclasses import replace

from floatbench.reports.comparison import Mark
from floatbench.reports.published import SOURCE, table_cells
from floatbench.reports.table_parts import COLUMNS, DATASETS, HIGHER, Column, Line, TableBlock, TableNumber


def mark_published(block: TableBlock) -> TableBlock:
    """Best and second best of the paper's own numbers, as it prints them; equal values share a mark."""
    marks: dict[tuple[int, int, int], Mark] = {}
    for c, column in enumerate(block.columns):
        if column.higher is None:
            continue
        for d in range(len(block.datasets)):
            entries = [(i, line.cells[c][d]) for i, line in enumerate(block.lines)]
            values = {i: part.rank_value for i, part in entries if part.ranked and part.rank_value is not None}
            order = sorted(set(values.values()), reverse=column.higher)
            names: tuple[Mark, Mark] = ("best", "second")
            for value, name in zip(order, names, strict=False):
                marks |= {(i, c, d): name for i, own in values.items() if own == value}
    return replace(block, lines=tuple(_marked(line, i, marks) for i, line in enumerate(block.lines)))


def _marked(line: Line, i: int, marks: dict[tuple[int, int, int], Mark]) -> Line:
    cells = tuple(
        tuple(replace(part, mark=marks.get((i, c, d), "")) for d, part in enumerate(parts))
        for c, parts in enumerate(line.cells)
    )
    return replace(line, cells=cells)


def paper_block(table: int) -> TableBlock:
    """The paper's rows with the marks that follow from its own numbers."""
    cells = table_cells(table)
    datasets = tuple(dict.fromkeys(cell.dataset for cell in cells))
    found = {(cell.row, cell.column, cell.dataset): cell for cell in cells}
    columns = tuple(Column(name, None if name == "NFE" else name in HIGHER) for name in COLUMNS[table])
    lines = []
    for row in dict.fromkeys(cell.row for cell in cells):
        mine = [cell for cell in cells if cell.row == row]
        parts = []
        for column in columns:
            entries = [found[row, column.title, dataset] for dataset in datasets]
            parts.append(
                tuple(
                    TableNumber(
                        cell.value,
                        ranked=cell.value is not None,
                        rank_value=cell.value,
                        why="unknown",
                        second_hand=cell.status == "second-hand",
                        text=cell.text,
                    )
                    for cell in entries
                )
            )
        lines.append(Line(mine[0].name, mine[0].size == 256, tuple(parts)))
    return mark_published(
        TableBlock(f"as published ({SOURCE})", tuple(DATASETS[d] for d in datasets), columns, tuple(lines))
    )
