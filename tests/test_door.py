"""The front door: what `import floatbench` offers, what it costs, and that its examples run."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import floatbench
from floatbench.errors import UsageError
from floatbench.media import write_lossless


@pytest.fixture(scope="module")
def tiny() -> floatbench.FLOAT:
    return floatbench.FLOAT.from_pretrained("float-tiny")


def frames(seed: int, count: int = 25) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(count)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the examples: two folders of videos, a portrait and a second of sound."""
    for name in ("mine", "real"):
        (tmp_path / name).mkdir()
        write_lossless(tmp_path / name / "a.mkv", frames(0))
    Image.fromarray(np.full((128, 128, 3), 128, np.uint8)).save(tmp_path / "face.png")
    tone = (3000 * np.sin(np.arange(16_000) * 0.1)).astype("<i2")
    for name in ("speech.wav", "real/a.wav"):
        with wave.open(str(tmp_path / name), "wb") as stream:
            stream.setparams((1, 2, 16_000, 0, "NONE", ""))
            stream.writeframes(tone.tobytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", floatbench.__all__)
def test_the_example_of_every_name_runs(folder: Path, name: str):
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(floatbench, name), name)
    assert found.examples, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(found).failed == 0


def test_every_name_of_the_door_is_there_and_documented():
    for name in floatbench.__all__:
        assert (getattr(floatbench, name).__doc__ or "").strip(), name
    assert set(floatbench.__all__) <= set(dir(floatbench))
    with pytest.raises(AttributeError, match="nothing"):
        _ = floatbench.nothing


def test_importing_the_package_loads_none_of_the_heavy_libraries():
    code = "import sys, json, floatbench; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert not {"torch", "numpy", "pandas", "pydantic", "typer"} & set(loaded)
    assert [name for name in loaded if name.startswith("floatbench")] == ["floatbench"]


def test_no_module_takes_the_name_of_a_function_of_the_door():
    """Importing a module `floatbench.run` would put itself in the function's place."""
    package = Path(floatbench.__file__).parent
    taken = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert not taken & set(floatbench.__all__)


def test_a_result_shows_its_table_and_gives_data_frames(folder: Path):
    result = floatbench.score("mine", "real", metrics=["psnr-grey128"], workers=0)
    assert "PSNR" in repr(result) and result._repr_markdown_() == (result.folder / "table.md").read_text()
    assert set(result.scores.columns) >= {"method", "metric", "value", "low", "high", "n", "void"}
    frozen = result.scores.set_index("method").loc["frozen"]
    values = result.clips[(result.clips.method == "frozen") & (result.clips.name == "value")]
    assert frozen.value == pytest.approx(values.value.mean()) and frozen.value < 100
    assert result.failed.columns.tolist() == ["method", "clip", "replicate", "reason", "detail"]


def test_videos_are_measured_by_path_and_an_unreadable_one_is_named(tmp_path: Path):
    write_lossless(tmp_path / "a.mkv", frames(0))
    (tmp_path / "b.mkv").write_bytes(b"not a video")
    score = floatbench.measure("psnr-grey128", [tmp_path / "a.mkv", tmp_path / "b.mkv"], [tmp_path / "a.mkv"] * 2)
    assert score.value == 100.0 and score.n == 1
    assert list(score.failures) == ["000001"] and score.failures["000001"].startswith("unreadable")


def test_arrays_and_files_of_the_same_pixels_score_the_same(tmp_path: Path):
    write_lossless(tmp_path / "a.mkv", frames(0))
    other = np.stack(frames(1))
    by_path = floatbench.measure("psnr-grey128", [tmp_path / "a.mkv"], [other])
    assert by_path.value == floatbench.measure("psnr-grey128", [np.stack(frames(0))], [other]).value


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 32, 32, 3), np.float32), np.zeros((4, 32, 32), np.uint8), np.zeros((4, 32, 32, 4), np.uint8)],
    ids=["float pictures", "no colour", "four channels"],
)
def test_pictures_of_another_kind_are_refused(wrong: np.ndarray):
    with pytest.raises(UsageError, match="uint8"):
        floatbench.measure("psnr-grey128", [wrong], [wrong])


@pytest.mark.parametrize("what", ["picture in 0..1", "grey picture", "sound in -1..1", "stereo"])
def test_arrays_that_would_be_animated_black_or_silent_are_refused(tiny: floatbench.FLOAT, tmp_path: Path, what: str):
    picture, sound = np.full((128, 128, 3), 128, np.uint8), np.zeros(16_000, np.int16)
    given = {
        "picture in 0..1": (picture / np.float32(255), sound),
        "grey picture": (picture[..., 0], sound),
        "sound in -1..1": (picture, np.zeros(16_000, np.float32)),
        "stereo": (picture, np.stack([sound, sound])),
    }[what]
    with pytest.raises(UsageError, match="uint8 RGB" if "picture" in what else "int16 mono"):
        tiny.generate(*given, tmp_path / "out.mkv")
    assert not list(tmp_path.iterdir())


def test_a_sound_of_another_length_than_its_frames_is_refused():
    clip = (np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4 * 640 + 1, np.int16))
    with pytest.raises(UsageError, match="2560 samples"):
        floatbench.measure("psnr-grey128", [clip], [clip])


def test_a_class_where_a_metric_belongs_is_refused():
    from floatbench.metrics.fid import FID

    with pytest.raises(UsageError, match="no metric"):
        floatbench.measure(FID, [], [])  # pyright: ignore[reportArgumentType]


def test_float_sound_is_refused():
    clip = (np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4 * 640, np.float32))
    with pytest.raises(UsageError, match="int16"):
        floatbench.measure("psnr-grey128", [clip], [clip])


def test_a_text_where_a_list_belongs_is_refused(folder: Path):
    with pytest.raises(UsageError, match="list of names"):
        floatbench.run("synthetic", "float-tiny")
    with pytest.raises(UsageError, match="two folders"):
        floatbench.measure("psnr-grey128", "mine", ["real/a.mkv"])


def test_a_protocol_object_runs_and_takes_no_further_choices(folder: Path):
    loaded = floatbench.load_protocol("synthetic")
    assert isinstance(loaded, floatbench.Protocol) and isinstance(loaded.clips[0], floatbench.Clip)
    with pytest.raises(UsageError, match="load_protocol"):
        floatbench.run(loaded, size=64)
