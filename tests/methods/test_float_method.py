"""FLOAT in the engine: lossless frames of the right length, seeds from the request, an honest description."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from floatbench.errors import ClipError, DataError, UsageError
from floatbench.media import read_video
from floatbench.methods.catalogue import create, parse_methods, resolve
from floatbench.methods.evaluations import evaluations_a_window
from floatbench.methods.float_method import METHODS, FloatMethod
from floatbench.methods.method import ClipRequest
from floatbench.model.checkpoint import Metadata, save
from floatbench.sampling import together
from floatbench.speed.measure import Batches, ForwardPass

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
    frames, fps = read_video(tmp_path / "a_clip-1.mkv")
    assert frames.shape == (4, 64, 64, 3) and fps == 25
    assert set(generated.timing) == {"speech", "emotion", "encode", "solve", "decode", "convert", "mux"}
    assert [generated.details[name] for name in ("nfe", "windows", "network_rows")] == [2, 1, 6]


def test_a_stream_gives_the_video_of_the_method_that_it_is_timed_as(checkpoint: Path, tmp_path: Path):
    request = _request(tmp_path, n_frames=60)
    frames = {}
    for query in ("?nfe=2", "?nfe=2&audio_context=full"):
        method = create(f"checkpoint:{checkpoint}{query}")
        assert isinstance(method, FloatMethod)
        method.load()
        frames[query] = np.stack(list(method.stream(request)))
        timed = method.streaming()
        timed.load()
        assert np.array_equal(read_video(timed.generate(request).video or Path())[0], frames[query])
    assert timed is method and not np.array_equal(*frames.values())


def test_a_stream_is_timed_under_the_name_of_what_was_heard(checkpoint: Path):
    for name, timed in [
        ("float?nfe=5", "float?nfe=5&audio_context=window"),
        ("float?audio_context=full", "float?audio_context=full"),
        ("float@official", "float@official"),
        ("float@paper", "float@paper"),
    ]:
        method = create(name)
        assert isinstance(method, FloatMethod) and method.streaming().name == timed
    method = create(f"checkpoint:{checkpoint}?emotion=happy")
    assert isinstance(method, FloatMethod)
    streaming = method.streaming()
    assert streaming.describe() == create(streaming.name).describe()  # so that it meets its quality
    assert streaming.describe()["options"]["audio_context"] == "window"


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
    assert (
        caught.value.fix == "floatbench weights fetch float wav2vec2-base-960h wav2vec2-speech-emotion --accept-license"
    )
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


def test_every_choice_is_in_the_row(network, tmp_path: Path, checkpoint: Path):
    name = f"checkpoint:{checkpoint}?control=1:set:2&project_motion=1&emotion=happy&compile=max&graphs=1"
    record = create(name).describe()
    assert record["controls"] == [{"direction": 1, "mode": "set", "values": 2.0}]
    assert (record["project_motion"], record["emotion"], record["compiled"], record["graphs"]) == (
        True, "happy", "max", True,
    )  # fmt: skip


def test_what_is_left_as_it_is_changes_no_key_of_an_older_row(checkpoint: Path):
    assert set(FloatMethod(str(checkpoint)).describe()) == {
        "weights", "licence", "fabricated", "preset", "options", "emotion", "dtype", "impl", "compiled",
    }  # fmt: skip
    keys = {
        create(f"checkpoint:{checkpoint}{query}").key() for query in ("", "?control=1:2", "?control=1:3", "?graphs=1")
    }
    assert len(keys) == 4


def test_a_control_and_an_emotion_in_the_name_reach_the_frames(checkpoint: Path, tmp_path: Path):
    frames = {}
    for query in ("", "&emotion=happy", "&control=1:5"):
        method = create(f"checkpoint:{checkpoint}?nfe=2{query}")
        method.load()
        assert isinstance(method, FloatMethod)
        frames[query] = np.stack(list(method.stream(_request(tmp_path))))
    assert not np.array_equal(frames[""], frames["&emotion=happy"])
    assert not np.array_equal(frames[""], frames["&control=1:5"])


def test_the_curve_and_the_pose_of_a_name_count_by_content(make_network, checkpoint: Path, tmp_path: Path):
    curve, keys = tmp_path / "turn.csv", []
    for value in (1, 2):
        curve.write_text(f"value\n{value}\n")
        keys.append(create(f"checkpoint:{checkpoint}?control=0:{curve}").key())
    posed = tmp_path / "posed.safetensors"
    save(network := make_network(pose_condition=True), posed, Metadata(network.config))
    for value in (1, 2):
        np.save(tmp_path / "pose.npy", np.full((4, 6), value))
        keys.append(create(f"checkpoint:{posed}?pose={tmp_path / 'pose.npy'}").key())
    assert len(set(keys)) == 4


def test_a_pose_of_a_file_makes_a_system_of_an_oracle_and_must_be_long_enough(make_network, tmp_path: Path):
    posed = tmp_path / "posed.safetensors"
    save(network := make_network(pose_condition=True), posed, Metadata(network.config))
    np.save(tmp_path / "pose.npy", np.zeros((4, 6)))
    oracle, system = create(f"checkpoint:{posed}"), create(f"checkpoint:{posed}?nfe=2&pose={tmp_path / 'pose.npy'}")
    assert (oracle.kind, system.kind, system.ranked, set(system.needs)) == ("oracle", "system", True, set())
    system.load()
    assert system.generate(_request(tmp_path, 4)).video is not None
    with pytest.raises(ClipError, match="4 poses for 5 frames"):
        system.generate(_request(tmp_path, 5))


def test_an_emotion_for_a_network_without_one_is_refused_at_once(make_network, tmp_path: Path):
    file = tmp_path / "plain.safetensors"
    save(network := make_network(emotion_condition="none"), file, Metadata(network.config))
    with pytest.raises(UsageError, match="takes no emotion"):
        create(f"checkpoint:{file}?emotion=happy")


def test_many_clips_are_those_of_single_calls(method: FloatMethod, tmp_path: Path):
    folders = [tmp_path / str(k) for k in range(3)]
    for folder in folders:
        folder.mkdir()
    requests = [
        _request(folder, frames, seed) for folder, frames, seed in zip(folders, (4, 60, 9), (1, 2, 3), strict=True)
    ]
    assert isinstance(method, Batches)
    for request, made in zip(requests, method.generate_many(requests), strict=True):
        assert made.video is not None
        frames = read_video(made.video)[0].astype(int)
        alone = method.forward(request).media
        assert alone is not None
        single = alone.frames.astype(int)
        assert np.abs(frames - single).max() <= 1 and (frames != single).mean() < 1e-3
        assert made.details["nfe"] == 2 * -(-request.n_frames // 50)
        assert evaluations_a_window(made.details, method.describe(), request.n_frames) == 2


def test_a_batch_that_was_halved_is_said_of_every_clip_of_it(method: FloatMethod, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(together, "_solve_halved", lambda streams, clock: ["halved"])
    requests = [_request(tmp_path, seed=seed) for seed in (1, 2)]
    assert [made.details["notes"] for made in method.generate_many(requests)] == [["halved"]] * 2
    assert "notes" not in method.generate(requests[0]).details


def test_the_files_of_many_clips_are_written_side_by_side_on_cuda(method: FloatMethod, tmp_path: Path, monkeypatch):
    both = threading.Barrier(2, timeout=30)  # broken unless two are written at once

    def written(stream, request, notes, turn):
        assert turn is not None and both.wait() in (0, 1)
        return request.seed

    monkeypatch.setattr(method, "_stream", lambda request, clock: SimpleNamespace(device=torch.device("cuda")))
    monkeypatch.setattr(method, "_written", written)
    monkeypatch.setattr(together, "solve_together", lambda streams, clock: [])
    assert method.generate_many([_request(tmp_path, seed=seed) for seed in (1, 2)]) == [1, 2]


def test_the_same_choices_in_another_order_are_one_method(checkpoint: Path):
    names = [f"checkpoint:{checkpoint}?{query}" for query in ("e_cfg=5&nfe=2", "nfe=2&e_cfg=5.0")]
    (found,) = resolve(names)
    assert found.name == f"checkpoint:{checkpoint}?nfe=2&e_cfg=5"


def test_graphs_are_refused_where_there_is_no_cuda(checkpoint: Path):
    with pytest.raises(UsageError, match="CUDA graphs need a CUDA device, not cpu"):
        create(f"checkpoint:{checkpoint}?graphs=1").check_device("cpu")


def test_a_list_of_numbers_in_a_name_is_not_taken_apart():
    text = "float-tiny?emotion=0,0,0,1,0,0,.5&nfe=2,frozen,float"
    assert parse_methods(text) == ["float-tiny?emotion=0,0,0,1,0,0,.5&nfe=2", "frozen", "float"]


def test_the_forward_pass_gives_the_frames_of_the_file_and_writes_none(method: FloatMethod, tmp_path: Path):
    request = _request(tmp_path)
    made = method.forward(request)
    assert made.video is None and not list(tmp_path.glob("*.mkv")) and "mux" not in made.timing
    assert isinstance(method, ForwardPass) and made.media is not None
    written = method.generate(request)
    assert written.video is not None and np.array_equal(read_video(written.video)[0], made.media.frames)
    assert made.details == written.details
