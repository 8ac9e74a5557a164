"""The choices of `floatbench generate`: the release's spellings, choices in the name, named directions, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from generating import generate, left, run

from floatbench.cli.generate import GenerateChoices
from floatbench.errors import UsageError
from floatbench.media import read_video, write_image

pytestmark = pytest.mark.usefixtures("inputs")


def _settings(capsys: pytest.CaptureFixture) -> dict:
    return json.loads(capsys.readouterr().out)["settings"]


def test_the_spellings_of_the_release_are_understood_and_not_shown(weights: Path, capsys: pytest.CaptureFixture):
    code = run(
        "generate", "--ref_path", "in/face.png", "--aud_path", "in/speech.wav", "--res_video_path", "out.mkv",
        f"--ckpt_path={weights}", "--emo", "happy", "--a_cfg_scale", "3", "--e_cfg_scale", "4", "--r_cfg_scale", "1",
        "--nfe", "2", "--seed", "15", "--no_crop", "--json", "--quiet",
    )  # fmt: skip
    found = _settings(capsys)
    assert code == 0 and left() == ["out.mkv"]
    assert (found["seed"], found["crop"], found["direction"]["emotion"]) == (15, "none", "happy")
    assert [found["options"][name] for name in ("a_cfg", "e_cfg", "r_cfg", "nfe")] == [3, 4, 1, 2]
    assert run("generate", "--help") == 0
    assert "ref_path" not in capsys.readouterr().out


def test_the_release_calls_the_emotion_of_the_speech_s2e(weights: Path, capsys: pytest.CaptureFixture):
    for emotion in ("S2E", "speech"):
        assert generate(weights, "-o", f"{emotion}.mkv", "--emo", emotion) == 0
    assert np.array_equal(*(read_video(Path(f"{emotion}.mkv"))[0] for emotion in ("S2E", "speech")))


def test_the_name_of_the_model_carries_choices_and_options_win(weights: Path, capsys: pytest.CaptureFixture):
    assert generate(f"{weights}?emotion=sad&nfe=3&pixels=truncate", "-o", "out.mkv", "--json") == 0
    found = _settings(capsys)
    assert (found["direction"]["emotion"], found["options"]["nfe"]) == ("sad", 2)  # --nfe 2 is given
    assert found["options"]["pixels"] == "truncate"


def test_an_option_switches_off_what_the_name_switched_on(weights: Path, capsys: pytest.CaptureFixture):
    name = f"{weights}?graphs=true&project_motion=true&reference_branch=true"
    switched = ("--no-graphs", "--no-project-motion", "--no-reference-branch")
    assert generate(name, "-o", "out.mkv", *switched, "--json") == 0
    found = _settings(capsys)
    assert (found["direction"]["project_motion"], found["options"]["reference_branch"]) == (False, False)
    assert "graphs" not in found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jobs", "in/jobs.csv", "--image", "in/face.png"), "--jobs and --image exclude each other"),
        (("--jobs", "in/jobs.csv", "-a", "in/speech.wav"), "--jobs and --audio exclude each other"),
        (("--jobs", "in/jobs.csv", "-o", "out.mp4"), "--jobs and --out exclude each other"),
        (("--crop", "s3fd"), "--no-crop and --crop s3fd exclude each other"),
        (("--boxes", "in/none.csv"), "in/none.csv are read with --crop given alone"),
        (("--ddim-steps", "10"), "ddim_steps does nothing with a network that predicts velocity"),
    ],
)
def test_options_that_would_not_be_read_are_refused(weights: Path, capsys, arguments: tuple, message: str):
    Path("in/jobs.csv").write_text("image,audio,out\nface.png,speech.wav,../a.mkv\n")
    assert generate(weights, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split()) and left() == []


@pytest.mark.parametrize("name", ["", "?nfe=5", "checkpoint:"])
def test_weights_without_a_name_are_told(name: str, capsys: pytest.CaptureFixture):
    assert generate(name) == 2
    assert "names no model" in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "compiled"), [((), False), (("--compile", "false"), False)])
def test_compilation_is_chosen_as_in_a_name(weights: Path, capsys: pytest.CaptureFixture, typed: tuple, compiled: bool):
    assert generate(weights, "-o", "out.mkv", *typed, "--json") == 0
    assert _settings(capsys)["compiled"] is compiled


@pytest.mark.parametrize(
    ("typed", "value"),
    [(("--compile",), "true"), (("--compile", "--nfe", "2"), "true"), (("--compile", "max"), "max"), ((), None)],
)
def test_compile_without_a_value_is_the_usual_compilation(typed: tuple, value: str | None, monkeypatch):
    seen = []

    def noted(choices: GenerateChoices) -> None:
        seen.append(choices.compile_)
        raise UsageError("enough is known")

    monkeypatch.setattr("floatbench.cli.generate._settings", noted)
    assert run("generate", "-i", "in/face.png", "-a", "in/speech.wav", *typed) == 2
    assert seen == [value]


def test_directions_are_listed_with_the_names_of_the_model_card(weights: Path, capsys: pytest.CaptureFixture):
    assert run("generate", "--weights", "float-tiny", "--list-controls") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20 and lines[0].split() == ["0", "yaw"] and lines[6].split() == ["6", "jaw"]
    assert run("generate", "--weights", weights, "--list-controls", "--json") == 0
    directions = json.loads(capsys.readouterr().out)["directions"]
    assert directions == [{"direction": number, "name": None} for number in range(4)]
    assert run("generate", "--weights", "float", "--list-controls") == 0
    assert "directions 0 to 19, without names" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--control", "yaw=1"), "no names, only numbers"),
        (("--graphs",), "CUDA graphs need a CUDA device"),
        (("--impl", "plain", "--compile"), "the plain arithmetic is float32"),
        (("--pose", "in/face.png"), "takes no pose"),
        (("--compile", "min"), "compile: should be true, false or max"),
        (("--emotion", "hapy"), "did you mean happy?"),
        (("--rtol", "0.1"), "rtol does nothing with solver=euler"),
        (("--ode-grid", "grid"), "ode_grid: should be 'steps' or 'official'"),
    ],
)
def test_choices_that_cannot_be_are_refused_before_the_model_is_loaded(
    weights: Path, capsys, monkeypatch: pytest.MonkeyPatch, arguments: tuple, message: str
):
    monkeypatch.setattr("floatbench.sampling.animator.load_model", lambda *_: pytest.fail("the model was loaded"))
    assert generate(weights, *arguments, "--device", "cpu") == 2
    assert message in " ".join(capsys.readouterr().err.split()) and left() == []


def test_an_unknown_model_is_told_before_what_else_is_missing(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("floatbench.animate.cropping.installed", lambda: None)
    write_image(Path("in/wide.png"), np.zeros((80, 90, 3), np.uint8))
    call = ("generate", "--image", "in/wide.png", "--audio", "in/speech.wav")
    assert run(*call, "--weights", "float-tinny") == 4
    error = capsys.readouterr().err
    assert "float-tinny is neither one of float, float-tiny" in error and "did you mean float-tiny" in error
    assert run(*call, "--weights", "float") == 4
    error = " ".join(capsys.readouterr().err.split())
    assert "90 x 80 pixels" in error and "nor are the weights float, wav2vec2-base-960h" in error
    assert "floatbench weights fetch s3fd-face-alignment" in error and "fetch float wav2vec2" in error


def test_too_little_memory_is_one_line_of_the_environment(weights: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    def scarce(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")

    monkeypatch.setattr("floatbench.model.fast_decoder.FastDecoder._pictures", scarce)
    assert generate(weights, "-o", "out.mp4") == 3
    error = capsys.readouterr().err
    assert "out_of_memory: cpu has too little memory for this video" in error and "--audio-context window" in error
    assert "Traceback" not in error and left() == []


SCARCE = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory\nSee documentation"))


@pytest.mark.parametrize("error", SCARCE)
@pytest.mark.parametrize(
    "where",
    ["sampling.animator.load_model", "model.float.FloatModel.to", "sampling.animator.FastDecoder.__init__",
     "sampling.animator.FastTransformer.__init__", "model.float.FloatModel.encode_image",
     "model.float.FloatModel.encode_audio"],
)  # fmt: skip
def test_too_little_memory_is_one_line_wherever_it_ran_out(
    weights: Path, capsys, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
):
    def scarce(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"floatbench.{where}", scarce)
    assert generate(weights, "-o", "out.mp4") == 3
    what, fix = capsys.readouterr().err.strip().splitlines()
    assert "has too little memory for" in what and fix.startswith("fix: ") and left() == []
