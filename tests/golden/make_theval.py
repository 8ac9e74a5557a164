"""Writes tests/metrics/golden_theval.json: what THEval's own program says of a drawn track of meshes and its sound.

Run from the repository root, with a checkout of github.com/Newbyl/THEval (nothing of it is kept here) and a folder with
the wheels of its requirements that are needed (`uv pip install --target SITE --no-deps silero-vad==5.1.2
librosa==0.11.0 lazy_loader joblib cloudpickle numba llvmlite msgpack decorator`):

    FLOATBENCH_SRC_THEVAL=CHECKOUT FLOATBENCH_SITE_THEVAL=SITE python -m tests.golden.make_theval

Its modules run as they are: their loops over a video, their formulas, Silero's own rules for stretches of speech,
librosa's loudness. What stands in for networks are their answers: meshes, probabilities of speech and the angles
of the head are given, to the program and to floatbench alike.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

from floatbench.media import write_lossless
from floatbench.metrics import face_points as points
from floatbench.metrics.landmarker import stack_measures
from floatbench.types import FPS, Features

COMMIT = "cfe23fe1804c29bbc1b84fe6eeb2cd94c24098f5"
STUBBED = ("mediapipe", "moviepy", "moviepy.editor", "decord", "pydub", "retinaface", "torchaudio")
"""Modules that theirs import and that are not asked here: networks and readers of files."""
FRAMES, SIZE = 60, (200, 400)


def drawn() -> tuple[Features, np.ndarray]:
    """Features of a face that wanders, turns, lifts its brows and speaks; (N,) int16 sound of 2.4 s."""
    rng = np.random.default_rng(2511)
    mesh = np.repeat(np.array([200, 100]) + rng.uniform(-60, 60, (1, 478, 2)), FRAMES, axis=0)
    for which, middle in ((points.RIGHT_EYE, (160, 80)), (points.LEFT_EYE, (240, 80))):
        mesh[:, which] += middle - mesh[:, which].mean(axis=1, keepdims=True)
    mesh += np.cumsum(rng.normal(0, 1, (FRAMES, 1, 2)), axis=0) + rng.normal(0, 0.5, mesh.shape)
    mesh[:, points.INNER_LOWER, 1] += rng.uniform(0, 12, (FRAMES, 1))
    made = {name: np.repeat(array, FRAMES, axis=0) for name, array in stack_measures([None]).items()}
    made |= {"found": np.ones(FRAMES, bool), "faces": np.ones(FRAMES, np.int32), "size": np.array(SIZE, np.int32)}
    made["mesh"] = (mesh / (SIZE[1], SIZE[0])).astype(np.float32)
    made["rotation"] = np.radians(np.cumsum(rng.normal(0, 0.6, (FRAMES, 3)), axis=0)).astype(np.float32)
    gains = np.repeat(rng.uniform(500, 4000, FRAMES * 2), 320)
    return made, (gains * rng.standard_normal(640 * FRAMES)).clip(-32768, 32767).astype(np.int16)


def probabilities() -> np.ndarray:
    """(75,) probability of speech of each 32 ms: two stretches, neither of which begins or ends on a tenth."""
    speech = np.full(75, 0.1, np.float32)
    speech[14:34], speech[49:66] = 0.9, 0.8
    return speech


class Program:
    """THEval's modules from a checkout, with the answers of networks given."""

    def __init__(self, checkout: Path, site: Path) -> None:
        sys.path.append(str(site))
        with _stubbed():
            self.lips = _module(checkout / "Naturalness" / "lip_dynamics.py")
            self.brows = _module(checkout / "Naturalness" / "eyebrow_dynamics.py")
            self.head = _module(checkout / "Naturalness" / "head_motion_dynamics.py")
            self.silent = _module(checkout / "Synchronization" / "silent_lip_stability.py")
            self.sync = _module(checkout / "Synchronization" / "lip_sync.py")

    def values(self, pictures: np.ndarray, face: Features, sound: np.ndarray, speech: np.ndarray) -> dict[str, float]:
        """By variant, for a clip of these (T, H, W, 3) pictures, mesh, (N,) int16 sound and probabilities of speech."""
        with tempfile.TemporaryDirectory() as folder:
            video = Path(folder) / "clip.mkv"
            write_lossless(video, pictures)
            return self._of_mesh(video, face) | self._of_sound(video, pictures, face, sound, speech)

    def _of_mesh(self, video: Path, face: Features) -> dict[str, float]:
        self.lips.mp_face_mesh, self.brows.mp_face_mesh = _Meshes(face), _Meshes(face)
        found = face["found"].astype(bool)
        mesh = (face["mesh"].astype(np.float64) * face["size"][::-1])[found, :468]
        angles = np.degrees(face["rotation"].astype(np.float64))[found].T
        box = (mesh.min(axis=1) + mesh.max(axis=1)).T / 2
        return {
            "theval-lip-dynamics": float(self.lips.compute_mouth_diversity(str(video))),
            "theval-brows": float(self.brows.compute_micro_expression_intensity(str(video))),
            "theval-head-motion-mp": float(self.head.measure_head_motion_dynamics(*angles, *box)),
        }

    def _of_sound(
        self, video: Path, pictures: np.ndarray, face: Features, sound: np.ndarray, speech: np.ndarray
    ) -> dict[str, float]:
        wave = sound.astype(np.float32) / 32768
        for module in (self.silent, self.sync):
            module.vad_model, module.read_audio = _Voice(speech), lambda path: torch.from_numpy(wave)
        quiet = self.silent.detect_silence_frames("clip.wav", FPS, len(pictures))
        self.silent.face_mesh = _Meshes(face, sorted(quiet))
        self.sync.face_mesh, self.sync.VideoReader = _Meshes(face), lambda path, ctx: _Reader(pictures)
        return {
            "theval-silent-lips": float(self.silent.process_video(str(video), quiet)),
            "theval-lipsync": float(self.sync.process_video(str(video), wave, 16000, "clip.wav")),
        }


@contextmanager
def _stubbed() -> Iterator[None]:
    """What is imported meanwhile stays imported, the stubs do not."""
    before = {name: sys.modules.get(name) for name in STUBBED}
    sys.modules.update({name: MagicMock() for name in STUBBED})
    yield
    for name, module in before.items():
        del sys.modules[name]
        if module is not None:
            sys.modules[name] = module


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"theval_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Meshes:
    """Answers like MediaPipe's FaceMesh, one frame after the other."""

    def __init__(self, face: Features, frames: list[int] | None = None) -> None:
        self._face = face
        self._frames = iter(range(len(face["found"])) if frames is None else frames)

    def process(self, picture: np.ndarray) -> SimpleNamespace:
        frame = next(self._frames)
        if not self._face["found"][frame]:
            return SimpleNamespace(multi_face_landmarks=None)
        found = [SimpleNamespace(x=float(x), y=float(y)) for x, y in self._face["mesh"][frame]]
        return SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=found)])


class _Voice:
    """Answers like Silero's network, one chunk after the other."""

    def __init__(self, speech: np.ndarray) -> None:
        self._speech = speech
        self.reset_states()

    def reset_states(self) -> None:
        self._chunks = iter(self._speech)

    def __call__(self, chunk: object, rate: int) -> np.float32:
        return next(self._chunks)


class _Reader:
    """Answers like decord's VideoReader."""

    def __init__(self, pictures: np.ndarray) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def get_avg_fps(self) -> float:
        return FPS

    def get_batch(self, frames: range) -> SimpleNamespace:
        return SimpleNamespace(asnumpy=lambda: self._pictures[list(frames)])


if __name__ == "__main__":
    theirs = Program(Path(os.environ["FLOATBENCH_SRC_THEVAL"]), Path(os.environ["FLOATBENCH_SITE_THEVAL"]))
    face, sound = drawn()
    values = theirs.values(np.zeros((FRAMES, *SIZE, 3), np.uint8), face, sound, probabilities())
    golden = {"reference": f"github.com/Newbyl/THEval at {COMMIT}", "values": values}
    Path("tests/metrics/golden_theval.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps(values, indent=1))
