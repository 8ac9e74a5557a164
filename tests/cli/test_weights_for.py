"""`floatbench weights fetch --for`: all that a purpose needs, listed first, with one acceptance."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from floatbench import weights
from floatbench.cli.weights import group
from floatbench.engine import needs
from floatbench.errors import UsageError
from floatbench.weights import fetch, lockfile, store
from floatbench.weights.table import ENTRIES, WeightEntry, WeightFile


@pytest.mark.parametrize(
    ("what", "some"),
    [
        ("hdtf", {"inception-fid", "i3d-400", "arcface-w600k-r50", "syncnet-v2", "s3fd-sfd-face"}),
        ("ravdess", {"inception-fid", "i3d-400", "syncnet-v2"}),
        ("lse-direct-d", {"syncnet-v2", "s3fd-sfd-face"}),
        ("float", {"float", "wav2vec2-base-960h", "wav2vec2-speech-emotion"}),
        ("float?nfe=5&emotion=image", {"float", "hsemotion"}),
        ("generate", {"float", "wav2vec2-base-960h", "wav2vec2-speech-emotion", "s3fd-face-alignment"}),
        ("demo", {"float"}),
        ("train", {"vgg19", "wav2vec2-base-960h", "wav2vec2-speech-emotion", "mediapipe-face-landmarker"}),
        ("train", {"s3fd-face-alignment"}),  # its data are prepared by it
    ],
)
def test_a_purpose_names_what_it_opens(what, some):
    found = needs.needed(what)
    assert some <= set(found) <= set(weights.names())
    assert list(found) == [name for name in weights.names() if name in found]


def test_the_list_names_training_at_all_that_it_opens():
    result = CliRunner().invoke(group, ["list", "--used-by", "train", "--json"])
    assert result.exit_code == 0, result.output
    assert {row["name"] for row in json.loads(result.output)} == set(needs.COMMANDS["train"])


def test_the_offline_protocol_needs_nothing():
    assert needs.needed("synthetic") == ()


def test_other_names_say_what_to_do():
    with pytest.raises(UsageError, match="brings its own weights") as error:
        needs.needed("sadtalker")
    assert error.value.fix == "floatbench baseline install sadtalker"
    with pytest.raises(UsageError) as error:
        needs.needed("hdtff")
    assert "hdtf" in (error.value.fix or "")


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real table with small files behind it, on a mirror of this disk."""
    rows = []
    for entry in ENTRIES:
        files = []
        for file in entry.files:
            content = f"{entry.name} {file.path}".encode()
            place = tmp_path / "pool" / entry.name / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            files.append(WeightFile(file.path, file.urls, hashlib.sha256(content).hexdigest(), len(content)))
        named = ("name", "title", "licence", "commercial", "used_by", "format")
        rows.append(WeightEntry(**{key: getattr(entry, key) for key in named}, files=tuple(files)))
    monkeypatch.setattr(store, "ENTRIES", tuple(rows))
    monkeypatch.setenv("FLOATBENCH_MIRROR", (tmp_path / "pool").as_uri())
    return tmp_path / "pool"


def call(*arguments: str):
    return CliRunner().invoke(group, ["fetch", *arguments])


def test_nothing_is_fetched_before_the_licences_are_accepted_all_at_once(pool):
    answer = call("--for", "float", "--for", "generate")
    assert isinstance(answer.exception, UsageError) or answer.exit_code == 2
    assert not any(weights.available(name) for name in weights.names())
    answer = call("--for", "float", "--for", "generate", "--accept-license", "--json")
    assert answer.exit_code == 0, answer.output
    got = [row["name"] for row in json.loads(answer.stdout)]
    assert got == list(needs.needed("generate")) and all(weights.available(name) for name in got)
    accepted = lockfile.read().licences_accepted
    assert set(accepted) == {name for name in got if not weights.entry(name).commercial}


def test_the_table_comes_first_with_sizes_and_licences(pool):
    answer = call("--for", "hdtf", "--accept-license")
    assert answer.exit_code == 0, answer.output
    for name in needs.needed("hdtf"):
        assert name in answer.stderr
    assert "together" in answer.stderr and "to download" in answer.stderr
    assert "non-commercial research only" in answer.stderr
    again = fetch.preview(needs.needed("hdtf"))
    assert all(row.here and not row.licence_open for row in again)


def test_the_refusal_names_the_whole_command(pool, monkeypatch):
    from floatbench.cli import weights as command
    from floatbench.cli.output import Output

    rows = [row for row in fetch.preview(needs.needed("hdtf")) if row.licence_open]
    with pytest.raises(UsageError) as error:
        command._settle_licences(rows, False, Output(json=True, quiet=True), "--for hdtf")
    assert error.value.fix == "floatbench weights fetch --for hdtf --accept-license"
    assert all(row.name in error.value.what for row in rows) and len(rows) > 2
