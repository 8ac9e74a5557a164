"""FLOAT in the engine: lossless frames of the right length, seeds from the request, an honest description."""

from pathlib import Path

import numpy as np
import pytest

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.media import read_video
from floatbench.methods.catalogue import create
from floatbench.methods.float_method import METHODS, FloatMethod
from floatbench.methods.method import ClipRequest

PICTURE = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)


def _request(folder: Path, n_frames: int = 4, seed: int = 1, sound: bool = True) -> ClipRequest:
    pcm = np.random.default_rng(1).normal(0, 3000, n_frames * 640).astype(np.int16) if sound else None
    return ClipRequest("a clip", "a_clip-1", PICTURE, pcm, n_frames, seed, folder)


@pytest.fixture
def method(checkpoint: Path) -> FloatMethod:
    made = FloatMethod(weights=str(checkpoint), name="float-test", nfe=2)
    made.load()
    return made


def test_a_clip_becomes_a_lossless_file_of_the_asked_length(method: FloatMethod, tmp_path: Path):
    generated = method.generate(_request(tmp_path))
    assert generated.video == tmp_path / "a_clip-1.mkv"
    frames, fps = read_video(generated.video)
    assert frames.shape == (4, 64, 64, 3) and fps == 25
    assert set(generated.timing) == {"speech", "emotion", "encode", "solve", "decode", "convert", "mux"}
    assert (generated.details["nfe"], generated.details["network_rows"]) == (2, 6)
    assert np.array_equal(np.stack(list(method.stream(_request(tmp_path)))), frames)


def test_the_seed_of_the_request_decides(method: FloatMethod, tmp_path: Path):
    frames = [np.stack(list(method.stream(_request(tmp_path, seed=seed)))) for seed in (1, 1, 2)]
    assert np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[0], frames[2])


def test_a_clip_without_sound_fails_with_its_reason(method: FloatMethod, tmp_path: Path):
    with pytest.raises(ClipError, match="no_audio"):
        method.generate(_request(tmp_path, sound=False))


def test_the_description_names_weights_options_and_preset(checkpoint: Path):
    record = FloatMethod(weights=str(checkpoint), preset="official").describe()
    assert list(record["weights"]) == [checkpoint.name] and len(record["weights"][checkpoint.name]) == 64
    assert record["options"]["ode_grid"] == "official" and record["preset"] == "official"
    assert record["fabricated"] is False


@pytest.mark.parametrize(("name", "evaluations"), [("float", 10), ("float@official", 9), ("float-tiny@paper", 10)])
def test_presets_have_rows_of_their_own(name: str, evaluations: int):
    method = create(name)
    assert isinstance(method, FloatMethod) and method.name == name
    assert method._options.evaluations() == evaluations


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(UsageError, match="unknown preset 'fast'"):
        create("float@fast")


def test_missing_weights_name_the_command_and_the_licence():
    with pytest.raises(DataError, match="CC BY-NC") as caught:
        METHODS["float"]().load()
    assert caught.value.fix == "floatbench weights fetch float --accept-license"
    assert "disagree" in caught.value.what


def test_wrong_settings_fail_before_anything_is_loaded():
    with pytest.raises(UsageError):
        FloatMethod(nfe=0)
    with pytest.raises(UsageError):
        FloatMethod(emotion="joyful")


def test_a_name_carries_every_choice(checkpoint: Path):
    name = f"checkpoint:{checkpoint}?nfe=4&reference_branch=true&emotion=happy&dtype=bfloat16&compile=false"
    record = create(name).describe()
    assert (record["options"]["nfe"], record["options"]["reference_branch"]) == (4, True)
    assert (record["emotion"], record["dtype"], record["compiled"]) == ("happy", "bfloat16", False)
    official = create("float@official?nfe=5")
    assert isinstance(official, FloatMethod) and official._options.evaluations() == 4


@pytest.mark.parametrize(
    ("choice", "message"),
    [("nfe=many", "nfe: should be a valid integer"), ("dtype=int8", "dtype: should be"), ("speed=2", "unknown option")],
)
def test_a_choice_that_cannot_be_is_refused_with_the_methods_name(choice: str, message: str):
    with pytest.raises(UsageError, match=rf"float\?{choice}: .*{message}"):
        create(f"float?{choice}")
