"""Configurations as frozen dataclasses whose values are checked: a wrong one is a UsageError that names its field."""

from __future__ import annotations

import operator
from dataclasses import field
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as validated

from floatbench.errors import UsageError
from floatbench.records import in_words

T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
"""A whole number that may be zero."""
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


def whole(name: str, value: Any, least: int = 0) -> int:
    """A number that was given in Python, as int; raises UsageError for what is no whole number from `least` on."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or not least <= found < 2**63:
        raise UsageError(f"{name}: should be a whole number from {least} on, not {value!r}")
    return found


def problem_of(error: ValidationError, prefix: str = "") -> str:
    """`field: what is wrong` for the first of the problems."""
    problem = error.errors()[0]
    place = f"{prefix}{'.'.join(str(part) for part in problem['loc'])}".rstrip(".")
    return f"{place}: {in_words(problem)}" if place else in_words(problem)


@dataclass_transform(frozen_default=True, field_specifiers=(field, Field))
def settings(cls: type[T]) -> type[T]:
    """Makes a frozen dataclass whose fields must be of the annotated kinds (strictly: no text in place of a number).

    Its constructor, and with it `dataclasses.replace`, raises UsageError.
    """
    made: Any = validated(frozen=True, config=ConfigDict(strict=True, extra="forbid"))(cls)
    construct = made.__init__

    @wraps(construct)
    def checked(self: Any, *args: Any, **values: Any) -> None:
        try:
            construct(self, *args, **values)
        except ValidationError as error:
            raise UsageError(problem_of(error)) from None

    made.__init__ = checked
    return made
