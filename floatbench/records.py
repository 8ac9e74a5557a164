"""JSON records: the strict base classes, one way to read and write a file, one line that says what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from floatbench.errors import DataError, FloatbenchError, UsageError
from floatbench.files import write_json
from floatbench.text import printable


class Strict(BaseModel):
    """A model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid")


class Frozen(Strict):
    """A strict model whose fields keep their values."""

    model_config = ConfigDict(frozen=True)


class RecordFile(Strict):
    """A strict model that is a file of its own.

    Class attributes:
        noun: what the file is, for error messages.
        remedy: the command or action that makes or restores it.
        absent: what it means when there is none, where that is worth saying.
        newest: the newest `schema_version` that is understood here.
    """

    noun: ClassVar[str] = "record"
    remedy: ClassVar[str] = "run the same command again"
    absent: ClassVar[str] = ""
    newest: ClassVar[int] = 1


M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound=RecordFile)


def read_record(path: Path, model: type[R]) -> R:
    """Reads one file.

    Raises:
        DataError: it is absent, no JSON, or has a wrong field.
        UsageError: its schema is newer than this floatbench.
    """
    name = printable(path)
    try:
        document = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        meaning = f": {model.absent}" if model.absent else ""
        raise DataError(f"{name} does not exist{meaning}", fix=model.remedy) from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}", fix=model.remedy) from None
    except (ValueError, RecursionError):
        raise DataError(f"{name} is damaged: not JSON", fix=model.remedy) from None
    refuse_newer(document, model.newest, name)
    return validated(model, document, f"{name} is no {model.noun}", model.remedy)


def write_record(path: Path, record: BaseModel) -> None:
    """Writes one record whole or not at all, with sorted keys."""
    write_json(path, record.model_dump(mode="json"))


def refuse_newer(document: Any, newest: int, where: str) -> None:
    """Raises UsageError when a document's `schema_version` is above `newest`."""
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > newest:
        raise UsageError(
            f"{where} has schema version {version}; this floatbench reads up to {newest}", fix="update floatbench"
        )


def validated(
    model: type[M], document: Any, where: str, fix: str | None, error: type[FloatbenchError] = DataError
) -> M:
    """A model from parsed JSON or TOML; raises `error` with the place and the first field that is wrong."""
    try:
        return model.model_validate(document)
    except ValidationError as problems:
        first = problems.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise error(f"{where}: {f'{field}: ' if field else ''}{in_words(first)}", fix=fix) from None


def in_words(problem: Any) -> str:
    """What is wrong with a field, in few words, from one of pydantic's `errors()`."""
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return "unknown key"
    if problem["type"] == "missing":
        return "the field is missing"
    message = str(problem["msg"]).removeprefix("Value error, ").replace("Input should be", "should be")
    given = problem["input"]
    shown = f", not {printable(repr(given))[:60]}" if isinstance(given, str | int | float | bool) else ""
    return message + (shown if "should" in message else "")
