"""Protocol files and clip tables: what is accepted, and that every mistake is one line with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from floatbench.errors import UsageError
from floatbench.protocol.load import load_protocol

TOML = """\
id = "mine-v1"
dataset = "hdtf"
metrics = ["fid"]

[preprocessing]
boxes = "mediapipe"

[clips]
table = "clips.csv"
where = { split = "test" }

[clips.columns]
start_s = "start"
labels = ["mood"]
"""
TABLE = "id,identity,split,start,mood\na,ann,test,1.5,calm\nb,bob,train,2,\nc,cy,test,,\n"


def write(folder: Path, toml: str = TOML, table: str | bytes = TABLE) -> str:
    (folder / "mine.toml").write_text(toml, encoding="utf-8")
    (folder / "clips.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return str(folder / "mine.toml")


def test_a_table_gives_the_clips_of_the_wanted_rows(tmp_path: Path) -> None:
    protocol = load_protocol(write(tmp_path))
    assert [(c.id, c.identity, c.start_s, c.labels) for c in protocol.clips] == [
        ("a", "ann", 1.5, {"mood": "calm"}),
        ("c", "cy", None, {}),
    ]
    assert protocol.preprocessing.id == "pp1-mp-512"


def test_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    unix = load_protocol(write(tmp_path)).hash
    assert load_protocol(write(tmp_path, table=TABLE.replace("\n", "\r\n"))).hash == unix


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    plain = load_protocol(write(tmp_path)).hash
    assert load_protocol(write(tmp_path, "\ufeff" + TOML, "\ufeff" + TABLE)).hash == plain


def test_a_column_that_seems_to_give_a_field_and_is_not_used_is_said(tmp_path: Path) -> None:
    toml = TOML.replace('start_s = "start"\n', "")
    assert load_protocol(write(tmp_path, toml)).notes == (
        "clips.csv: the column 'start' is not used; [clips.columns] start_s = 'start' would use it",
    )
    assert load_protocol(write(tmp_path)).notes == ()


MISTAKES = {
    "unknown key": (
        TOML.replace("metrics =", "metrcs ="),
        TABLE,
        "mine.toml:3: metrcs: unknown key",
        "did you mean metrics",
    ),
    "unknown nested key": (
        TOML.replace("boxes =", "boxs ="),
        TABLE,
        "mine.toml:6: preprocessing.boxs: unknown key",
        "did you mean boxes",
    ),
    "unknown column key": (
        TOML.replace("start_s =", "start ="),
        TABLE,
        "mine.toml:13: clips.columns.start: unknown key",
        "did you mean start_s",
    ),
    "wrong choice": (TOML.replace('"mediapipe"', '"haar"'), TABLE, "mine.toml:6: preprocessing.boxes: should be", ""),
    "wrong type": (TOML.replace('metrics = ["fid"]', "metrics = 3"), TABLE, "mine.toml:3: metrics: should be", ""),
    "missing field": (TOML.replace('dataset = "hdtf"\n', ""), TABLE, "mine.toml: dataset: the field is missing", ""),
    "bad id": (TOML.replace('"mine-v1"', '"Mine V1"'), TABLE, "mine.toml:1: id: String should match", ""),
    "metric twice": (TOML.replace('["fid"]', '["fid", "fid"]'), TABLE, "mine.toml:3: metrics: a metric variant", ""),
    "not TOML": (TOML.replace('"mine-v1"', "mine"), TABLE, "mine.toml:1: not valid TOML", ""),
    "empty": ("", TABLE, "mine.toml: the file is empty", ""),
    "no clips": (TOML.partition("[clips]")[0], TABLE, "mine.toml: clips: the field is missing", "table"),
    "private field": ('root = "/"\n' + TOML, TABLE, "mine.toml:1: root: unknown key", ""),
    "absent table": (TOML.replace("clips.csv", "other.csv"), TABLE, "other.csv does not exist", ""),
    "missing column": (
        TOML,
        TABLE.replace("identity", "idenity", 1),
        "clips.csv:1: the column 'identity' is missing",
        "idenity",
    ),
    "duplicate column": (TOML, TABLE.replace("mood", "split", 1), "clips.csv:1: the column 'split' is there twice", ""),
    "UTF-16": (TOML, TABLE.encode("utf-16"), "clips.csv:1: the file is UTF-16", "UTF-8"),
    "semicolons": (TOML, TABLE.replace(",", ";"), "clips.csv:1: semicolons separate the columns", "commas"),
    "tabs": (TOML, TABLE.replace(",", "\t"), "clips.csv:1: tabs separate the columns", "commas"),
    "sep=": (TOML, "sep=,\n" + TABLE, "clips.csv:1: 'sep=' is no header", "first line"),
    "old Mac": (TOML, TABLE.replace("\n", "\r"), "clips.csv:1: the lines end in CR alone", "line ends"),
    "too many fields": (TOML, TABLE + "d,dee,test,1,5,x\n", "clips.csv:5: 6 fields", "numbers have a point"),
    "decimal comma": (TOML, TABLE.replace("1.5", '"1,5"'), "clips.csv:2: start: '1,5' is not a number", "1.5"),
    "minutes": (TOML, TABLE.replace("1.5", "1:02.5"), "clips.csv:2: start: '1:02.5' is not a number", "62.5"),
    "a unit": (TOML, TABLE.replace("1.5", "1.5 s"), "clips.csv:2: start: '1.5 s' is not a number", "alone: 1.5"),
    "a number of Python": (TOML, TABLE.replace("1.5", "1_5"), "clips.csv:2: start: '1_5' is not a number", ""),
    "other digits": (TOML, TABLE.replace("1.5", "\u0661"), "clips.csv:2: start: '\u0661' is not a number", ""),
    "infinite": (TOML, TABLE.replace("1.5", "inf"), "clips.csv:2: start: 'inf' is not a finite number", ""),
    "no name": (TOML, TABLE.replace("mood", "", 1), "clips.csv:1: column 5 has no name", "take the column away"),
    "not UTF-8": (
        TOML,
        TABLE.replace("bob", "b\xf6b").encode("latin-1"),
        "clips.csv:3: byte 0xf6 is not UTF-8",
        "UTF-8",
    ),
    "mixed line ends": (TOML, TABLE.replace("calm\n", "calm\r\n"), "clips.csv:2: Windows and Unix line ends", ""),
    "zero byte": (TOML, TABLE.replace("bob", "b\0b"), "clips.csv:3: a zero byte", ""),
    "duplicate id": (TOML, TABLE.replace("\nc,", "\na,"), "clips.csv:4: id: the id 'a' is also on line 2", ""),
    "too few fields": (TOML, TABLE + "d,dee,test\n", "clips.csv:5: 3 fields, but the header names 5 columns", ""),
    "open quote": (TOML, TABLE + '"d,dee', "clips.csv:5: unexpected end of data", ""),
    "not a number": (TOML, TABLE.replace("1.5", "1:30"), "clips.csv:2: start: '1:30' is not a number", ""),
    "not finite": (TOML, TABLE.replace("1.5", "nan"), "clips.csv:2: start: 'nan' is not a finite number", ""),
    "negative start": (TOML, TABLE.replace("1.5", "-1"), "clips.csv:2: start: should be greater", ""),
    "empty id": (TOML, TABLE.replace("\na,", "\n,"), "clips.csv:2: id: String should have at least 1", ""),
    "empty table": (TOML, "", "clips.csv: the table is empty", ""),
    "no row": (TOML, "id,identity,split,start,mood\n", "no row has the values", ""),
    "pinned table changed": (
        TOML.replace('"clips.csv"', f'"clips.csv"\nsha256 = "{"0" * 64}"'),
        TABLE,
        "the protocol pins 0000000000000000",
        "",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    toml, table, what, fix = MISTAKES[name]
    with pytest.raises(UsageError) as caught:
        load_protocol(write(tmp_path, toml, table))
    assert what in caught.value.what
    assert fix in (caught.value.fix or "")
    assert "\n" not in caught.value.what and len(caught.value.what) < 400


def test_an_unknown_protocol_suggests_near_names() -> None:
    with pytest.raises(UsageError) as caught:
        load_protocol("hdft")
    assert "hdtf" in (caught.value.fix or "")


def test_boxes_and_size_can_be_replaced_and_change_the_hash() -> None:
    plain = load_protocol("ravdess")
    changed = load_protocol("ravdess", boxes="mediapipe", size=256)
    assert (changed.preprocessing.boxes, changed.preprocessing.size) == ("mediapipe", 256)
    assert changed.hash != plain.hash
    with pytest.raises(UsageError, match="unknown box back end"):
        load_protocol("ravdess", boxes="mediapip")
    with pytest.raises(UsageError, match="size"):
        load_protocol("ravdess", size=5)
