"""lse-ffmpeg beside the SyncNet pipeline itself: its own scripts, FFmpeg's own program, OpenCV's own writer.

Needs `ffmpeg` on the path, or `FLOATBENCH_FFMPEG` naming the program; the whole pipeline also needs
`FLOATBENCH_SRC_SYNCNET`, a checkout of joonson/syncnet_python at 6efbb1c3.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from floatbench.media import write_lossless, write_wav
from floatbench.metrics import codecs, s3fd, syncnet
from floatbench.metrics.base import Pair
from floatbench.metrics.lse import METRICS, LipEmbeddings, SoundEmbeddings
from floatbench.metrics.network import load_strictly
from floatbench.types import ClipMedia

pytestmark = pytest.mark.peers
FRAMES, SIDE = 24, 512


@pytest.fixture(scope="module")
def program() -> str:
    found = os.environ.get("FLOATBENCH_FFMPEG") or shutil.which("ffmpeg")
    if not found:
        pytest.skip("no ffmpeg program: put one on the path or set FLOATBENCH_FFMPEG")
    return found


def _run(program: str, *arguments: str | Path) -> None:
    subprocess.run([program, "-y", "-loglevel", "error", *map(str, arguments)], check=True)


def _clip() -> ClipMedia:
    """A smooth drifting picture with changing brightness, and noise as loud as the picture is bright."""
    rng = np.random.default_rng(1)
    picture = cv2.resize(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    gains = 0.7 + 0.3 * rng.random(FRAMES)
    frames = np.stack([np.roll(picture, 3 * t, axis=1) * gain for t, gain in enumerate(gains)]).astype(np.uint8)
    sound = np.repeat(gains, 640) * 4000 * rng.standard_normal(640 * FRAMES)
    return ClipMedia(frames, sound.clip(-32768, 32767).astype(np.int16))


def _pictures(folder: Path) -> np.ndarray:
    return np.stack([cv2.imread(str(file))[..., ::-1] for file in sorted(folder.glob("*.jpg"))])


def test_the_frame_dump_equals_ffmpegs_program_bit_for_bit(program, tmp_path):
    frames = _clip().frames
    write_lossless(tmp_path / "in.mkv", frames)
    steps = ["-qscale:v", "2", "-async", "1", "-r", "25", "-threads", "1"]
    _run(program, "-i", tmp_path / "in.mkv", *steps, tmp_path / "video.avi")
    (tmp_path / "frames").mkdir()
    dump = ["-qscale:v", "2", "-threads", "1", "-f", "image2", tmp_path / "frames" / "%06d.jpg"]
    _run(program, "-i", tmp_path / "video.avi", *dump)
    np.testing.assert_array_equal(codecs.dump_frames(frames), _pictures(tmp_path / "frames"))


def test_the_crop_dump_equals_opencvs_writer_and_ffmpegs_program_bit_for_bit(program, tmp_path):
    crops = np.stack([cv2.resize(frame, (224, 224)) for frame in _clip().frames])
    writer = cv2.VideoWriter(str(tmp_path / "crop.avi"), cv2.VideoWriter_fourcc(*"XVID"), 25, (224, 224))
    for crop in crops:
        writer.write(np.ascontiguousarray(crop[..., ::-1]))
    writer.release()
    (tmp_path / "crops").mkdir()
    dump = ["-threads", "1", "-f", "image2", tmp_path / "crops" / "%06d.jpg"]
    _run(program, "-i", tmp_path / "crop.avi", *dump)
    np.testing.assert_array_equal(codecs.dump_crops(crops), _pictures(tmp_path / "crops"))


# ---- the pipeline's two scripts, end to end


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    s3fd.fabricate(folder / "sfd_face.pth", 0)
    torch.save(syncnet.random_state(7), folder / "syncnet_v2.model")
    return folder


def _module(name: str, file: Path, monkeypatch) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def _detector(checkout: Path, networks: Path, monkeypatch) -> Callable[..., object]:
    """The pipeline's own face detector, on the CPU and with the fabricated weights."""
    folder = checkout / "detectors" / "s3fd"
    peer = types.ModuleType("s3fd_peer")
    peer.__path__ = [str(folder)]  # type: ignore[attr-defined]
    peer.__package__ = "s3fd_peer"
    monkeypatch.setitem(sys.modules, "s3fd_peer", peer)
    monkeypatch.setattr(np, "int", int, raising=False)  # gone from NumPy
    exec(compile((folder / "__init__.py").read_text(), "s3fd", "exec"), peer.__dict__)
    peer.PATH_WEIGHT = str(networks / "sfd_face.pth")
    return lambda device: peer.S3FD(device="cpu")


def _stubs(detector: Callable[..., object], monkeypatch) -> None:
    """Scene detection finds nothing to cut: the package of its time no longer runs, and ours has one shot a clip."""
    for name in ("", ".video_manager", ".scene_manager", ".frame_timecode", ".stats_manager", ".detectors"):
        module = types.ModuleType(f"scenedetect{name}")
        module.__path__ = []  # type: ignore[attr-defined]
        for attribute in ("VideoManager", "SceneManager", "FrameTimecode", "StatsManager", "ContentDetector"):
            setattr(module, attribute, object)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    detectors = types.ModuleType("detectors")
    detectors.S3FD = detector  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "detectors", detectors)


def _pipeline(checkout: Path, program: str, networks: Path, video: Path, work: Path, monkeypatch) -> Path:
    """Runs run_pipeline.py as it is; returns the AVI of its only track."""

    def call(command: str, **_: object) -> int:  # its own commands; one thread, or slices follow the machine
        if "-async 1 -r 25" in command:
            command = command.replace("-r 25", "-r 25 -threads 1")
        words = shlex.split(command)
        assert words[0] == "ffmpeg"
        _run(program, *(word for word in words[1:] if word != "-y"))
        return 0

    monkeypatch.setattr(subprocess, "call", call)
    _stubs(_detector(checkout, networks, monkeypatch), monkeypatch)
    text = (checkout / "run_pipeline.py").read_text()
    shot = types.SimpleNamespace
    marker = "# ========== FACE TRACKING =========="
    assert text.count("scene = scene_detect(opt)") == 1 and marker in text
    text = text.replace("scene = scene_detect(opt)", "scene = [ONE_SHOT]")
    arguments = ["--videofile", video, "--reference", "clip", "--data_dir", work, "--min_track", "10"]
    monkeypatch.setattr(sys, "argv", ["run_pipeline.py", *map(str, arguments)])
    whole = (shot(frame_num=0), shot(frame_num=10**6))
    exec(compile(text, "run_pipeline.py", "exec"), {"__name__": "pipeline_peer", "ONE_SHOT": whole})
    tracks = sorted((work / "pycrop" / "clip").glob("*.avi"))
    assert [track.name for track in tracks] == ["00000.avi"]
    return tracks[0]


def _evaluation(checkout: Path, networks: Path, track: Path, work: Path, monkeypatch):
    """run_syncnet.py's evaluation of a track: (offset, confidence, distances) and the sound that it heard."""
    from scipy.io import wavfile

    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(torch.nn.Module, "cuda", lambda self: self)
    _module("SyncNetModel", checkout / "SyncNetModel.py", monkeypatch)
    instance = _module("SyncNetInstance", checkout / "SyncNetInstance.py", monkeypatch).SyncNetInstance()
    instance.loadParameters(str(networks / "syncnet_v2.model"))
    options = types.SimpleNamespace(tmp_dir=str(work / "tmp"), reference="clip", batch_size=20, vshift=15)
    result = instance.evaluate(options, str(track))
    return result, wavfile.read(work / "tmp" / "clip" / "audio.wav")[1]


def _ours(networks: Path, clip: ClipMedia, mode: str):
    lips, sound = LipEmbeddings(mode), SoundEmbeddings()  # type: ignore[arg-type]
    network = syncnet.SyncNet().eval().requires_grad_(False)
    load_strictly(network, torch.load(networks / "syncnet_v2.model", weights_only=True), "syncnet-v2")
    lips.network = sound.network = network
    lips.detector.network = s3fd.S3FDNet().eval()
    load_strictly(lips.detector.network, torch.load(networks / "sfd_face.pth", weights_only=True), "s3fd-sfd-face")
    features = {lips.id: lips.extract(clip), sound.id: sound.extract(clip)}
    return METRICS[f"lse-{mode}-d"](min_track=10).clip_value(Pair("c", "p", lambda side, name: features[name])).extra


def test_the_score_equals_that_of_the_pipelines_own_scripts(program, networks, tmp_path, monkeypatch):
    pytest.importorskip("python_speech_features")
    folder = os.environ.get("FLOATBENCH_SRC_SYNCNET")
    if not folder:
        pytest.skip("set FLOATBENCH_SRC_SYNCNET to a checkout of joonson/syncnet_python")
    clip = _clip()
    assert clip.audio is not None
    write_lossless(tmp_path / "mute.mkv", clip.frames)
    write_wav(tmp_path / "sound.wav", clip.audio)
    both = ["-i", tmp_path / "mute.mkv", "-i", tmp_path / "sound.wav", "-c", "copy", tmp_path / "clip.mkv"]
    _run(program, *both)
    track = _pipeline(Path(folder), program, networks, tmp_path / "clip.mkv", tmp_path, monkeypatch)
    (offset, confidence, table), heard = _evaluation(Path(folder), networks, track, tmp_path, monkeypatch)
    # Two things of the pipeline's AVI are no part of ours: the sound becomes MP3, which comes late by the encoder's
    # 1105 samples, and its muxer makes up for that by showing the first frames twice. All else must be equal.
    dumped, mine = _pictures(tmp_path / "pyframes" / "clip"), codecs.dump_frames(clip.frames)
    order = [int(np.flatnonzero((mine == picture).all(axis=(1, 2, 3)))[0]) for picture in dumped]
    assert order == sorted(order) and sorted(set(order)) == list(range(FRAMES)) and len(order) <= FRAMES + 2
    monkeypatch.setattr(codecs, "dump_frames", lambda frames: mine[order])
    found = _ours(networks, ClipMedia(mine[order], heard), "ffmpeg")
    assert found["windows"] == len(table) == len(order) - 5
    assert found["distance"] == pytest.approx(float(table.mean(0).min()), rel=1e-4)
    assert found["confidence"] == pytest.approx(float(confidence), rel=1e-4)
    assert found["offset"] == int(offset)
    lossless = _ours(networks, clip, "direct")
    print({"pipeline": float(table.mean(0).min()), "ffmpeg": found["distance"], "direct": lossless["distance"]})
    assert lossless["distance"] != pytest.approx(found["distance"], rel=1e-4)  # the lossy steps do change the number
