"""Bundled networks are opened only when they are the files that were recorded, and say how to get them back."""

from __future__ import annotations

import json

import pytest

from floatbench import assets
from floatbench.errors import DataError
from floatbench.files import file_sha256
from floatbench.metrics.tiny import load_network
from floatbench.metrics.tiny_networks import NETWORKS


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the bundled files that may be damaged."""
    for file in assets.FOLDER.iterdir():
        if file.suffix in (".safetensors", ".json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(assets, "FOLDER", tmp_path)
    return tmp_path


def test_every_network_is_bundled_recorded_and_small():
    record = assets.manifest()
    assert set(record["files"]) == set(NETWORKS)
    for name, entry in record["files"].items():
        file = assets.path(name)
        assert file_sha256(file) == entry["sha256"] and file.stat().st_size == entry["bytes"] < 3_000_000
        load_network(name)


def test_the_manifest_says_how_the_networks_were_made_and_how_good_they_are():
    record = assets.manifest()
    assert {"seed", "people", "speakers", "frame_steps"} <= set(record["config"])
    assert {"verification_auc", "yaw_error_degrees", "expression_r2", "offset_within_one_frame"} <= set(
        record["held_out"]
    )
    assert min(record["held_out"][name] for name in ("expression_r2", "expression_r2_clips")) > 0.5


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_refused_with_the_command_that_restores_it(copy, damage):
    file = copy / "tiny-sync.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "remove":
        file.unlink()
    else:
        data[-1] ^= 1
        file.write_bytes(data if damage == "flip" else data[:-100])
    with pytest.raises(DataError, match=r"tiny-sync\.safetensors") as caught:
        load_network("tiny-sync")
    assert "git checkout -- floatbench/assets/tiny-sync.safetensors" in (caught.value.fix or "")
    assert caught.value.exit_code == 4


def test_a_file_of_another_network_does_not_fit(copy):
    record = json.loads((copy / assets.MANIFEST).read_text())
    other = copy / "tiny-clips.safetensors"
    (copy / "tiny-identity.safetensors").write_bytes(other.read_bytes())
    record["files"]["tiny-identity"]["sha256"] = record["files"]["tiny-clips"]["sha256"]
    (copy / assets.MANIFEST).write_text(json.dumps(record))
    with pytest.raises(DataError, match="does not fit"):
        load_network("tiny-identity")


def test_a_damaged_manifest_is_named(copy):
    (copy / assets.MANIFEST).write_text("{")
    with pytest.raises(DataError, match=r"backbones\.json"):
        assets.path("tiny-sync")


def test_an_unknown_name_is_refused():
    with pytest.raises(DataError, match="no bundled backbone"):
        assets.sha256("huge")
