"""The pipeline: three lines, streaming, determinism, metadata, and nothing half-written."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from floatbench.animate.cropping import Settled
from floatbench.animate.pipeline import FLOAT
from floatbench.errors import ClipError, DataError, DependencyError, UsageError
from floatbench.media import probe, read_audio, read_video, write_image, write_wav
from floatbench.media.boxes import BackendInfo, Box, BoxBackend, Detection
from floatbench.media.writers import Mp4Writer
from floatbench.model.checkpoint import Metadata, save
from floatbench.sampling.animator import Direction
from floatbench.sampling.control import Control
from floatbench.sampling.loading import Origin
from floatbench.sampling.options import SamplingOptions, preset
from floatbench.training.devices import Devices

FAST = SamplingOptions(nfe=2, a_cfg=1.0)
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


class FoundBoxes(BoxBackend):
    """Finds the faces it was given."""

    name = "found"

    def __init__(self, found: list[Detection]) -> None:
        self._found = found

    def info(self) -> BackendInfo:
        return BackendInfo(self.name, "1")

    def detect(self, rgb: np.ndarray, frame: int) -> list[Detection]:
        return self._found


def _speech(frames: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, int(frames * 640)).astype(np.int16)


@pytest.fixture
def model(network) -> FLOAT:
    return FLOAT(network, Origin("float-test", {"float-test": "0" * 64}))


def _frames(model: FLOAT, pcm: np.ndarray, **given) -> np.ndarray:
    return np.stack(list(model.stream(PICTURE, pcm, **({"options": FAST} | given))))


def test_three_lines_make_a_video(checkpoint: Path, tmp_path: Path):
    write_image(tmp_path / "face.png", PICTURE)
    write_wav(tmp_path / "speech.wav", _speech(3))
    model = FLOAT.from_pretrained(checkpoint)
    video = model.generate(tmp_path / "face.png", tmp_path / "speech.wav", tmp_path / "out.mp4", options=FAST)
    frames, fps = read_video(video.path)
    assert frames.shape == (3, 64, 64, 3) and fps == 25
    assert video.n_frames == 3 and len(read_audio(video.path)) >= 3 * 640


@pytest.mark.parametrize("frames", [0.5, 1, 50, 51, 103])
def test_the_video_is_as_long_as_the_sound(model: FLOAT, frames: float):
    pcm = _speech(frames)
    stream = model.stream(PICTURE, pcm, options=FAST)
    assert len(list(stream)) == stream.n_frames == -(-len(pcm) // 640)


def test_a_stream_gives_its_first_frames_before_the_later_sound_is_read(model: FLOAT):
    options = SamplingOptions(nfe=2, a_cfg=1.0, audio_context="window")
    frames = iter(model.stream(PICTURE, _speech(120), options=options))
    first = [next(frames) for _ in range(50)]
    whole = _frames(model, _speech(50), options=options)
    assert np.array_equal(np.stack(first), whole)


def test_equal_calls_give_equal_pixels_and_another_seed_does_not(model: FLOAT):
    pcm = _speech(5)
    assert np.array_equal(_frames(model, pcm, seed=3), _frames(model, pcm, seed=3))
    assert not np.array_equal(_frames(model, pcm, seed=3), _frames(model, pcm, seed=4))


def test_the_lossless_file_holds_the_streamed_pixels(model: FLOAT, tmp_path: Path):
    pcm = _speech(5)
    model.generate(PICTURE, pcm, tmp_path / "out.mkv", options=FAST, seed=3)
    assert np.array_equal(read_video(tmp_path / "out.mkv")[0], _frames(model, pcm, seed=3))


def test_emotion_and_control_change_the_video(model: FLOAT):
    pcm = _speech(5)
    plain = _frames(model, pcm)
    assert not np.array_equal(plain, _frames(model, pcm, direction=Direction(emotion="happy")))
    assert not np.array_equal(plain, _frames(model, pcm, direction=Direction(controls=(Control(1, 3.0),))))


def test_control_reaches_the_motion_of_every_window(model: FLOAT):
    pcm, basis = _speech(60), model.network.basis()
    streams = [
        model.stream(PICTURE, pcm, options=FAST, direction=Direction(controls=controls, project=True))
        for controls in ((), (Control(2, ((0.0, 59.0), (0.0, 5.9))),))
    ]
    plain, edited = (torch.cat(list(stream.motion())) for stream in streams)
    change = (edited - plain) @ basis
    torch.testing.assert_close(change[:, 2], torch.arange(60) / 10, atol=1e-5, rtol=0)
    assert change[:, [0, 1, 3]].abs().max() < 1e-5


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_the_file_says_how_it_was_made_and_that_it_is_synthetic(model: FLOAT, tmp_path: Path, name: str):
    video = model.generate(PICTURE, _speech(3), tmp_path / name, options=FAST, emotion="sad", seed=9)
    tags = probe(video.path).metadata
    settings = json.loads(tags["floatbench"])
    assert settings == json.loads(json.dumps(video.settings))
    assert (settings["seed"], settings["direction"]["emotion"], settings["options"]["nfe"]) == (9, "sad", 2)
    assert settings["model"]["files"] == {"float-test": "0" * 64}
    assert tags["synthetic_media"] == "yes" and "synthetic media" in tags["comment"]
    assert str(tmp_path) not in json.dumps(tags)


def test_random_weights_are_said_in_the_file(network, tmp_path: Path):
    model = FLOAT(network, Origin("float", {}, fabricated=True))
    video = model.generate(PICTURE, _speech(1), tmp_path / "out.mp4", options=FAST)
    tags = probe(video.path).metadata
    assert "random weights" in tags["comment"] and json.loads(tags["floatbench"])["model"]["fabricated"] is True


def test_the_record_counts_stages_and_true_evaluations(model: FLOAT, tmp_path: Path):
    video = model.generate(
        PICTURE, _speech(60), tmp_path / "o.mp4", options=SamplingOptions(nfe=10, ode_grid="official")
    )
    assert set(video.seconds) == {"crop", "speech", "emotion", "encode", "solve", "decode", "convert", "mux"}
    assert (video.evaluations, video.rows) == (2 * 9, 2 * 9 * 3)
    record = video.record()
    assert json.loads(json.dumps(record))["nfe"] == 18 and record["fps"] > 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_full_disk_leaves_nothing_behind(model: FLOAT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int):
    written = 0

    def failing(self, frame):
        nonlocal written
        written += 1
        if written == 3:
            raise OSError(code, "no")
        return real(self, frame)

    real = Mp4Writer.write
    monkeypatch.setattr(Mp4Writer, "write", failing)
    with pytest.raises(DependencyError, match=r"out\.mp4"):
        model.generate(PICTURE, _speech(5), tmp_path / "out.mp4", options=FAST)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_video_leaves_the_old_one_alone(model: FLOAT, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out.mp4"
    out.write_bytes(b"older")
    monkeypatch.setattr(Mp4Writer, "write", lambda self, frame: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model.generate(PICTURE, _speech(5), out, options=FAST)
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"] and out.read_bytes() == b"older"


def test_silence_is_told_and_gives_a_video(model: FLOAT, tmp_path: Path):
    video = model.generate(PICTURE, np.zeros(640 * 3, np.int16), tmp_path / "out.mp4", options=FAST)
    assert video.n_frames == 3 and any("silent" in note for note in video.notes)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"audio": np.zeros(0, np.int16)}, ClipError, "empty"),
        ({"out": "out.avi"}, UsageError, r"must end in \.mp4"),
        ({"emotion": "joyful"}, UsageError, "angry, disgust"),
        ({"control": [Control(4, 1.0)]}, UsageError, "0 to 3"),
        ({"image": "nowhere.png"}, ClipError, "missing"),
    ],
)
def test_bad_input_writes_nothing(model: FLOAT, tmp_path: Path, monkeypatch, change: dict, error, message: str):
    monkeypatch.chdir(tmp_path)
    given = {"image": PICTURE, "audio": _speech(2), "out": "out.mp4", "options": FAST} | change
    with pytest.raises(error, match=message):
        model.generate(**given)
    assert list(tmp_path.iterdir()) == []


def test_many_faces_are_told_and_one_is_animated(model: FLOAT, tmp_path: Path):
    found = [Detection(Box(4, 4, 24, 24), 1.0), Detection(Box(30, 20, 60, 50), 0.9)]
    video = model.generate(PICTURE, _speech(1), tmp_path / "o.mkv", crop=FoundBoxes(found), options=FAST)
    assert any("2 faces were found" in note for note in video.notes)
    with pytest.raises(ClipError, match="no_face"):
        model.generate(PICTURE, _speech(1), tmp_path / "none.mkv", crop=FoundBoxes([]), options=FAST)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.mkv"]


def test_a_detector_is_made_once_for_all_pictures(model: FLOAT, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []
    found = FoundBoxes([Detection(Box(4, 4, 44, 44), 1.0)])
    monkeypatch.setattr("floatbench.animate.pipeline.settle", lambda *_, **__: Settled("s3fd"))
    monkeypatch.setattr("floatbench.animate.pipeline.box_backend", lambda name, **_: made.append(name) or found)
    for _ in range(3):
        model.stream(PICTURE, _speech(1), options=FAST)
    assert made == ["s3fd"]


def test_a_network_that_decodes_nan_is_an_error(model: FLOAT, tmp_path: Path):
    with torch.no_grad():
        model.network.motion_autoencoder.dec.input.input.fill_(float("nan"))
    with pytest.raises(ClipError, match="not_finite"):
        model.generate(PICTURE, _speech(2), tmp_path / "out.mp4", options=FAST)
    assert list(tmp_path.iterdir()) == []


def test_the_device_must_exist(checkpoint: Path):
    with pytest.raises(UsageError, match="unknown device"):
        FLOAT.from_pretrained(checkpoint, device="abacus")
    if not torch.cuda.is_available():
        with pytest.raises(DependencyError, match="no CUDA"):
            FLOAT.from_pretrained(checkpoint, device="cuda")


def test_a_missing_checkpoint_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.safetensors is neither one of float, float-tiny"):
        FLOAT.from_pretrained(tmp_path / "nowhere.safetensors")


def test_a_checkpoint_with_nan_is_refused(network, tmp_path: Path):
    with torch.no_grad():
        network.fmt.c_embedder.weight[0, 0] = float("nan")
    save(network, tmp_path / "nan.safetensors", Metadata(network.config))
    with pytest.raises(DataError, match=r"fmt\.c_embedder\.weight holds NaN"):
        FLOAT.from_pretrained(tmp_path / "nan.safetensors")


def test_a_cut_checkpoint_is_refused(checkpoint: Path, tmp_path: Path):
    (tmp_path / "cut.safetensors").write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        FLOAT.from_pretrained(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("changes", [{"prediction": "epsilon"}, {"prediction": "x0"}, {"conditioning": "cross"},
                                     {"emotion_condition": "none"}])  # fmt: skip
def test_the_networks_of_the_ablations_go_through_the_same_pipeline(make_network, changes: dict):
    model = FLOAT(make_network(**changes), Origin("variant", {}))
    options = SamplingOptions(nfe=2, diffusion_steps=20, ddim_steps=4)
    stream = model.stream(PICTURE, _speech(4), options=options)
    assert np.stack(list(stream)).shape == (4, 64, 64, 3)
    assert stream.evaluations == (4 if "prediction" in changes else 2)


def test_framewise_emotion_and_pose_go_through_the_same_pipeline(make_network):
    model = FLOAT(make_network(emotion_condition="image", pose_condition=True), Origin("variant", {}))
    direction = Direction(emotion=np.full((60, 7), 1 / 7), pose=np.zeros((60, 6)))
    assert len(list(model.stream(PICTURE, _speech(60), options=FAST, direction=direction))) == 60


@pytest.mark.parametrize("preset_name", ["default", "official"])
def test_fast_and_plain_arithmetic_give_the_same_pixels(network, preset_name: str):
    pcm, origin = _speech(53), Origin("float-test", {})
    options = preset(preset_name, nfe=4)
    plain = _frames(FLOAT(network, origin, impl="plain"), pcm, options=options).astype(int)
    fast = _frames(FLOAT(network, origin), pcm, options=options).astype(int)
    assert np.abs(fast - plain).max() <= 1 and (fast != plain).mean() < 1e-3


def test_half_precision_stays_near(network):
    pcm, origin = _speech(3), Origin("float-test", {})
    exact = _frames(FLOAT(network, origin), pcm).astype(float)
    half = _frames(FLOAT(network, origin, dtype="bfloat16"), pcm).astype(float)
    assert 0 < np.sqrt(np.mean((half - exact) ** 2)) < 8


def test_plain_arithmetic_is_the_reference_and_takes_no_shortcut(network):
    for given in ({"dtype": "bfloat16"}, {"compile": True}):
        with pytest.raises(UsageError, match="plain arithmetic"):
            FLOAT(network, Origin("float-test", {}), impl="plain", **given)


def test_an_emotion_may_be_a_list(model: FLOAT):
    weights = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    pcm = np.zeros(2 * 640, np.int16)
    given, named = (_motion(model, pcm, Direction(emotion=value)) for value in (weights, "happy"))
    assert torch.equal(given, named)
    assert Direction(emotion=weights).record()["emotion"] == weights  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"emotion": ["happy"] * 7}, "emotion must be numbers"),
        ({"emotion": [0.0] * 6 + [float("nan")]}, "emotion holds numbers that are not finite"),
        ({"emotion": 3}, r"emotion must have the shape \(7,\)"),
        ({"pose": [[0.0] * 6, [0.0] * 5]}, "pose must be numbers"),
        ({"pose": "file.npy"}, "pose must be numbers"),
        ({"controls": [("yaw", 1)]}, "controls must be Control objects"),
        ({"controls": Control(0, 1.0)}, "controls must be Control objects"),
    ],
)
def test_a_direction_that_is_no_direction_is_refused(model: FLOAT, given: dict, message: str):
    with pytest.raises(UsageError, match=message):
        _motion(model, np.zeros(640, np.int16), Direction(**given))


@pytest.mark.parametrize(
    ("picture", "pcm", "message"),
    [
        (np.full((64, 64, 3), 0.5), np.zeros(640, np.int16), "picture must be"),
        (np.zeros((65, 64, 3), np.uint8), np.zeros(640, np.int16), "cropped to 64 x 64 pixels, not 64 x 65"),
        (np.zeros((64, 64), np.uint8), np.zeros(640, np.int16), "picture must be"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros(640, np.float32), "sound must be"),
        (np.zeros((64, 64, 3), np.uint8), np.zeros((640, 2), np.int16), "sound must be"),
    ],
)
def test_arrays_of_another_kind_are_refused_by_every_entry(model: FLOAT, tmp_path: Path, picture, pcm, message: str):
    with pytest.raises(UsageError, match=message):
        model.stream(picture, pcm)
    with pytest.raises(UsageError, match=message):
        model.animate(picture, pcm, tmp_path / "o.mkv", options=SamplingOptions(), direction=Direction())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["mps", "xpu", "meta", "mps:0"])
def test_devices_that_are_not_supported_are_refused(checkpoint: Path, device: str):
    with pytest.raises(UsageError, match=f"the device '{device}' is not supported"):
        FLOAT.from_pretrained(checkpoint, device=device)


@pytest.mark.parametrize("start", [lambda model: FLOAT(model.network, Origin("again", {})), lambda _: Devices("cpu")])
def test_float32_is_float32_on_every_card(model: FLOAT, start):
    """One policy for generating, running and training; a worker of the engine sets it in `prepare_worker`."""
    parts = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [part.allow_tf32 for part in parts]
    try:
        for part in parts:
            part.allow_tf32 = True
        start(model)
        assert [part.allow_tf32 for part in parts] == [False, False]
    finally:
        for part, value in zip(parts, before, strict=True):
            part.allow_tf32 = value


def test_emotion_frame_by_frame_reaches_a_last_window_of_one_frame(make_network):
    model = FLOAT(make_network(emotion_condition="image"), Origin("variant", {}))
    pcm = np.zeros(51 * 640, np.int16)
    emotion = np.random.default_rng(0).random((51, 7)).astype(np.float32)
    changed = np.concatenate([emotion[:50], 1 - emotion[50:]])
    a, b = (_motion(model, pcm, Direction(emotion=value)) for value in (emotion, changed))
    assert a.shape == (51, 8) and torch.equal(a[:50], b[:50]) and not torch.equal(a[50], b[50])


def _motion(model: FLOAT, pcm: np.ndarray, direction: Direction) -> torch.Tensor:
    picture = np.full((64, 64, 3), 90, np.uint8)
    return torch.cat(list(model.stream(picture, pcm, options=SamplingOptions(nfe=2), direction=direction).motion()))
