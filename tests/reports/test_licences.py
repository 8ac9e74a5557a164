"""Licences are listed per number, and a commercial use of restricted weights is refused with the list."""

from __future__ import annotations

import pytest
from report_toys import write_run

from floatbench.errors import UsageError
from floatbench.reports.layout import build_table
from floatbench.reports.licences import licences, refuse_restricted
from floatbench.reports.loading import load_run


def test_restricted_weights_are_refused_by_name(tmp_path):
    run = load_run(write_run(tmp_path / "a", {"one": 1.0}, licence="non-commercial research only"))
    with pytest.raises(UsageError, match=r"toy-fid: toy\.pth \(non-commercial research only\)"):
        refuse_restricted([run])


def test_permissive_weights_pass(tmp_path):
    run = load_run(write_run(tmp_path / "a", {"one": 1.0}))
    refuse_restricted([run])
    assert {item.used_by for item in licences(run)} == {"toy-fid", "toy-csim", "one"}


@pytest.mark.parametrize("text", ["CC BY-NC 4.0", "not stated", "", "CC BY-NC-ND", "MIT code, non-commercial weights"])
def test_what_is_not_clearly_allowed_is_refused(tmp_path, text):
    run = load_run(write_run(tmp_path / "a", {"one": 1.0}, licence=text))
    with pytest.raises(UsageError):
        refuse_restricted([run])


def test_registered_weights_are_judged_by_the_registry(tmp_path):
    run = load_run(write_run(tmp_path / "a", {"one": 1.0}, described={"weights": {"float": "0"}}))
    (found,) = [item for item in licences(run) if item.weights == "float"]
    assert not found.commercial


def test_a_table_names_the_licences_behind_its_columns(tmp_path):
    table = build_table(1, [load_run(write_run(tmp_path / "a", {"one": 1.0}))])
    (note,) = [note for note in table.notes if note.startswith("Weights behind ")]
    assert "toy-fid" in note and note.endswith(": toy.pth (Apache-2.0).")
