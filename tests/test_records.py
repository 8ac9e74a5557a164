"""Records: what is read back is what was written, and what is wrong with a file is one line that names the place."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from pydantic import ValidationError

from floatbench.errors import DataError, UsageError
from floatbench.records import Frozen, RecordFile, Strict, read_record, validated, write_record


class Wheel(Strict):
    spokes: int
    tyre: str = ""


class Bicycle(RecordFile):
    noun: ClassVar[str] = "bicycle"
    remedy: ClassVar[str] = "floatbench build bicycle"
    absent: ClassVar[str] = "nobody has built one"
    newest: ClassVar[int] = 2

    schema_version: int = 2
    wheels: list[Wheel]


def test_what_is_read_back_is_what_was_written_and_keys_are_sorted(tmp_path):
    made = Bicycle(wheels=[Wheel(spokes=36, tyre="ä\n"), Wheel(spokes=28)])
    write_record(tmp_path / "b.json", made)
    assert read_record(tmp_path / "b.json", Bicycle) == made
    assert list(json.loads((tmp_path / "b.json").read_bytes())) == ["schema_version", "wheels"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist: nobody has built one"),
        (b"{", "is damaged: not JSON"),
        (b"[" * 100_000, "is damaged: not JSON"),
        (b"\xff\xfe", "is damaged: not JSON"),
        (b"[]", "is no bicycle: should be a valid dictionary or instance of Bicycle"),
        (b"{}", "is no bicycle: wheels: the field is missing"),
        (b'{"wheels": [{"spokes": 1}, {"spokes": "x"}]}', "is no bicycle: wheels.1.spokes: should be a valid integer"),
        (b'{"wheels": [], "bell": 1}', "is no bicycle: bell: unknown key"),
    ],
)
def test_a_wrong_file_is_one_line_with_file_field_and_fix(tmp_path, content, message):
    file = tmp_path / "b.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_record(file, Bicycle)
    assert caught.value.what.startswith(f"{file} {message}") and "\n" not in caught.value.what
    assert caught.value.fix == "floatbench build bicycle"


def test_a_folder_in_place_of_the_file_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_record(tmp_path, Bicycle)


def test_a_newer_schema_is_refused_before_its_fields_are_looked_at(tmp_path):
    (tmp_path / "b.json").write_text('{"schema_version": 3, "gears": 21}')
    with pytest.raises(UsageError, match="schema version 3; this floatbench reads up to 2\nfix: update floatbench"):
        read_record(tmp_path / "b.json", Bicycle)


def test_a_frozen_model_keeps_its_values():
    class Frame(Frozen):
        size: int

    frame = validated(Frame, {"size": 56}, "frame.toml", None, UsageError)
    with pytest.raises(ValidationError, match="frozen"):
        frame.size = 58  # pyright: ignore[reportAttributeAccessIssue]
