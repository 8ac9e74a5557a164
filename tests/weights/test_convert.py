"""Checkpoints from one form to the other, with small networks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from floatbench import weights
from floatbench.errors import DataError, UsageError
from floatbench.files import file_sha256
from floatbench.model import checkpoint
from floatbench.model.config import config
from floatbench.model.float import FloatModel
from floatbench.weights import key_lists
from floatbench.weights.convert import convert

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A seeded model of the small configuration, as `floatbench train` would leave it."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    checkpoint.save(
        FloatModel(config("float-tiny-64")),
        path,
        checkpoint.Metadata(config("float-tiny-64"), licence="Apache-2.0", notes="made for a test"),
    )
    return path


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return checkpoint.read_tensors(path)


def test_safetensors_keeps_every_entry_and_says_what_it_is(tiny, tmp_path):
    target = tmp_path / "out.safetensors"
    metadata = convert(str(tiny), target)
    before, after = tensors(tiny), tensors(target)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert metadata["licence"] == "Apache-2.0" and metadata["source_sha256"] == file_sha256(tiny)
    with safe_open(target, framework="pt") as stream:
        assert json.loads(stream.metadata()["config"])["name"] == "float-tiny-64"


def test_pth_holds_a_flat_state_dict_with_or_without_the_speech_networks(tiny, tmp_path):
    convert(str(tiny), tmp_path / "a.pth")
    convert(str(tiny), tmp_path / "b.pth", with_speech=True)
    before, bare, whole = tensors(tiny), tensors(tmp_path / "a.pth"), tensors(tmp_path / "b.pth")
    speech = {key for key in before if key.startswith((checkpoint.AUDIO_PREFIX, checkpoint.EMOTION_PREFIX))}
    assert bare.keys() == before.keys() - speech and whole.keys() == before.keys()
    assert all(torch.equal(before[key], whole[key]) for key in before)


def test_nothing_is_replaced_unasked(tiny, tmp_path):
    target = tmp_path / "out.safetensors"
    target.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        convert(str(tiny), target)
    assert target.read_text() == "mine"
    convert(str(tiny), target, force=True)
    with pytest.raises(UsageError, match="its own source"):
        convert(str(target), target, force=True)


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [("out.ckpt", {}, "suffix"), ("out.safetensors", {"with_speech": True}, "--with-speech")],
)
def test_wrong_calls_are_refused_before_anything_is_read(tmp_path, target, options, words):
    with pytest.raises(UsageError, match=words):
        convert("absent.pth", tmp_path / target, **options)


def test_official_weights_that_are_missing_name_their_command(tmp_path):
    with pytest.raises(DataError) as error:
        convert("float", tmp_path / "out.safetensors")
    assert error.value.fix == "floatbench weights fetch float --accept-license"


def test_fabricated_weights_are_not_laundered_into_a_plain_file(tmp_path, monkeypatch):
    def small(path: Path, seed: int) -> None:
        (path / "made.bin" if path.is_dir() else path).write_bytes(b"random")

    monkeypatch.setattr(key_lists, "conform", lambda name, path: None)  # real ones are gigabytes
    monkeypatch.setattr(checkpoint, "fabricate", small)
    monkeypatch.setattr(checkpoint, "fabricate_speech", small)
    monkeypatch.setattr(checkpoint, "fabricate_emotion", small)
    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    for name in ("float", "wav2vec2-base-960h", "wav2vec2-speech-emotion"):
        weights.fabricate(name)
    with pytest.raises(UsageError, match="fabricated"):
        convert("float", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_command_as_typed(tiny, tmp_path):
    target = tmp_path / "out.safetensors"
    command = [sys.executable, "-m", "floatbench", "weights", "convert"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tiny), str(target), "--json"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0 and json.loads(done.stdout)["config"]["name"] == "float-tiny-64"


def test_damaged_checkpoint_leaves_no_file(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"broken\.pth"):
        convert(str(tmp_path / "broken.pth"), tmp_path / "x.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pth"]
