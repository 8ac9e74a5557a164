"""A run folder notices that the weights behind a FLOAT method changed, and hashes each file once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from floatbench import weights
from floatbench.cli.app import main
from floatbench.files import file_sha256
from floatbench.media import write_lossless, write_wav
from floatbench.methods.catalogue import create
from floatbench.methods.float_method import FloatMethod
from floatbench.model.checkpoint import Metadata, save
from floatbench.model.float import FloatModel
from floatbench.sampling import loading
from floatbench.weights import lockfile
from floatbench.weights.table import WeightEntry, WeightFile

Row = dict[str, Any]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        path = tmp_path / "videos" / f"{name}.mkv"
        path.parent.mkdir(exist_ok=True)
        write_lossless(path, rng.integers(0, 256, (26, 64, 64, 3), dtype=np.uint8))
        write_wav(path.with_suffix(".wav"), rng.normal(0, 3000, 26 * 640).astype(np.int16))
    return path.parent


@pytest.fixture(params=["checkpoint", "float-tiny"])
def named(request: pytest.FixtureRequest, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A method whose weights are the file of the fixture `checkpoint`."""
    if request.param == "checkpoint":
        return f"checkpoint:{checkpoint}?nfe=1"
    monkeypatch.setitem(loading.BUNDLED, "float-tiny", str(checkpoint))
    return "float-tiny?nfe=1"


@pytest.fixture
def replace_weights(checkpoint: Path, make_network: Callable[..., FloatModel]) -> Callable[[], None]:
    """Puts another network into the file of the fixture `checkpoint`."""

    def replace() -> None:
        network = make_network()
        with torch.no_grad():
            for value in network.motion_autoencoder.dec.parameters():
                value.mul_(0.5)
        save(network, checkpoint, Metadata(network.config, licence="none: random weights"))

    return replace


def run(videos: Path, out: Path, method: str) -> list[Row]:
    """Types the command; returns every row that was ever written, in order."""
    fixed = ["--boxes", "none", "--size", "64", "--metrics", "psnr-grey128", "--no-controls", "--workers", "0",
             "--device", "cpu", "--quiet"]  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main(["run", "--protocol", f"folder:{videos}", "--methods", method, "--out", str(out), *fixed])
    assert not stopped.value.code
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


def values(out: Path) -> list[object]:
    return [cell["value"] for cell in json.loads((out / "scores.json").read_text())["scores"]]


def test_rows_of_other_weights_are_made_anew_and_of_the_same_weights_kept(videos, tmp_path, named, replace_weights):
    out = tmp_path / "run"
    first = run(videos, out, named)
    assert len(first) == 2 and run(videos, out, named) == first
    old = values(out)
    replace_weights()
    second = run(videos, out, named)[2:]
    assert [row["clip"] for row in second] == [row["clip"] for row in first]
    for before, after in zip(first, second, strict=True):
        assert before["method_key"] != after["method_key"]
        assert before["pixels_sha256"] != after["pixels_sha256"]
        assert before["features"]["generated"] != after["features"]["generated"]
    fresh = run(videos, tmp_path / "fresh", named)
    assert [row["features"] for row in second] == [row["features"] for row in fresh]
    assert values(out) == values(tmp_path / "fresh") != old


def test_a_killed_run_does_not_go_on_with_other_weights(videos, tmp_path, named, replace_weights):
    out = tmp_path / "run"
    first = run(videos, out, named)
    lines = (out / "rows.jsonl").read_text().splitlines(keepends=True)
    (out / "rows.jsonl").write_text(lines[0])
    replace_weights()
    added = run(videos, out, named)[1:]
    assert {row["clip"] for row in added} == {row["clip"] for row in first}
    assert len({row["method_key"] for row in added}) == 1


@pytest.mark.parametrize(
    "changed", [{"nfe": 2}, {"a_cfg": 1.0}, {"preset": "official"}, {"emotion": "happy"}, {"dtype": "bfloat16"},
                {"impl": "plain"}, {"compile": True}],
)  # fmt: skip
def test_every_setting_that_moves_a_pixel_has_a_key_of_its_own(checkpoint, changed):
    assert FloatMethod(str(checkpoint), **changed).key() != FloatMethod(str(checkpoint)).key()


def test_the_same_content_in_another_place_has_the_same_key(checkpoint, tmp_path):
    moved = tmp_path / "elsewhere" / "other-name.safetensors"
    moved.parent.mkdir()
    moved.write_bytes(checkpoint.read_bytes())
    assert FloatMethod(str(moved)).key() == FloatMethod(str(checkpoint)).key()


def test_a_run_reads_a_checkpoint_once_to_hash_it(videos, tmp_path, checkpoint, monkeypatch):
    hashed: list[Path] = []

    def noting(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(lockfile, "file_sha256", noting)
    run(videos, tmp_path / "run", f"checkpoint:{checkpoint}?nfe=1")
    assert hashed == [checkpoint]


def test_each_file_of_the_official_model_decides_its_key(monkeypatch, tmp_path):
    files = (WeightFile("weights.dat", ("http://localhost/weights.dat",)),)
    names = ("float", *weights.SPEECH)
    entries = tuple(WeightEntry(name, name, files, "MIT", True, ("float",), "pickle") for name in names)
    monkeypatch.setattr(weights.store, "ENTRIES", entries)
    keys = []
    for content, name in enumerate((*names, *names)):
        torch.save({"number": torch.tensor(content)}, tmp_path / "file")
        weights.import_file(name, tmp_path / "file")
        if content >= len(names) - 1:
            keys.append(create("float").key())
            assert create("float").key() == keys[-1]
    assert len(set(keys)) == 4
