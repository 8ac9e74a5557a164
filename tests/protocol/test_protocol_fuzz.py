"""Whatever a protocol file or a clip table holds: a protocol or one UsageError; and what the hash covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floatbench.errors import UsageError
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import Clip, Preprocessing, Protocol
from floatbench.protocol.tables import read_table

RELAXED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALID = b"""id = "x"
dataset = "hdtf"
metrics = ["fid"]
seed = 3
[preprocessing]
boxes = "none"
[settings.fid]
n = 3
[clips]
table = "t.csv"
where = { split = "test" }
[clips.columns]
start_s = "start"
face = ["start", "start", "start", "start"]
labels = ["split"]
"""
TABLE = b'id,identity,split,start\na,"b ""q""",test,1.5\nc,d,test,\n'


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with a few pieces cut, replaced or put in."""
    edit = st.tuples(st.integers(0, len(data)), st.integers(0, 12), st.binary(max_size=12))

    def apply(edits: list[tuple[int, int, bytes]]) -> bytes:
        out = data
        for start, length, new in edits:
            out = out[:start] + new + out[start + length :]
        return out

    return st.lists(edit, min_size=1, max_size=4).map(apply)


def only_usage_errors(folder: Path) -> None:
    try:
        protocol = load_protocol(str(folder / "p.toml"))
    except UsageError as error:
        assert error.what and "\n" not in error.what
        return
    assert len(protocol.hash) == 64


@RELAXED
@given(st.one_of(mutated(VALID), st.binary(max_size=80)))
def test_any_protocol_file_gives_a_protocol_or_a_usage_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.toml").write_bytes(data)
    (tmp_path / "t.csv").write_bytes(TABLE)
    only_usage_errors(tmp_path)


@RELAXED
@given(st.one_of(mutated(TABLE), st.binary(max_size=80)))
def test_any_clip_table_gives_a_protocol_or_a_usage_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "p.toml").write_bytes(VALID)
    (tmp_path / "t.csv").write_bytes(data)
    only_usage_errors(tmp_path)


values = st.recursive(
    st.one_of(st.integers(), st.floats(), st.text(max_size=8), st.booleans(), st.dates(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
keys = st.sampled_from([*Protocol.model_fields, "metric", ""])


def toml(value: Any) -> str:
    """A value in TOML (None becomes an empty string, which is as wrong as any)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    return '""' if value is None else str(value)


@RELAXED
@given(st.dictionaries(keys, values, max_size=6))
def test_any_field_of_any_type_gives_a_protocol_or_a_usage_error(tmp_path: Path, fields: dict[str, Any]) -> None:
    lines = {"id": '"x"', "dataset": '"hdtf"', "metrics": "[]", "clips": '[{id = "a", identity = "b"}]'}
    lines |= {toml(key): toml(value) for key, value in fields.items()}
    (tmp_path / "p.toml").write_text("\n".join(f"{key} = {value}" for key, value in lines.items()), "utf-8", "replace")
    only_usage_errors(tmp_path)


@RELAXED
@given(
    st.lists(
        st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8), min_size=2, max_size=2),
        max_size=4,
    )
)
def test_every_text_survives_the_table(tmp_path: Path, rows: list[list[str]]) -> None:
    quoted = ["a,b", *(",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)]
    (tmp_path / "t.csv").write_bytes(("\n".join(quoted) + "\n").encode())
    assert [list(row.values.values()) for row in read_table(tmp_path / "t.csv")] == rows


BASE: dict[str, Any] = {
    "id": "base",
    "dataset": "hdtf",
    "metrics": ("fid", "fvd"),
    "clips": (Clip(id="a", identity="p", video="v"), Clip(id="b", identity="q", end_s=2.0)),
}


def test_order_title_licence_and_place_do_not_enter_the_hash() -> None:
    base = Protocol(**BASE).hash
    again: dict[str, Any] = {"metrics": ("fvd", "fid"), "clips": BASE["clips"][::-1], "title": "T", "licence": "L"}
    assert Protocol(**BASE | again | {"root": "/r", "origin": "o", "notes": ("n",)}).hash == base


CHANGES: dict[str, Any] = {
    "id": "other",
    "dataset": "ravdess",
    "split": "s",
    "metrics": ("fid",),
    "backbone_weights": {"inception-fid": "0" * 64},
    "settings": {"fid": {"n": 1}},
    "seed": 1,
    "coverage_floor": 0.5,
    "source_video": "own",
    "preprocessing": Preprocessing(boxes="none"),
    "clips": BASE["clips"][:1],
}
CLIP_CHANGES: dict[str, Any] = {
    "id": "z",
    "identity": "z",
    "video": "z",
    "audio": "z",
    "source": "z",
    "start_s": 0.5,
    "end_s": 9.0,
    "labels": {"mood": "calm"},
    "face": (0.0, 0.0, 1.0, 1.0),
    "sha256": {"video": "0" * 64},
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_that_can_change_a_score_enters_the_hash(field: str) -> None:
    assert Protocol(**BASE | {field: CHANGES[field]}).hash != Protocol(**BASE).hash


@pytest.mark.parametrize("field", CLIP_CHANGES)
def test_every_field_of_a_clip_enters_the_hash(field: str) -> None:
    changed = BASE["clips"][0].model_copy(update={field: CLIP_CHANGES[field]})
    assert Protocol(**BASE | {"clips": (changed, BASE["clips"][1])}).hash != Protocol(**BASE).hash


def test_the_lists_of_fields_above_are_whole() -> None:
    free = {"title", "licence", "origin", "root", "notes"}
    assert set(CHANGES) | free == set(Protocol.model_fields)
    assert set(CLIP_CHANGES) == set(Clip.model_fields)
