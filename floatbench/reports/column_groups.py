"""Tables of more columns than can be read at once fall into one for each set of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from floatbench.metrics import registry, sets

WIDEST = 10
"""Columns that still stand in one table."""
OTHERS = "others"


def column_groups(columns: Mapping[str, str], named: Sequence[str] = ()) -> list[tuple[str, list[str]]]:
    """Heading and variants of each table; one without a heading where all fit.

    A variant stands with the first set that has it, those that were asked for by name first, else with the first set
    that has its column (`efid-mp52` with the paper's E-FID). Sets come in the order of their first variant.

    Args:
        columns: variant -> column, in the order in which they are to stand.
        named: the sets that were asked for.
    """
    if len(columns) <= WIDEST:
        return [("", list(columns))]
    order = [name for name in dict.fromkeys((*named, *sets.SETS)) if name in sets.SETS]
    found: dict[str, list[str]] = {}
    for variant, column in columns.items():
        found.setdefault(_home(variant, column, order), []).append(variant)
    return [part for heading, variants in found.items() for part in _parts(heading, variants)]


def _home(variant: str, column: str, order: Sequence[str]) -> str:
    holding = [name for name in order if variant in sets.SETS[name]]
    alike = [name for name in order if _base(column) in {_base(of) for of in _columns(name)}]
    return next(iter((*holding, *alike)), OTHERS)


def _columns(name: str) -> list[str]:
    return [registry.metric(variant).info.column for variant in sets.SETS[name]]


def _base(column: str) -> str:
    return column.partition(" (")[0]


def _parts(heading: str, variants: list[str]) -> list[tuple[str, list[str]]]:
    """A set that is itself too wide, in equal parts."""
    count = -(-len(variants) // WIDEST)
    if count == 1:
        return [(heading, variants)]
    size = -(-len(variants) // count)
    return [(f"{heading}, {i + 1} of {count}", variants[i * size : (i + 1) * size]) for i in range(count)]
