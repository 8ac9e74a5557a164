"""`floatbench demo` as it is typed: what is installed talks, and says what it is; nothing installed is an error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench import files
from floatbench.animate import demo
from floatbench.cli.app import main
from floatbench.media import read_video, write_image, write_wav
from floatbench.model.checkpoint import Metadata, save
from floatbench.model.config import FLOAT_TINY
from floatbench.model.float import FloatModel
from floatbench.sampling import loading


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        main([str(a) for a in arguments])
    return int(done.value.code or 0)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SECONDS", 0.2)


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A very small network with random weights in the place of the bundled one."""
    torch.manual_seed(0)
    config = replace(
        FLOAT_TINY, name="float-test", image_size=64, channel_max=8, channel_base=512, dim_w=8, dim_m=4, dim_a=8,
        dim_h=16, depth=1, mel_bands=16, mel_width=16, reader=False, painter=False,
    )  # fmt: skip
    path = tmp_path / "small.safetensors"
    save(FloatModel(config), path, Metadata(config, licence="none: random weights"))
    monkeypatch.setitem(loading.BUNDLED, "float-tiny", str(path))
    return path


def test_a_given_portrait_talks_and_the_weights_are_named(bundled: Path, capsys: pytest.CaptureFixture[str]):
    write_image(Path("face.png"), np.full((64, 64, 3), 128, np.uint8))
    write_wav(Path("speech.wav"), np.random.default_rng(0).normal(0, 3000, 3 * 640).astype(np.int16))
    assert _run("demo", "--image", "face.png", "--audio", "speech.wav", "--out", "talk.mp4", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert read_video(Path("talk.mp4"))[0].shape == (3, 64, 64, 3)
    assert shown["model"] == "float-tiny" and shown["licence"] == "none: random weights"
    assert shown["weights"] == {bundled.name: files.file_sha256(bundled)}
    assert shown["crop"] == "none"
    told = " ".join(shown["notes"])
    assert "weights fetch float wav2vec2-base-960h wav2vec2-speech-emotion" in told  # what the better model needs
    assert "weights fetch s3fd-face-alignment" in told


def test_a_synthetic_person_lends_what_is_not_given(bundled: Path, capsys: pytest.CaptureFixture[str]):
    assert _run("demo") == 0
    out = capsys.readouterr().out
    assert len(read_video(Path("demo.mp4"))[0]) == 5
    assert "model: float-tiny (none: random weights)" in out
    assert f"weights: {bundled.name} {files.file_sha256(bundled)[:12]}" in out
    assert "note: float-tiny knows synthetic heads only" in out


def test_without_any_model_the_fetching_command_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(loading.BUNDLED, "float-tiny", str(tmp_path / "absent.safetensors"))
    assert _run("demo", "--quiet") == 4
    told = capsys.readouterr().err
    assert "no model is installed" in told and "floatbench weights fetch float wav2vec2-base-960h" in told
    assert not Path("demo.mp4").exists()


@pytest.mark.parametrize("name", ["image", "audio"])
def test_an_unreadable_input_is_refused_and_leaves_no_video(bundled: Path, name: str, capsys):
    Path("broken").write_bytes(b"not a picture and not a sound")
    assert _run("demo", f"--{name}", "broken") == 4
    assert "broken" in capsys.readouterr().err
    assert not Path("demo.mp4").exists()


def test_the_official_model_is_preferred_when_all_its_weights_are_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("floatbench.weights.available", lambda name: name in demo.OFFICIAL)
    assert demo.choose_model() == ("float", [])
