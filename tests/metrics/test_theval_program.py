"""THEval's own program beside ours: the same meshes, sounds and probabilities of speech into both.

The golden numbers of a drawn track are in the ordinary suite. The program itself needs `FLOATBENCH_SRC_THEVAL`, a
checkout of Newbyl/THEval at cfe23fe1, and `FLOATBENCH_SITE_THEVAL`, a folder with its requirements
(tests/golden/make_theval.py says which); on recordings also `FLOATBENCH_SILERO`, as in test_theval.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import pair

from floatbench.errors import ClipError
from floatbench.media import read_clip
from floatbench.metrics import registry
from floatbench.metrics.landmarker import FaceLandmarker
from floatbench.metrics.speech_activity import SpeechActivity
from floatbench.types import ClipMedia, Features
from tests.golden.make_theval import FRAMES, SIZE, Program, drawn, probabilities

GOLDEN = json.loads((Path(__file__).parent / "golden_theval.json").read_text())["values"]
CLIPS = ("LipNet/lwbsza.mpg", "SadTalker/WDA_AlexandriaOcasioCortez_000.mp4", "video-retalking/2.mp4")
LONGEST = 75
DRAWN, REAL = 1e-6, 1e-4
"""Largest differences allowed: of a drawn track relatively (its features are float32), of recordings (as promised)."""


def _ours(face: Features, sound: Features, variant: str) -> float:
    value = registry.metric(variant).clip_value(pair({"mp-landmarker": face, "silero-vad": sound})).value
    assert value is not None
    return value


def _sound(wave: np.ndarray, speech: np.ndarray) -> Features:
    """Loudness from our extraction, the probabilities as given instead of the network's."""
    activity = SpeechActivity()
    activity.load = lambda device="cpu": None
    activity._probabilities = lambda sound: speech
    return activity.extract(ClipMedia(np.zeros((1, 8, 8, 3), np.uint8), wave))


@pytest.mark.parametrize("variant", sorted(GOLDEN))
def test_a_drawn_track_has_the_numbers_of_the_program(variant):
    face, wave = drawn()
    assert _ours(face, _sound(wave, probabilities()), variant) == pytest.approx(GOLDEN[variant], rel=DRAWN)


def test_loudness_is_that_of_the_50_ms_around_its_time():
    wave = np.zeros(8000, np.int16)
    wave[3600:4400] = 8192
    np.testing.assert_array_equal(_sound(wave, probabilities())["rms"], [0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0, 0])


@pytest.fixture(scope="module")
def program() -> Program:
    folders = [os.environ.get(name) for name in ("FLOATBENCH_SRC_THEVAL", "FLOATBENCH_SITE_THEVAL")]
    if not all(folders):
        pytest.skip("FLOATBENCH_SRC_THEVAL names no checkout of THEval, or FLOATBENCH_SITE_THEVAL no requirements")
    checkout, site = (Path(folder) for folder in folders if folder)
    return Program(checkout, site)


@pytest.mark.peers
def test_the_golden_numbers_are_the_programs(program):
    face, wave = drawn()
    theirs = program.values(np.zeros((FRAMES, *SIZE, 3), np.uint8), face, wave, probabilities())
    assert theirs == pytest.approx(GOLDEN, rel=1e-9)


@pytest.mark.peers
def test_a_step_over_frames_without_a_face_counts_for_the_program_and_not_here(program):
    face, wave = drawn()
    face["found"][20:24] = False
    pictures = np.zeros((FRAMES, *SIZE, 3), np.uint8)
    theirs = program.values(pictures, face, wave, probabilities())
    sound = _sound(wave, probabilities())
    cut = {name: array if name == "size" else array[face["found"]] for name, array in face.items()}
    for variant in ("theval-brows", "theval-head-motion-mp"):
        assert _ours(cut, sound, variant) == pytest.approx(theirs[variant], rel=DRAWN)
        assert _ours(face, sound, variant) != pytest.approx(theirs[variant], rel=1e-4)
    for variant in ("theval-lip-dynamics", "theval-silent-lips", "theval-lipsync"):
        assert _ours(face, sound, variant) == pytest.approx(theirs[variant], rel=DRAWN)


@pytest.mark.peers
@pytest.mark.parametrize("name", CLIPS)
def test_recordings_have_the_numbers_of_the_program(program, shared, name):
    folder = os.environ.get("FLOATBENCH_SILERO")
    if not folder:
        pytest.skip("FLOATBENCH_SILERO names no folder with silero_vad_16k_op15.onnx")
    whole = read_clip(shared / "data" / "real" / "video" / name)
    assert whole.audio is not None
    clip = ClipMedia(whole.frames[:LONGEST], whole.audio[: LONGEST * 640])
    face = FaceLandmarker(shared / "data" / "models" / "face_landmarker_v2_with_blendshapes.task").extract(clip)
    sound = SpeechActivity(Path(folder) / "silero_vad_16k_op15.onnx").extract(clip)
    theirs = program.values(clip.frames, face, whole.audio[: LONGEST * 640], sound["speech"])
    for variant, value in theirs.items():
        if np.isnan(value):
            with pytest.raises(ClipError, match="too_short"):
                _ours(face, sound, variant)
            continue
        ours = _ours(face, sound, variant)
        print(f"{name} {variant} theirs {value:.6f} ours {ours:.6f} apart {abs(ours - value):.1e}")
        assert ours == pytest.approx(value, abs=REAL)
