"""What `floatbench run` refuses on the synthetic protocol, as it is typed: nothing is rendered, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from floatbench import assets
from floatbench.cli.app import main


def _run(capsys: pytest.CaptureFixture[str], out: Path, *more: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as done:
        main(["run", "--protocol", "synthetic", "--limit", "1", "--workers", "0", "--out", str(out), "-q", *more])
    return int(done.value.code or 0), capsys.readouterr().err


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled files of which one has another last byte."""
    folder = tmp_path / "assets"
    folder.mkdir()
    for file in assets.FOLDER.iterdir():
        if file.suffix in (".safetensors", ".json"):
            (folder / file.name).write_bytes(file.read_bytes())
    file = folder / "tiny-identity.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    monkeypatch.setattr(assets, "FOLDER", folder)
    return file


def test_a_damaged_bundled_network_is_named_with_the_command_that_restores_it(tmp_path, damaged, capsys):
    code, told = _run(capsys, tmp_path / "run", "--methods", "reference", "--metrics", "csim-tiny")
    assert code == 4
    assert "tiny-identity.safetensors is damaged" in told
    assert "git checkout -- floatbench/assets/tiny-identity.safetensors" in told


@pytest.mark.parametrize("metrics", ["fid-tiny,fid", "csim-source,csim-tiny"])
def test_official_and_offline_variants_never_share_a_column_whatever_is_installed(tmp_path, metrics, capsys):
    code, told = _run(capsys, tmp_path / "run", "--methods", "reference", "--metrics", metrics)
    assert code == 2
    assert "would share the column" in told and "never mixed" in told
    assert not (tmp_path / "run" / "rows.parquet").exists()
