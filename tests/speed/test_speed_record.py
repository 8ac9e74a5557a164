"""The speed record: its figures, its file, and what a speed-quality figure takes from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from floatbench.errors import DataError, UsageError
from floatbench.records import read_record, write_record
from floatbench.speed.record import (
    Quality,
    SpeedFile,
    SpeedRow,
    configuration_sha256,
    rows_for_figure,
    spread,
)


def test_spread_is_median_quartiles_and_range():
    found = spread([4.0, 1.0, 2.0, 3.0, 5.0])
    assert (found.median, found.q25, found.q75, found.low, found.high, found.n) == (3.0, 2.0, 4.0, 1.0, 5.0, 5)
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_configuration_hash_ignores_order_and_sees_values():
    first = configuration_sha256({"a": 1, "b": (1, 2)})
    assert first == configuration_sha256({"b": [1, 2], "a": 1})
    assert first != configuration_sha256({"a": 1, "b": [1, 3]})


def record(*rows: SpeedRow) -> SpeedFile:
    return SpeedFile(
        created="2026-01-01T00:00:00Z",
        scenario="offline",
        inputs="hdtf",
        clips=1,
        warmup=1,
        repeats=5,
        seed=0,
        threads=1,
        machine={},
        environment={},
        rows=list(rows),
    )


QUALITY = Quality(
    run="hdtf-1", run_sha256="0" * 64, label="hdtf-78-v1 71/78", protocol_hash="1" * 64, ranked=True, scores={}, n={}
)


def test_record_survives_its_file(tmp_path):
    rows = (SpeedRow(method="a", status="ok", fps=spread([1.0]), quality=QUALITY), SpeedRow(method="b", status="n/a"))
    write_record(tmp_path / "speed.json", record(*rows))
    assert read_record(tmp_path / "speed.json", SpeedFile) == record(*rows)


def test_figure_refuses_speed_without_quality_by_name(tmp_path):
    paired = SpeedRow(method="good", status="ok", fps=spread([1.0]), quality=QUALITY)
    unpaired = SpeedRow(method="lonely", status="ok", fps=spread([1.0]), unpaired_because="no --run was given")
    skipped = SpeedRow(method="still", status="n/a", reason="the method does not stream")
    write_record(tmp_path / "a.json", record(paired, skipped))
    write_record(tmp_path / "b.json", record(unpaired))
    assert [row.method for _, row in rows_for_figure([tmp_path / "a.json"])] == ["good"]
    with pytest.raises(UsageError, match="lonely") as error:
        rows_for_figure([tmp_path / "a.json", tmp_path / "b.json"])
    assert "good" not in error.value.what


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("{", DataError),
        ("[]", DataError),
        ('{"schema_version": 99}', UsageError),
        ('{"kind": "floatbench-speed"}', DataError),
    ],
)
def test_damaged_or_newer_speed_file_is_one_line(tmp_path: Path, text, error):
    path = tmp_path / "speed.json"
    path.write_text(text)
    with pytest.raises(error, match=r"speed\.json"):
        read_record(path, SpeedFile)
    with pytest.raises(DataError, match=r"absent\.json"):
        read_record(tmp_path / "absent.json", SpeedFile)
