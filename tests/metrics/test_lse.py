"""LSE: distances by the definition, planted offsets, partial tracks, lengths, bad input; and beside syncnet_python."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tolerances import rounding

from floatbench import weights
from floatbench.errors import ClipError, DataError, UsageError
from floatbench.metrics import facetrack, registry, s3fd, syncnet
from floatbench.metrics.base import Pair
from floatbench.metrics.lse import METRICS, FaceDetector, LipEmbeddings, SoundEmbeddings, aligned
from floatbench.metrics.network import load_strictly, seeded_state
from floatbench.types import ClipMedia

WIDTH = 1024


@cache
def _syncnet() -> syncnet.SyncNet:
    network = syncnet.SyncNet().eval().requires_grad_(False)
    network.load_state_dict(syncnet.random_state(7))
    return network


def _backbone(kind: type[LipEmbeddings] | type[SoundEmbeddings], *args, **settings):
    backbone = kind(*args, **settings)
    backbone.network = _syncnet()
    return backbone


def _sound(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random(frames), 640) * 8000
    return (loud * rng.standard_normal(640 * frames)).clip(-32768, 32767).astype(np.int16)


def _embeddings(windows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((windows, WIDTH)).astype(np.float32)


def _features(lips: np.ndarray, sound: np.ndarray, start: int = 0, detections: int | None = None) -> Pair:
    length = len(lips) + 4
    table = {
        "syncnet-lip": {
            "lips": lips,
            "track": np.array([start, length, length if detections is None else detections, 180], np.float32),
            "tracks": np.array([[length, 180], [40, 120]], np.float32),
            "frames": np.array([start + length]),
        },
        "syncnet-sound": {"sound": sound, "sound_cut": sound, "frames": np.array([len(sound) + 5])},
    }
    return Pair("c", "p", lambda side, name: table[name])


def test_distances_are_those_of_the_definition():
    lips, sound = _embeddings(6, 1), _embeddings(6, 2)
    padded = np.concatenate([np.zeros((15, WIDTH)), sound, np.zeros((15, WIDTH))])
    expected = [[np.linalg.norm(lip - padded[i + k] + 1e-6) for k in range(31)] for i, lip in enumerate(lips)]
    np.testing.assert_allclose(syncnet.distances(lips, sound), expected, rtol=1e-6)


def test_the_judgement_is_least_mean_median_minus_it_and_place():
    table = np.tile(np.linspace(5, 8, 31, dtype=np.float32), (4, 1))
    table[:, 18] = [1, 2, 3, 4]
    found = syncnet.judge(table)
    assert found.distance == pytest.approx(2.5)
    assert found.confidence == pytest.approx(float(np.median(table.mean(0))) - 2.5, abs=1e-6)
    assert found.offset == -3


@pytest.mark.parametrize("late", [-12, -3, 0, 3, 12])
def test_sound_that_comes_late_has_a_negative_offset(late):
    both = _embeddings(200)
    pair = _features(both[40:140], both[40 - late : 140 - late])
    value = METRICS["lse-direct-d"](min_track=50).clip_value(pair)
    assert value.extra["offset"] == -late
    # windows whose partner lies outside the clip are compared with zero: their distance is the embedding's length, 32
    assert value.value == pytest.approx(32 * abs(late) / 99, abs=0.4)


def test_confidence_grows_with_clip_length_and_the_stretched_variant_does_not():
    def pair(windows: int) -> Pair:
        common, noise = _embeddings(windows, 3), _embeddings(windows, 4)
        return _features(common, (common + 0.5 * noise).astype(np.float32))

    plain, matched = METRICS["lse-direct-c"](min_track=0), METRICS["lse-direct-c-75"](min_track=0)
    short, long = (plain.clip_value(pair(n)).value for n in (70, 370))
    assert long > 1.05 * short
    short, long = (matched.clip_value(pair(n)).value for n in (71, 371))
    assert long == pytest.approx(short, rel=0.02)
    assert matched.clip_value(pair(371)).extra["blocks"] == 5


def test_tracks_need_more_detections_than_the_minimum():
    pair = _features(_embeddings(120), _embeddings(119), detections=100)
    with pytest.raises(ClipError) as caught:
        METRICS["lse-direct-d"]().clip_value(pair)
    assert caught.value.reason == "no_track"
    value = METRICS["lse-direct-d"](min_track=39).clip_value(pair)
    assert value.extra["tracks"] == 2
    assert METRICS["lse-direct-d"](min_track=50).clip_value(pair).extra["tracks"] == 1


def test_coverage_and_unequal_lengths_are_recorded():
    value = METRICS["lse-direct-c"](min_track=10).clip_value(_features(_embeddings(71), _embeddings(60), start=25))
    assert value.extra["coverage"] == pytest.approx(0.75)
    assert value.extra["frames_trimmed"] == 35
    assert value.extra["windows"] == 35
    assert value.extra["track_start"] == 25
    assert len(value.tracks["distance"]) == 35


def test_a_track_beyond_the_sound_is_too_short():
    with pytest.raises(ClipError) as caught:
        METRICS["lse-direct-c"](min_track=0).clip_value(_features(_embeddings(71), _embeddings(10), start=20))
    assert caught.value.reason == "too_short"


def test_unusable_settings_are_refused():
    with pytest.raises(UsageError, match="block"):
        METRICS["lse-direct-c"](block=5)


def test_one_pass_of_the_lip_tower_equals_a_pass_per_window():
    crops = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
    found = _backbone(LipEmbeddings, "direct", 3).embed(crops)
    x = torch.from_numpy(crops[..., ::-1].copy()).permute(3, 0, 1, 2).float()
    expected = torch.cat([_syncnet().lips(x[:, i : i + 5]) for i in range(4)]).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_towers_and_distances_keep_the_numbers_of_the_reference():
    """Golden: joonson/syncnet_python at 6efbb1c3 through tests/golden/make_syncnet.py."""
    rng = np.random.default_rng(11)
    coarse = rng.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)
    crops = np.stack([cv2.resize(crop, (224, 224), interpolation=cv2.INTER_NEAREST) for crop in coarse])
    audio = rng.integers(-8000, 8000, 640 * 12).astype(np.int16)
    lips = _backbone(LipEmbeddings).embed(crops)
    sound = _backbone(SoundEmbeddings).extract(ClipMedia(crops, audio))["sound"]
    assert lips[3, :4] == pytest.approx([3.62311, -4.5483, -1.63949, -0.70691], rel=1e-4)
    assert sound[3, :4] == pytest.approx([-3.69829, -3.46983, 30.81941, 43.83959], rel=1e-4)
    mean = syncnet.distances(lips[:7], sound).mean(axis=0)
    assert mean[[11, 15, 18]] == pytest.approx([641.6885, 1327.5985, 821.1535], rel=1e-5)


def test_batches_of_sound_windows_change_nothing_but_rounding():
    clip = ClipMedia(np.zeros((20, 8, 8, 3), np.uint8), _sound(20))
    whole, pieces = (_backbone(SoundEmbeddings, batch).extract(clip) for batch in (64, 4))
    largest = float(np.abs(whole["sound"]).max())
    difference = np.abs(pieces["sound"] - whole["sound"]).max()
    assert difference <= rounding(512 * 5 * 4, largest, sums=8)  # the widest kernel of the sound branch, its 8 layers
    assert whole["sound"].shape == (15, WIDTH)


@pytest.mark.parametrize("start", [1, 7, 12])
def test_a_partial_track_gives_exactly_what_cut_sound_gives(start):
    audio = _sound(30)
    clip = ClipMedia(np.zeros((30, 8, 8, 3), np.uint8), audio)
    cut = ClipMedia(clip.frames[start:], audio[640 * start :])
    backbone = _backbone(SoundEmbeddings)
    lips = _features(_embeddings(30 - start - 4), _embeddings(5), start=start).generated("syncnet-lip")
    _, found, first = aligned(lips, backbone.extract(clip))
    expected = backbone.extract(cut)["sound"]
    assert first == start and len(found) == len(expected) == 25 - start
    np.testing.assert_allclose(found, expected, atol=3e-6 * np.abs(expected).max())
    naive = backbone.extract(clip)["sound"][start]
    assert np.abs(naive - expected[0]).max() > 1e-3  # the one sample of pre-emphasis does matter


def test_mfcc_windows_of_a_partial_track_are_those_of_cut_sound_bit_for_bit():
    audio = _sound(30)
    whole, cut = syncnet.sound_windows(audio)
    for start in range(1, 24):
        expected, first = syncnet.sound_windows(audio[640 * start :])
        np.testing.assert_array_equal(np.concatenate([cut[start : start + 1], whole[start + 1 :]]), expected)
        np.testing.assert_array_equal(first[0], expected[0])


@pytest.mark.parametrize(
    ("audio", "reason"), [(None, "no_audio"), (np.zeros(6400, np.int16), "silent"), (_sound(5), "too_short")]
)
def test_sound_that_cannot_be_judged_is_named(audio, reason):
    with pytest.raises(ClipError) as caught:
        _backbone(SoundEmbeddings).extract(ClipMedia(np.zeros((10, 8, 8, 3), np.uint8), audio))
    assert caught.value.reason == reason


class _Detector(FaceDetector):
    def __init__(self, boxes: list[np.ndarray]) -> None:
        super().__init__()
        self.boxes = boxes

    def detect(self, frames: np.ndarray) -> list[np.ndarray]:
        return self.boxes


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([np.zeros((0, 5))] * 8, "no_face"),
        ([np.array([[10, 10, 100, 100, 0.99]])] * 8, "no_track"),
        ([np.array([[10, 10, 150, 150, 0.99]])] * 5 + [np.zeros((0, 5))] * 3, "no_track"),
    ],
)
def test_pictures_that_cannot_be_judged_are_named(boxes, reason):
    backbone = _backbone(LipEmbeddings)
    backbone.detector = _Detector(boxes)
    with pytest.raises(ClipError) as caught:
        backbone.extract(ClipMedia(np.zeros((8, 200, 200, 3), np.uint8)))
    assert caught.value.reason == reason


def test_clips_shorter_than_the_window_are_too_short():
    with pytest.raises(ClipError) as caught:
        _backbone(LipEmbeddings).extract(ClipMedia(np.zeros((5, 64, 64, 3), np.uint8)))
    assert caught.value.reason == "too_short"


def test_a_face_that_leaves_keeps_its_own_stretch():
    backbone = _backbone(LipEmbeddings)
    face = np.array([[20, 20, 140, 140, 0.99]])
    backbone.detector = _Detector([np.zeros((0, 5))] * 2 + [face] * 7 + [np.zeros((0, 5))])
    frames = np.random.default_rng(0).integers(0, 256, (10, 160, 160, 3), dtype=np.uint8)
    features = backbone.extract(ClipMedia(frames))
    assert features["track"].tolist() == [2, 7, 7, 120]
    assert features["lips"].shape == (3, WIDTH)


def test_a_frozen_face_is_judged_by_its_sound_alone():
    backbone = _backbone(LipEmbeddings)
    backbone.detector = _Detector([np.array([[20, 20, 140, 140, 0.99]])] * 9)
    lips = backbone.extract(ClipMedia(np.full((9, 160, 160, 3), 90, np.uint8)))
    sound = {"sound": _embeddings(4), "sound_cut": _embeddings(4), "frames": np.array([9])}
    np.testing.assert_allclose(lips["lips"], np.broadcast_to(lips["lips"][0], (5, WIDTH)), rtol=1e-4, atol=1e-3)
    table = {"syncnet-lip": lips, "syncnet-sound": sound}
    value = METRICS["lse-direct-d"](min_track=5).clip_value(Pair("c", "p", lambda side, name: table[name]))
    assert value.value is not None and np.isfinite(value.value) and value.extra["windows"] == 4


def test_lossy_steps_keep_the_picture_and_are_no_copy():
    from floatbench.metrics import codecs

    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, (96, 80), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([np.roll(frame, i, axis=1) for i in range(7)])
    for step in (codecs.dump_frames, codecs.dump_crops):
        out = step(frames)
        assert out.shape == frames.shape
        error = np.mean((out.astype(float) - frames) ** 2, axis=(1, 2, 3))
        assert (error > 0.1).all() and (10 * np.log10(255**2 / error) > 25).all()


def test_sound_and_lips_have_cache_keys_of_their_own():
    assert registry.backbone("syncnet-lip").uses == {"frames"}
    assert registry.backbone("syncnet-sound").uses == {"audio"}


def test_weights_of_another_shape_are_refused():
    state = {**_syncnet().state_dict(), "netfclip.3.weight": torch.zeros(512, 512)}
    with pytest.raises(DataError, match=r"netfclip\.3\.weight"):
        load_strictly(syncnet.SyncNet(), state, "syncnet-v2")


def test_s3fd_finds_the_planted_face_of_its_fabricated_weights(tmp_path):
    s3fd.fabricate(tmp_path / "sfd_face.pth", 0)
    detector = FaceDetector(batch=2)
    detector.network = s3fd.S3FDNet().eval()
    load_strictly(detector.network, torch.load(tmp_path / "sfd_face.pth", weights_only=True), "s3fd-sfd-face")
    frames = np.random.default_rng(0).integers(0, 256, (3, 512, 512, 3), dtype=np.uint8)
    for faces in detector.detect(frames):
        assert faces.shape == (1, 5)
        assert faces[0, :4] == pytest.approx([128, 128, 384, 384], abs=60)
    features = detector.extract(ClipMedia(frames))
    assert features["found"].all()


def test_nested_boxes_and_their_scores_survive_suppression_in_order():
    prior = np.array(
        [[0.5, 0.5, 0.2, 0.2], [0.51, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.1, 0.1]], np.float32
    )
    scores = np.array([0.95, 0.99, 0.91, 0.89], np.float32)
    faces = s3fd.decode(scores, np.zeros((4, 4), np.float32), prior, 100, 200)
    assert faces[:, 4] == pytest.approx([0.99, 0.91], abs=1e-6)
    assert faces[1, :4] == pytest.approx([30, 15, 50, 25], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lse-direct-d", "lse-ffmpeg-c", "lse-wholeframe-c"])
def test_fabricated_weights_run_end_to_end_on_a_real_clip(shared, monkeypatch, variant):
    from floatbench.media import read_clip

    monkeypatch.setenv("FLOATBENCH_FABRICATED", "1")
    for name in ("syncnet-v2", "s3fd-sfd-face"):
        weights.fabricate(name, 0)
    clip = read_clip(shared / "data" / "real" / "video" / "SadTalker" / "WDA_AlexandriaOcasioCortez_000.mp4")
    assert clip.audio is not None
    frames = np.stack([cv2.resize(frame, (512, 512)) for frame in clip.frames[:14]])
    clip = ClipMedia(frames, clip.audio[: 640 * 14])
    metric = METRICS[variant](min_track=10)
    features = {}
    for name in metric.info.backbones:
        backbone = registry.backbone(name)
        backbone.load()
        features[name] = backbone.extract(clip)
    value = metric.clip_value(Pair("c", "p", lambda side, name: features[name]))
    assert value.value is not None and np.isfinite(value.value)
    assert value.extra["windows"] == 9


# ---- beside the original code: FLOATBENCH_SRC_SYNCNET names a checkout of joonson/syncnet_python at 6efbb1c3


def _checkout() -> Path:
    folder = os.environ.get("FLOATBENCH_SRC_SYNCNET")
    if not folder:
        pytest.skip("set FLOATBENCH_SRC_SYNCNET to a checkout of joonson/syncnet_python")
    return Path(folder)


def _module(name: str, file: Path, monkeypatch, text: str | None = None) -> types.ModuleType:
    if text is None:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module
    module = types.ModuleType(name)
    exec(compile(text, str(file), "exec"), module.__dict__)
    return module


@pytest.mark.peers
def test_distance_confidence_and_offset_equal_the_reference_evaluation(monkeypatch, tmp_path):
    pytest.importorskip("python_speech_features")
    folder = _checkout()
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    _module("SyncNetModel", folder / "SyncNetModel.py", monkeypatch)
    peer = _module("SyncNetInstance", folder / "SyncNetInstance.py", monkeypatch)
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (30, 7, 7, 3), dtype=np.uint8)
    crops = np.stack([cv2.resize(crop, (224, 224), interpolation=cv2.INTER_CUBIC) for crop in crops])
    audio = _sound(30)
    instance = peer.SyncNetInstance()
    torch.save(_syncnet().state_dict(), tmp_path / "syncnet_v2.model")
    instance.loadParameters(str(tmp_path / "syncnet_v2.model"))
    options = types.SimpleNamespace(tmp_dir=str(tmp_path), reference="clip", batch_size=20, vshift=15)

    def convert(command: str, **_: object) -> int:  # in place of FFmpeg: a lossless dump and the sound itself
        from scipy.io import wavfile

        target = tmp_path / "clip"
        if ".jpg" in command:
            for number in range(len(crops)):
                (target / f"{number:06d}.jpg").touch()
        else:
            wavfile.write(target / "audio.wav", 16000, audio)
        return 0

    monkeypatch.setattr(peer.subprocess, "call", convert)
    monkeypatch.setattr(peer.cv2, "imread", lambda name: crops[int(Path(name).stem)][..., ::-1].copy())
    offset, confidence, table = instance.evaluate(options, "clip.avi")
    lips = _backbone(LipEmbeddings).embed(crops)
    sound = _backbone(SoundEmbeddings).extract(ClipMedia(crops[:, :8, :8], audio))["sound"]
    found = syncnet.distances(lips[:25], sound)
    np.testing.assert_allclose(found, table, rtol=1e-4)
    judged = syncnet.judge(found)
    assert judged.offset == int(offset)
    assert judged.confidence == pytest.approx(float(confidence), rel=1e-4)
    assert judged.distance == pytest.approx(float(table.mean(0).min()), rel=1e-4)


@pytest.mark.peers
@pytest.mark.parametrize(("height", "width"), [(256, 256), (288, 360)])
def test_faces_equal_those_of_the_reference_detector(monkeypatch, tmp_path, height, width):
    folder = _checkout() / "detectors" / "s3fd"
    for name in ("s3fd_peer",):
        package = types.ModuleType(name)
        package.__path__ = [str(folder)]  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setattr(np, "int", int, raising=False)
    text = (folder / "__init__.py").read_text()
    peer = types.ModuleType("s3fd_peer")
    peer.__path__ = [str(folder)]  # type: ignore[attr-defined]
    peer.__package__ = "s3fd_peer"
    exec(compile(text, "s3fd", "exec"), peer.__dict__)
    state = seeded_state(s3fd.S3FDNet(), 3)
    for level in range(6):  # bring some priors of every level above the threshold of 0.9
        state[f"conf.{level}.weight"] *= 30 if level < 3 else 0.05
        state[f"conf.{level}.bias"][-1] += 0 if level < 3 else 5
        state[f"loc.{level}.weight"] *= 1 if level < 3 else 0.02
    torch.save(state, tmp_path / "sfd_face.pth")
    peer.PATH_WEIGHT = str(tmp_path / "sfd_face.pth")
    reference = peer.S3FD(device="cpu")
    detector = FaceDetector()
    detector.network = s3fd.S3FDNet().eval()
    load_strictly(detector.network, state, "s3fd-sfd-face")
    coarse = np.random.default_rng(2).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    frame = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    expected = reference.detect_faces(frame, conf_th=0.9, scales=[0.25])
    found = detector.detect(frame[None])[0]
    assert len(expected) > 3
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.peers
def test_tracks_and_crops_equal_those_of_the_pipeline(monkeypatch):
    text = (_checkout() / "run_pipeline.py").read_text()
    functions = text[text.index("def bb_intersection_over_union") : text.index("# ========== CROP AUDIO FILE")]
    functions = functions.replace(
        "def crop_video(opt,track,cropfile):", "def crop_video(opt,track,cropfile):\n  out=[]"
    )
    functions = functions.replace("vOut.write(cv2.resize(face,(224,224)))", "out.append(cv2.resize(face,(224,224)))")
    start, stop = functions.index("  audiotmp "), len(functions)
    functions = functions[:start] + "  return np.stack(out)\n" + functions[stop:]
    functions = functions.replace("vOut = cv2.VideoWriter(cropfile+'t.avi', fourcc, opt.frame_rate, (224,224))", "")
    header = "import numpy as np, cv2, glob, os\nfrom scipy import signal\nfrom scipy.interpolate import interp1d\n"
    peer = _module("pipeline_peer", _checkout() / "run_pipeline.py", monkeypatch, header + functions)
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (60, 240, 320, 3), dtype=np.uint8)
    faces: list[np.ndarray] = []
    for t in range(60):
        boxes = [[20 + t, 30, 150 + t + rng.normal(0, 2), 170, 0.99], [180, 60 + t / 2, 310, 200 + t / 2, 0.95]]
        faces.append(np.array([box for box in boxes if rng.random() > 0.3]).reshape(-1, 5))
    listed = [[{"frame": t, "bbox": f[:4].tolist(), "conf": f[4]} for f in found] for t, found in enumerate(faces)]
    options = types.SimpleNamespace(
        num_failed_det=25, min_track=10, min_face_size=100, crop_scale=0.4, frame_rate=25, frames_dir="", reference=""
    )
    expected = peer.track_shot(options, listed)
    found = [t for t in facetrack.find_tracks(faces) if len(t.frames) > 10 and t.size() > 100]
    assert len(found) == len(expected) == 2
    monkeypatch.setattr(peer.glob, "glob", lambda pattern: [f"{i:06d}.jpg" for i in range(60)])
    monkeypatch.setattr(peer.cv2, "imread", lambda name: frames[int(Path(name).stem)])
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.start == theirs["frame"][0] and ours.length == len(theirs["frame"])
        np.testing.assert_allclose(ours.filled(), theirs["bbox"], rtol=1e-12)
        np.testing.assert_array_equal(facetrack.crop_track(frames, ours), peer.crop_video(options, theirs, "crop"))
