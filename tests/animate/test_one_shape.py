"""One shape in Python: generate, stream and generate_many take the same wishes and make the same frames."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import floatbench
from floatbench.animate import cropping
from floatbench.animate.pipeline import FLOAT
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.media import read_video, write_image, write_wav
from floatbench.model.checkpoint import Metadata, save
from floatbench.sampling.animator import Direction
from floatbench.sampling.control import Control
from floatbench.sampling.loading import ModelCard, Origin
from floatbench.sampling.options import SamplingOptions, preset

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
ORIGIN = Origin("float-test", {"float-test": "0" * 64})


def _speech(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, frames * 640).astype(np.int16)


@pytest.fixture
def model(network) -> FLOAT:
    return FLOAT(network, ORIGIN, device="cpu")


def test_files_go_in_and_frames_come_as_they_are_made(checkpoint: Path, tmp_path: Path):
    write_image(tmp_path / "a.png", PICTURES[0])
    write_wav(tmp_path / "b.wav", _speech(4))
    model = FLOAT.from_pretrained(checkpoint)
    given = {"nfe": 2, "a_cfg": 1.0, "emotion": "happy", "seed": 3, "control": [Control(1, 2.0)]}
    video = model.generate(str(tmp_path / "a.png"), str(tmp_path / "b.wav"), tmp_path / "o.mkv", **given)  # type: ignore[arg-type]
    frames = list(model.stream(tmp_path / "a.png", tmp_path / "b.wav", audio_context="full", **given))  # type: ignore[arg-type]
    assert np.array_equal(read_video(video.path)[0], np.stack(frames)) and len(frames) == 4


def test_a_stream_has_given_its_first_frame_before_the_later_windows_are_solved(model: FLOAT):
    stream = model.stream(PICTURES[0], _speech(60), nfe=2)
    next(iter(stream))
    assert stream.evaluations == 2  # of the four


@pytest.mark.parametrize("context", ["window", "full"])
def test_a_stream_hears_window_after_window_unless_it_is_told_to_hear_the_whole_sound(
    model: FLOAT, tmp_path: Path, context: str
):
    sound = _speech(60)
    told: Any = {} if context == "window" else {"audio_context": context}
    stream = model.stream(PICTURES[0], sound, nfe=2, seed=3, **told)
    made = model.generate(PICTURES[0], sound, tmp_path / "o.mkv", nfe=2, seed=3, audio_context=context)
    assert stream.options.audio_context == context == made.settings["options"]["audio_context"]
    assert np.array_equal(np.stack(list(stream)), read_video(made.path)[0])
    assert model.wished({}).options.audio_context == "full"


def test_the_first_frame_of_a_long_sound_waits_for_no_sound_after_its_window(model: FLOAT, monkeypatch):
    heard: list[tuple[str, int]] = []
    for name in ("encode_audio", "predict_emotion"):
        real = getattr(model.network, name)
        monkeypatch.setattr(
            model.network, name, lambda wave, *rest, n=name, r=real: heard.append((n, wave.shape[1])) or r(wave, *rest)
        )
    frames = iter(model.stream(PICTURES[0], _speech(500), nfe=2))
    next(frames)
    assert sorted(heard) == [("encode_audio", 50 * 640), ("predict_emotion", 50 * 640)]


@pytest.mark.parametrize(
    ("query", "wishes", "context"),
    [
        ("", {}, "window"),
        ("", {"preset": "default"}, "window"),
        ("", {"preset": "official"}, "full"),  # what the release computes
        ("", {"preset": "official", "audio_context": "window"}, "window"),
        ("", {"options": SamplingOptions(nfe=2)}, "full"),
        ("?nfe=2", {}, "window"),
        ("?audio_context=full", {}, "full"),
        ("?audio_context=full", {"nfe": 3}, "full"),
        ("?audio_context=full", {"audio_context": "window"}, "window"),
    ],
)
def test_what_names_presets_and_options_say_about_hearing_holds_for_streams(
    checkpoint: Path, query: str, wishes: Any, context: str
):
    model = FLOAT.from_pretrained(f"{checkpoint}{query}", device="cpu")
    assert model.stream(PICTURES[0], _speech(1), **wishes).options.audio_context == context


def test_the_name_of_a_model_chooses_what_is_not_said(checkpoint: Path):
    model = FLOAT.from_pretrained(f"{checkpoint}?nfe=3&emotion=sad&control=1:2&dtype=bfloat16", device="cpu")
    assert model.dtype == "bfloat16"
    found = model.wished({})
    assert (found.options.nfe, found.direction) == (3, Direction("sad", (Control(1, 2.0),)))
    found = model.wished({"nfe": 4, "emotion": "happy"})
    assert (found.options.nfe, found.direction.emotion, found.direction.controls) == (4, "happy", (Control(1, 2.0),))
    assert model.wished({"preset": "official"}).options == preset("official")
    assert model.wished({"options": SamplingOptions(nfe=7), "a_cfg": 1.0}).options == SamplingOptions(nfe=7, a_cfg=1.0)
    assert FLOAT.from_pretrained(f"{checkpoint}?dtype=bfloat16", dtype="float32").dtype == "float32"


def test_directions_are_called_by_name_where_the_model_names_them(network):
    model = FLOAT(network, ORIGIN, card=ModelCard(("yaw", "pitch", "roll", "jaw")))
    assert model.wished({"control": ["jaw=0.5"]}).direction.controls == (Control(3, 0.5),)
    with pytest.raises(UsageError, match="no direction 'jaws'"):
        model.wished({"control": ["jaws=0.5"]})


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"nfee": 5}, "unknown choice 'nfee'"),
        ({"nfe": 0}, "nfe: should be"),
        ({"preset": "fast"}, "unknown preset"),
        ({"direction": Direction(), "emotion": "sad"}, "emotion and direction exclude each other"),
        ({"emotion": "hapy"}, "emotion 'hapy'"),
        ({"control": [Control(4, 1.0)]}, "directions 0 to 3"),
        ({"crop": "magic"}, "unknown box back end"),
        ({"crop": 3}, "unknown box back end 3"),
        ({"solver": "dopri5", "nfe": 5}, "nfe does nothing with solver=dopri5"),
        ({"options": SamplingOptions(solver="dopri5"), "nfe": 5}, "nfe does nothing with solver=dopri5"),
        ({"rtol": 0.1}, "rtol does nothing with solver=euler"),
        ({"ddim_steps": 10}, "ddim_steps does nothing with a network that predicts velocity"),
        ({"preset": 3}, "unknown preset 3"),
        ({"preset": "official", "options": SamplingOptions()}, "preset and options exclude each other"),
        ({"options": {"nfe": 5}}, "options: should be SamplingOptions"),
        ({"direction": "sad"}, "direction: should be Direction"),
        ({"control": [("jaw", 1)]}, "control: should be DIR=VALUE or a Control"),
        ({"control": "jaw=1"}, "have no names, only numbers"),
        ({"controls": ["0=1"]}, "unknown choice 'controls'"),
        ({"project_motion": 1}, "project_motion: should be True or False"),
        ({"pose": "nowhere.npy"}, "takes no pose"),
        ({"dtype": "bfloat16"}, "dtype is chosen when the model is loaded"),
        ({"prediction": "x0"}, "prediction belongs to the checkpoint"),
        *(({"seed": seed}, "seed: should be a whole number from 0 on") for seed in (-1, 1.5, "7", None, [1], True)),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_every_entry(model: FLOAT, tmp_path: Path, wishes: Any, message: str):
    for call in (
        lambda: model.generate(PICTURES[0], _speech(1), tmp_path / "o.mkv", **wishes),
        lambda: model.stream(PICTURES[0], _speech(1), **wishes),
        lambda: model.generate_many([PICTURES[0]], [_speech(1)], [tmp_path / "o.mkv"], **wishes),
    ):
        with pytest.raises(UsageError, match=message):
            call()
    assert not list(tmp_path.iterdir())


def test_what_the_name_chooses_is_checked_together_with_the_call(checkpoint: Path):
    model = FLOAT.from_pretrained(f"{checkpoint}?nfe=3", device="cpu")
    with pytest.raises(UsageError, match="nfe does nothing with solver=dopri5"):
        model.wished({"solver": "dopri5"})
    assert model.wished({"nfe": None}).options.nfe == 3  # type: ignore[typeddict-item]


def test_the_record_names_the_preset_that_was_taken(model: FLOAT):
    wishes: dict[str, list[Any]] = {
        "default": [{}, {"nfe": 3}, {"preset": None}, {"options": SamplingOptions()}],
        "official": [{"preset": "official"}, {"options": preset("official")}],
        "": [{"options": SamplingOptions(nfe=7)}],
    }
    assert {name: {model.wished(wish).preset for wish in same} for name, same in wishes.items()} == {
        name: {name} for name in wishes
    }


@pytest.mark.parametrize(
    ("changes", "query", "error", "message"),
    [
        ({}, "control=99:1", UsageError, "control 99: this model has directions 0 to 3"),
        ({}, "ddim_steps=10", UsageError, "ddim_steps does nothing with a network that predicts velocity"),
        ({"prediction": "x0"}, "nfe=5", UsageError, "nfe does nothing with a network that predicts x0"),
        ({"emotion_condition": "none"}, "emotion=sad", UsageError, "takes no emotion"),
        ({"pose_condition": True}, "pose=nowhere.npy", DataError, "nowhere.npy does not exist"),
        ({"pose_condition": True}, "pose=WIDE", DataError, "not \\(frames, 6\\) finite numbers"),
    ],
)
def test_a_name_that_the_model_cannot_follow_is_refused_before_it_is_loaded(
    make_network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes, query: str, error, message: str
):
    network, file, wide = make_network(**changes), tmp_path / "a.safetensors", tmp_path / "wide.npy"
    save(network, file, Metadata(network.config))
    np.save(wide, np.zeros((9, 7)))
    monkeypatch.setattr("floatbench.sampling.animator.load_model", lambda *_: pytest.fail("the model was loaded"))
    with pytest.raises(error, match=message):
        FLOAT.from_pretrained(f"{file}?{query.replace('WIDE', str(wide))}", device="cpu")


def test_no_video_is_written_over_what_it_is_made_of(model: FLOAT, tmp_path: Path):
    heard = [tmp_path / "a.mkv", tmp_path / "b.mkv"]  # their content says what they are
    for file in heard:
        write_wav(file, _speech(2))
    before = [file.read_bytes() for file in heard]
    with pytest.raises(UsageError, match=r"the output .*a\.mkv is the input"):
        model.generate(PICTURES[0], str(heard[0]), tmp_path / "." / "a.mkv", nfe=2)
    with pytest.raises(UsageError, match=r"the output .*b\.mkv is the input"):
        model.generate_many(PICTURES[:2], heard, [tmp_path / "new.mkv", heard[1]], nfe=2)  # pyright: ignore[reportArgumentType]
    assert [file.read_bytes() for file in heard] == before and sorted(tmp_path.iterdir()) == heard


@pytest.mark.parametrize("context", ["full", "window"])
@pytest.mark.parametrize("batch", [8, 2])
def test_many_videos_are_those_of_single_calls(model: FLOAT, tmp_path: Path, context: str, batch: int):
    sounds, seeds = [_speech(frames, frames) for frames in (7, 103, 55)], [5, 6, 7]
    given: Any = {"nfe": 3, "emotion": "happy", "audio_context": context}
    outs = [tmp_path / f"{k}.mkv" for k in range(3)]
    many = model.generate_many(PICTURES, sounds, outs, seeds=seeds, batch=batch, **given)  # pyright: ignore[reportArgumentType]
    for picture, sound, seed, made in zip(PICTURES, sounds, seeds, many, strict=True):
        single = model.generate(picture, sound, tmp_path / "single.mkv", seed=seed, **given)
        frames, expected = read_video(made.path)[0].astype(int), read_video(single.path)[0].astype(int)
        assert frames.shape == expected.shape and np.abs(frames - expected).max() <= 1  # float32 rounding, then 8 bits
        assert (frames != expected).mean() < 1e-3
        assert (made.evaluations, made.rows, made.settings) == (single.evaluations, single.rows, single.settings)
        assert set(made.seconds) == set(single.seconds)


def test_a_clip_of_a_batch_keeps_its_own_seed(model: FLOAT, tmp_path: Path):
    outs = [tmp_path / f"{k}.mkv" for k in range(3)]
    pictures, sounds = [PICTURES[0]] * 3, [_speech(3)] * 3
    made = model.generate_many(pictures, sounds, outs, seeds=[1, 1, 2], nfe=2)
    a, b, c = (read_video(video.path)[0] for video in made)
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert [video.settings["seed"] for video in made] == [1, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"audios": []}, "1 images, 0 audios"), ({"images": "a.png"}, "images must be a list, not 'a.png'"),
     ({"outs": ["a.mkv", "./a.mkv"]}, "2 outs"), ({"seeds": [1, 2]}, "2 seeds"),
     ({"images": [PICTURES[0]] * 2, "audios": [_speech(1)] * 2, "outs": ["a.mkv", "./a.mkv"]}, "one file"),
     ({"outs": ["a.avi"]}, "must end in"), ({"seeds": []}, "0 seeds"), ({"seeds": [-1]}, "seed: should be"),
     *(({"batch": batch}, "batch: should be a whole number from 1 on") for batch in (0, -1, 1.5, "8"))],
)  # fmt: skip
def test_batches_that_do_not_fit_are_refused_before_anything_is_made(
    model: FLOAT, tmp_path, monkeypatch, change, message
):
    monkeypatch.chdir(tmp_path)
    given = {"images": [PICTURES[0]], "audios": [_speech(1)], "outs": ["a.mkv"]} | change
    with pytest.raises(UsageError, match=message):
        model.generate_many(**given)
    assert not list(tmp_path.iterdir())


def test_a_batch_that_does_not_fit_into_memory_is_halved_once_and_said(model: FLOAT, tmp_path: Path, monkeypatch):
    real, sizes = model.sampled_network, []

    def scarce(options: SamplingOptions) -> Any:
        network = real(options)

        def bound(conditions: Any) -> Any:
            sizes.append(len(conditions.wr))
            if sizes[-1] > limit * 3:  # three branches of guidance
                raise torch.OutOfMemoryError("CUDA out of memory")
            return network(conditions)

        return bound

    monkeypatch.setattr(model, "sampled_network", scarce)
    limit, outs = 2, [tmp_path / f"{k}.mkv" for k in range(4)]
    given: Any = ([PICTURES[0]] * 4, [_speech(2)] * 4, outs)
    made = model.generate_many(*given, nfe=2)
    assert sizes == [12, 6, 6] and all(
        any("2 clips are solved at once instead of 4" in n for n in v.notes) for v in made
    )
    limit = 1
    with pytest.raises(ClipError, match=r"out_of_memory: cpu has too little memory for .* 4 videos"):
        model.generate_many(*given, nfe=2)


def test_the_defaults_of_command_line_and_python_are_the_same():
    from floatbench.animate.jobs import GenerateSettings
    from floatbench.cli.ablate import AblateChoices
    from floatbench.cli.demo import demo
    from floatbench.cli.generate import GenerateChoices
    from floatbench.cli.metrics import check_command
    from floatbench.cli.run import RunChoices
    from floatbench.cli.score import score
    from floatbench.cli.speed import SpeedChoices
    from floatbench.cli.train import PhaseChoices
    from floatbench.cli.web import web
    from floatbench.engine.check import check

    functions = (
        floatbench.run,
        floatbench.score,
        floatbench.measure,
        floatbench.generate,
        FLOAT.from_pretrained,
        FLOAT,
    )
    devices = [
        inspect.signature(function).parameters["device"].default
        for function in (*functions, demo, web, check_command, score, check)
    ]
    kinds = (GenerateChoices, RunChoices, SpeedChoices, AblateChoices, PhaseChoices)
    devices += [kind.__dataclass_fields__["device"].default for kind in kinds]
    assert set(devices) == {"auto"}
    assert GenerateChoices.crop == GenerateSettings.crop == cropping.AUTO == "auto"


class TestCrop:
    """What `crop="auto"` comes to."""

    @pytest.fixture
    def detectors(self, monkeypatch: pytest.MonkeyPatch) -> set[str]:
        """The weights that are here."""
        here: set[str] = set()
        monkeypatch.setattr(cropping.weights, "available", here.__contains__)
        return here

    def test_it_is_the_first_detector_that_is_here(self, detectors: set[str]):
        picture = np.zeros((80, 90, 3), np.uint8)
        detectors.add("mediapipe-face-landmarker")
        assert cropping.settle("auto", [picture], 64).name == "mediapipe"
        detectors.add("s3fd-face-alignment")
        assert cropping.settle("auto", [picture], 64).name == "s3fd"

    def test_without_one_a_picture_of_the_networks_size_is_a_finished_crop_and_that_is_said(
        self, model: FLOAT, detectors: set[str], tmp_path: Path
    ):
        write_image(tmp_path / "a.png", PICTURES[0])
        video = model.generate(tmp_path / "a.png", _speech(1), tmp_path / "o.mkv", nfe=2)
        assert video.settings["crop"] == "none"
        assert any("floatbench weights fetch s3fd-face-alignment" in note for note in video.notes)

    def test_a_picture_that_cannot_be_read_is_not_said_to_be_a_finished_crop(self, detectors: set[str], tmp_path: Path):
        (tmp_path / "text.png").write_text("no picture")
        for name in ("absent.png", "text.png"):
            assert cropping.settle("auto", [tmp_path / name], 64) == cropping.Settled("none")

    def test_an_array_of_the_networks_size_is_a_finished_crop_and_another_one_is_not(self, detectors: set[str]):
        detectors.add("s3fd-face-alignment")
        assert cropping.settle("auto", [PICTURES[0]], 64, given=True) == cropping.Settled("none")
        assert cropping.settle("auto", [PICTURES[0]], 128, given=True).name == "s3fd"
        detectors.clear()
        with pytest.raises(UsageError, match="cropped to 128 x 128 pixels, not 64 x 64"):
            cropping.settle("auto", [PICTURES[0]], 128, given=True)

    def test_without_one_another_picture_names_the_command_that_fetches_it(self, detectors: set[str], tmp_path: Path):
        write_image(tmp_path / "wide.png", np.zeros((80, 90, 3), np.uint8))
        with pytest.raises(DataError, match="90 x 80") as caught:
            cropping.settle("auto", [tmp_path / "wide.png"], 64)
        assert (caught.value.fix or "").startswith("floatbench weights fetch s3fd-face-alignment")

    def test_a_missing_detector_is_noticed_before_the_model_is_loaded(
        self, detectors: set[str], tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
    ):
        from floatbench.animate.jobs import GenerateSettings, VideoJob, run
        from floatbench.progress import NullProgress

        write_image(tmp_path / "wide.png", np.zeros((80, 90, 3), np.uint8))
        write_wav(tmp_path / "b.wav", _speech(1))
        monkeypatch.setattr(FLOAT, "from_pretrained", lambda *_, **__: pytest.fail("the model was loaded"))
        job = VideoJob(tmp_path / "wide.png", tmp_path / "b.wav", tmp_path / "o.mkv")
        for crop in ("auto", "s3fd", "mediapipe"):
            with pytest.raises(DataError):
                run(GenerateSettings(weights=str(checkpoint), crop=crop), [job], NullProgress())
            with pytest.raises(DataError):
                floatbench.generate(job.image, job.audio, job.out, weights=checkpoint, crop=crop)
            with pytest.raises((DataError, UsageError), match=r"s3fd|mediapipe|cropped to 64 x 64"):
                floatbench.generate(np.zeros((80, 90, 3), np.uint8), job.audio, job.out, weights=checkpoint, crop=crop)
        with pytest.raises(UsageError, match="unknown choice 'nfee'"):
            floatbench.generate(job.image, job.audio, job.out, weights=checkpoint, nfee=3)
        for out, message in ((job.audio, "is the input"), ("o.avi", "must end in")):
            with pytest.raises(UsageError, match=message):
                floatbench.generate(job.image, job.audio, out, weights=checkpoint)

    def test_none_takes_the_picture_as_it_is(self, model: FLOAT, tmp_path: Path):
        for crop in (None, "none"):
            video = model.generate(np.zeros((80, 90, 3), np.uint8), _speech(1), tmp_path / "o.mkv", crop=crop, nfe=2)
            assert video.settings["crop"] == "none"


def test_the_official_preset_enlarges_what_the_release_enlarges(model: FLOAT, tmp_path: Path):
    small = PICTURES[0][:20, :20]
    with pytest.raises(ClipError, match="too_small"):
        model.generate(small, _speech(1), tmp_path / "o.mkv", crop=None, nfe=2)
    video = model.generate(small, _speech(1), tmp_path / "o.mkv", crop=None, preset="official", nfe=2)
    assert any("20x20 and was enlarged to 64" in note for note in video.notes)


def test_a_model_that_chooses_its_own_evaluations_is_asked_for_them(network, tmp_path: Path):
    file = tmp_path / "patient.safetensors"
    save(network, file, Metadata(network.config, notes='{"sampling": {"nfe": 3}}'))
    model = FLOAT.from_pretrained(file, device="cpu")

    def evaluations(**wishes: Any) -> int:
        return model.generate(PICTURES[0], _speech(1), tmp_path / "o.mkv", crop=None, **wishes).evaluations

    assert evaluations() == evaluations(preset="default") == 3
    assert (evaluations(nfe=2), evaluations(preset="paper"), evaluations(preset="official")) == (2, 10, 9)
    for same in (model, FLOAT(network, ORIGIN, device="cpu", card=model.card)):
        assert same.play(PICTURES[0], _speech(1)).options.nfe == 3
        assert same.choices.options.nfe == 3


def test_poses_of_a_file_are_standardised_as_in_training(make_network, tmp_path: Path):
    network, file = make_network(pose_condition=True), tmp_path / "posed.safetensors"
    notes = '{"pose": {"mean": [1, 1, 1, 1, 1, 1], "std": [2, 2, 2, 2, 2, 2]}}'
    save(network, file, Metadata(network.config, notes=notes))
    pose = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    np.save(tmp_path / "pose.npy", pose)
    named = FLOAT.from_pretrained(f"{file}?nfe=2&pose={tmp_path / 'pose.npy'}", device="cpu")
    direct = FLOAT.from_pretrained(f"{file}?nfe=2", device="cpu")
    frames = np.stack(list(named.stream(PICTURES[0], _speech(4))))
    for same in ((pose[:4] - 1) / 2, str(tmp_path / "pose.npy"), tmp_path / "pose.npy"):
        assert np.array_equal(frames, np.stack(list(direct.stream(PICTURES[0], _speech(4), pose=same))))
    with pytest.raises(DataError, match=r"pose\.npy has 9 poses for 12 frames"):
        direct.stream(PICTURES[0], _speech(12), pose=tmp_path / "pose.npy")
    with pytest.raises(UsageError, match="needs the head pose of each frame: --pose FILE"):
        direct.stream(PICTURES[0], _speech(12))


def test_the_function_that_loads_the_model_takes_its_arithmetic_too(checkpoint: Path, tmp_path: Path):
    given: Any = {"weights": checkpoint, "device": "cpu", "crop": None, "nfe": 2}
    video = floatbench.generate(PICTURES[0], _speech(1), tmp_path / "o.mkv", dtype="bfloat16", **given)
    assert (video.settings["dtype"], video.settings["options"]["nfe"]) == ("bfloat16", 2)
    with pytest.raises(UsageError, match="impl must be one of"):
        floatbench.generate(PICTURES[0], _speech(1), tmp_path / "o.mkv", impl="quick", **given)


def test_python_calls_a_choice_of_a_video_as_the_list_does():
    from floatbench.animate.wishes import Wishes
    from floatbench.sampling.choices import ARITHMETIC, LIST

    assert set(LIST) - set(ARITHMETIC) == set(Wishes.__annotations__) - {
        "crop", "seed", "preset", "options", "direction"
    }  # fmt: skip
