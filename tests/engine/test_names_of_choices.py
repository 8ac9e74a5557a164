"""A name's choices make one row however they are ordered, and older folders keep the names that they have."""

import json
from pathlib import Path

import pytest

import floatbench
from floatbench.errors import UsageError


def _run(out: Path, method: str):
    return floatbench.run("synthetic", [method], metrics=["psnr-grey128"], controls=False, limit=1, out=out, workers=0,
                          device="cpu")  # fmt: skip


def test_choices_in_another_order_are_the_same_row(checkpoint: Path, tmp_path: Path):
    base = f"checkpoint:{checkpoint}"
    first = _run(tmp_path / "run", f"{base}?emotion=happy&e_cfg=5.0&nfe=2")
    assert (first.run.new_rows, set(first.scores.method)) == (1, {f"{base}?nfe=2&e_cfg=5&emotion=happy"})
    again = _run(tmp_path / "run", f"{base}?nfe=2&e_cfg=5&emotion=happy")
    assert (again.run.new_rows, set(again.scores.method)) == (0, set(first.scores.method))


def test_a_folder_of_an_older_version_keeps_the_names_of_its_rows(checkpoint: Path, tmp_path: Path):
    base, folder = f"checkpoint:{checkpoint}", tmp_path / "run"
    _run(folder, f"{base}?nfe=2&e_cfg=5")
    typed, written = (json.dumps(f"{base}?{query}")[1:-1] for query in ("e_cfg=5.0&nfe=2", "nfe=2&e_cfg=5"))
    for file in (folder / "run.json", folder / "rows.jsonl", folder / "scores.json"):
        text = file.read_text()
        assert written in text
        file.write_text(text.replace(written, typed))
    for query in ("e_cfg=5.0&nfe=2", "nfe=2&e_cfg=5"):
        again = _run(folder, f"{base}?{query}")
        assert (again.run.new_rows, set(again.scores.method)) == (0, {f"{base}?e_cfg=5.0&nfe=2"})


def test_what_the_device_does_not_have_is_refused_before_anything_is_made(checkpoint: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="CUDA graphs need a CUDA device, not cpu"):
        _run(tmp_path / "run", f"checkpoint:{checkpoint}?graphs=1")
    assert not (tmp_path / "run").exists()
