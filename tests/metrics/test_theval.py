"""THEval's measures on drawn faces and drawn speech, in closed form; the real voice activity network where it is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from drawn_faces import EYES, features, mesh, pair
from scipy.spatial.distance import pdist

from floatbench import weights
from floatbench.errors import ClipError
from floatbench.media import read_clip
from floatbench.metrics import face_points as points
from floatbench.metrics import registry
from floatbench.metrics.avcorr import AudioEnvelope
from floatbench.metrics.speech_activity import SpeechActivity, loudness, speaks, spoken
from floatbench.types import ClipMedia

T = np.arange(60.0)
WAVE = np.sin(2 * np.pi * T / 20)


def value(variant, face, speech=None):
    sides = {"mp-landmarker": face} | ({} if speech is None else {"silero-vad": speech})
    return registry.metric(variant).clip_value(pair(sides))


def opening_lips(size=(256, 256)):
    """Lips that grow and shrink about their middle by 10 %; the deviation of each distance is 0.1/sqrt(2) of it."""
    drawn = mesh(60)
    lips = drawn[:, points.LIPS]
    drawn[:, points.LIPS] = lips.mean(axis=1, keepdims=True) + (lips - lips.mean(axis=1, keepdims=True)) * (
        1 + 0.1 * WAVE[:, None, None]
    )
    return features(60, pixels=drawn, size=size), pdist(lips[0]).mean() * 0.1 / np.sqrt(2)


def test_lip_dynamics_are_the_deviation_of_780_distances_on_the_squashed_frame():
    face, expected = opening_lips()
    assert value("theval-lip-dynamics", face).value == pytest.approx(expected, rel=1e-4)
    assert value("lip-dynamics", face).value == pytest.approx(expected / EYES, rel=1e-4)


def test_a_smaller_face_moves_its_lips_less_for_theval_and_as_much_without_scale():
    (face, expected), (small, _) = opening_lips(), opening_lips(size=(512, 512))
    assert value("theval-lip-dynamics", small).value == pytest.approx(expected / 2, rel=1e-4)
    assert value("lip-dynamics", small).value == pytest.approx(value("lip-dynamics", face).value, rel=1e-4)


def test_no_face_at_all_has_no_lip_dynamics_for_theval_and_is_a_failure_without_scale():
    blind = features(60, missing=slice(None))
    assert value("theval-lip-dynamics", blind).value == 0
    with pytest.raises(ClipError, match="no_face"):
        value("lip-dynamics", blind)


def test_head_motion_is_the_root_of_turning_and_moving():
    drawn = mesh(60)
    drawn[:, :, 0] += 8 * WAVE[:, None]
    degrees = np.stack([0 * T, 5 * WAVE, 0 * T], axis=1)
    moving, turning = 8**2 / 2 / 2, (5 / np.sqrt(2) / 3) * (np.diff(5 * WAVE).var() / 3)
    found = value("theval-head-motion-mp", features(60, degrees=degrees, pixels=drawn))
    assert found.extra["turning"] == pytest.approx(turning, rel=1e-4)
    assert found.extra["moving"] == pytest.approx(moving, rel=1e-4)
    assert found.value == pytest.approx(np.sqrt(moving + turning), rel=1e-4)
    free = value("head-motion", features(60, degrees=degrees, pixels=drawn))
    assert free.extra["moving"] == pytest.approx(moving * (100 / EYES) ** 2, rel=1e-4)


def test_twice_the_pixels_are_twice_the_motion_for_theval_only():
    drawn = mesh(60)
    drawn[:, :, 0] += 8 * WAVE[:, None]
    once, twice = features(60, pixels=drawn), features(60, pixels=2 * drawn, size=(400, 800))
    ratio = {v: value(v, twice).value / value(v, once).value for v in ("theval-head-motion-mp", "head-motion")}
    assert ratio["theval-head-motion-mp"] == pytest.approx(2, rel=1e-4)
    assert ratio["head-motion"] == pytest.approx(1, rel=1e-4)


def test_brows_count_every_step_over_the_distance_of_the_eyes():
    drawn = mesh(60)
    for brow, eye in ((points.RIGHT_BROW, points.RIGHT_EYE), (points.LEFT_BROW, points.LEFT_EYE)):
        above = drawn[0, eye].mean(axis=0) - np.array([0, 20])
        drawn[:, brow] += above - drawn[0, brow].mean(axis=0)
        drawn[:, brow, 1] -= (2 * (T % 2))[:, None]
    assert value("theval-brows", features(60, pixels=drawn)).value == pytest.approx(2 / EYES, rel=1e-3)


def speech(*stretches: tuple[float, float], seconds: float = 2.4, rms: np.ndarray | None = None):
    """Chunks of 32 ms with a probability of 1 within these seconds, and loudness every 50 ms."""
    starts = np.arange(int(np.ceil(seconds * 16000 / 512))) * 0.032
    inside = np.any([(starts >= a) & (starts < b) for a, b in stretches], axis=0)
    loud = np.zeros(int(seconds / 0.05)) if rms is None else rms
    return {"speech": inside.astype(np.float32), "rms": loud.astype(np.float32)}


def lips_apart(gap: np.ndarray):
    """(60,) pixels between all eight pairs of the inner lips; the eyes' outer corners are 80 pixels apart."""
    drawn = mesh(60)
    drawn[:, points.INNER_UPPER, 1], drawn[:, points.INNER_LOWER, 1] = 120.0, (120 + gap)[:, None]
    for index, x in ((33, 160.0), (263, 240.0)):
        drawn[:, index] = (x, 80.0)
    return features(60, pixels=drawn, size=(256, 256))


def test_lips_in_pauses_are_judged_by_their_median_distance_from_the_mean_gap():
    gap = np.where(T < 28, 20.0, 4 + 2 * (T % 2))  # wide in speech, trembling by 1 pixel around 5 in the pause
    found = value("theval-silent-lips", lips_apart(gap), speech((0, 1.0)))
    assert found.value == pytest.approx(1 / 80, rel=1e-3)
    assert found.extra["frames"] == 32  # speech ends at 1.054 s, 1.1 s when rounded, within frame 27


def test_without_a_long_pause_there_is_no_number():
    with pytest.raises(ClipError, match="too_short"):
        value("theval-silent-lips", lips_apart(0 * T + 5), speech((0, 2.4)))


def test_lipsync_is_0_for_a_mouth_that_follows_the_loudness_and_blind_to_scale():
    rms = np.linspace(0.1, 0.3, 48)
    rises = speech((0, 2.4), rms=rms)
    assert value("theval-lipsync", lips_apart(5 + 3 * loudness(rises, 60)), rises).value == pytest.approx(0, abs=1e-3)
    falls = value("theval-lipsync", lips_apart(20 - 3 * loudness(rises, 60)), rises).value
    assert falls == pytest.approx(0.5, abs=0.03)  # mean of abs(1 - 2 x)


def test_under_a_tenth_of_speech_there_is_no_lipsync():
    with pytest.raises(ClipError, match="too_short"):
        value("theval-lipsync", lips_apart(0 * T + 5), speech((0, 0.1)))


def test_stretches_of_speech_end_at_pauses_and_grow_by_a_margin():
    probabilities = np.zeros(100)
    probabilities[10:30] = 0.9
    probabilities[20:22] = 0.4  # no pause: above 0.35
    probabilities[24:26] = 0.1  # a pause of 64 ms is none
    probabilities[40:45] = 0.9  # 160 ms of speech are none
    probabilities[60:] = 0.9
    assert spoken(probabilities, 3.2) == [
        (pytest.approx(0.32 - 0.03), pytest.approx(0.96 + 0.03)),
        (pytest.approx(1.92 - 0.03), pytest.approx(3.2)),
    ]


def test_both_ends_of_speech_are_rounded_to_tenths_and_their_frames_belong_to_it():
    inside = speaks(speech((0.64, 1.6)), 60)
    assert inside.nonzero()[0].tolist() == list(range(15, 41))  # 0.61 s to 1.63 s, rounded 0.6 s to 1.6 s


def test_a_tenth_of_speech_counts_with_and_without_a_face():
    """Speech in frames 7 to 17 of 60, a face in three of these."""
    face = features(60, missing=slice(8, 16))
    found = value("theval-lipsync", face, speech((0.3, 0.7), rms=np.linspace(0.1, 0.3, 49)))
    assert found.extra["frames"] == 3


@pytest.fixture
def voice():
    """The real network, from the folder that FLOATBENCH_SILERO names."""
    folder = os.environ.get("FLOATBENCH_SILERO")
    if not folder:
        pytest.skip("FLOATBENCH_SILERO names no folder with silero_vad_16k_op15.onnx")
    return SpeechActivity(Path(folder) / "silero_vad_16k_op15.onnx")


def test_the_network_hears_speech_and_not_noise(voice, shared):
    clip = read_clip(shared / "data" / "real" / "video" / "LipNet" / "lwbsza.mpg")
    speaking = voice.extract(clip)
    noise = (np.random.default_rng(0).standard_normal(len(clip.audio)) * 500).astype(np.int16)
    assert speaking["speech"].max() > 0.9
    assert voice.extract(ClipMedia(clip.frames, noise))["speech"].max() < 0.5


def test_no_clip_depends_on_the_one_before(voice, shared):
    clip = read_clip(shared / "data" / "real" / "video" / "LipNet" / "lwbsza.mpg")
    first = voice.extract(clip)["speech"]
    np.testing.assert_array_equal(first, voice.extract(clip)["speech"])


def test_the_weights_are_one_file_of_a_wheel_with_a_hash():
    entry = weights.entry("silero-vad")
    assert entry.urls[0].endswith(".whl") and entry.sha256 and entry.commercial
    assert set(entry.used_by) < set(registry.metric_ids())
    assert registry.backbone("audio-envelope").id == AudioEnvelope.id
