"""How often a judge prefers a recording's own sound, on faces and sounds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_faces import features, mesh

from floatbench.errors import ClipError, UsageError
from floatbench.metrics import registry, sets, syncnet
from floatbench.metrics.base import Pair
from floatbench.metrics.judge import METRICS, preferred
from floatbench.metrics.speech_activity import loudness

FRAMES = 120


def pair(sides, name="c", person="p"):
    return Pair(name, person, lambda side, backbone: {"reference": sides}[side][backbone])  # no other side is read


def spoken(seed: int, late: int = 0, frames: int = FRAMES) -> dict[str, dict]:
    """A jaw that follows a loudness of its own, with the sound that many frames late."""
    loud = np.random.default_rng(seed).uniform(0.1, 1, frames + 60)
    heard = loud[30 - late : 30 - late + frames]
    return {"mp-landmarker": features(frames, shapes={25: loud[30 : 30 + frames]}), "audio-envelope": {"rms": heard}}


def networks(seed: int, late: int = 0, frames: int = FRAMES) -> dict[str, dict]:
    """SyncNet features in which each lip window is its sound window, that many frames late."""
    rows = np.random.default_rng(seed).normal(size=(frames + 60, 1024)).astype(np.float32)
    lips, sound = rows[30 : 30 + frames - 4], rows[30 - late : 30 - late + frames - 5]
    track = np.array([0, frames, frames, 200], np.float32)
    count = np.array([frames])
    return {
        "syncnet-lip": {"lips": lips, "track": track, "tracks": track[None, 2:], "frames": count},
        "syncnet-sound": {"sound": sound, "sound_cut": sound, "frames": count},
    }


@pytest.mark.parametrize(("variant", "made"), [("judge-acc-avcorr", spoken), ("judge-acc-lse-direct", networks)])
def test_a_judge_that_hears_the_own_place_is_always_right(variant, made):
    found = registry.metric(variant).clip_value(pair(made(0)))
    assert found.value == 1 and found.extra["at_1"] == 1
    assert found.extra["offset"] == 0


@pytest.mark.parametrize(("variant", "made"), [("judge-acc-avcorr", spoken), ("judge-acc-lse-direct", networks)])
def test_sound_that_was_recorded_late_costs_the_comparison_on_its_side_only(variant, made):
    found = registry.metric(variant).clip_value(pair(made(0, late=5)))
    assert found.extra["offset"] == 5
    assert found.value in (0, 0.5)  # the sound taken 5 frames later fits perfectly


def test_the_offset_of_the_network_has_the_sign_of_the_other_judge_and_not_that_of_lse():
    sides = networks(0, late=3)
    assert registry.metric("judge-acc-lse-direct").clip_value(pair(sides)).extra["offset"] == 3
    table = syncnet.distances(sides["syncnet-lip"]["lips"][:-1], sides["syncnet-sound"]["sound"])
    assert syncnet.judge(table).offset == -3


def test_a_judge_that_sees_no_difference_is_right_half_of_the_time():
    still = spoken(0) | {"mp-landmarker": features(FRAMES)}
    assert registry.metric("judge-acc-avcorr").clip_value(pair(still)).value == 0.5
    assert [preferred(*fits) for fits in ((2, 1), (1, 2), (1, 1))] == [1, 0, 0.5]


def test_the_judge_of_opening_and_loudness_reads_them_on_frames_of_speech():
    """A mouth that opens as the sound is loud, in blocks of 50 ms, and speech throughout."""
    rng = np.random.default_rng(0)
    sound = {"speech": np.ones(FRAMES * 640 // 512, np.float32), "rms": rng.uniform(0.1, 1, 1 + FRAMES * 640 // 800)}
    face = mesh(FRAMES)
    for point in (191, 80, 81, 82, 13, 312, 311, 310):
        face[:, point, 1] = 100.0
    for point in (95, 88, 178, 87, 14, 317, 402, 318):
        face[:, point, 1] = 110.0 + 30 * loudness(sound, FRAMES)
    sides = {"mp-landmarker": features(FRAMES, pixels=face), "silero-vad": sound}
    found = registry.metric("judge-acc-theval-lipsync").clip_value(pair(sides))
    assert found.value == 1 and found.extra["offset"] == 0
    other = sides | {"silero-vad": sound | {"rms": rng.uniform(0.1, 1, 1 + FRAMES * 640 // 800)}}
    score = registry.metric("judge-acc-theval-lipsync").reduce([pair(sides, "a", "p"), pair(other, "b", "q")])
    assert score.details["swapped_lipsync"] >= 0.5  # the first clip's own sound fits perfectly


def test_the_sound_of_other_people_is_tried_and_never_that_of_the_same_person():
    own = [pair(networks(k), f"c{k}", f"p{k}") for k in range(3)]
    score = registry.metric("judge-acc-lse-direct").reduce(own)
    assert score.value == 1 and score.details["swapped_lse_d"] == score.details["swapped_lse_c"] == 1
    alone = [pair(networks(k), f"c{k}", "p") for k in range(3)]
    assert "swapped_lse_d" not in registry.metric("judge-acc-lse-direct").reduce(alone).details


def test_a_shorter_sound_of_another_is_compared_with_an_equally_long_part():
    clips = [pair(spoken(0), "a", "p"), pair(spoken(1, frames=60), "b", "q")]
    assert registry.metric("judge-acc-avcorr").reduce(clips).details["swapped_avcorr"] == 1


def test_too_short_clips_and_impossible_shifts_are_refused():
    with pytest.raises(ClipError, match="too_short"):
        registry.metric("judge-acc-avcorr").clip_value(pair(spoken(0, frames=30)))
    with pytest.raises(ClipError, match="too_short"):
        registry.metric("judge-acc-lse-direct").clip_value(pair(networks(0, frames=35)))
    with pytest.raises(UsageError, match="shift must be 1 to 15"):
        registry.metric("judge-acc-avcorr", shift=16)


def offsets(*classes: int) -> dict[str, dict]:
    """Synchformer's logits, a row a window, whose most probable offset is so many steps of 0.2 s from 0."""
    steps = np.arange(-10, 11)
    return {"synchformer": {"logits": np.stack([-np.abs(steps - k) for k in classes]).astype(np.float32)}}


def test_the_judge_that_answers_with_an_offset_prefers_the_class_that_it_finds_most_probable():
    judge = registry.metric("judge-acc-desync")
    found = judge.clip_value(pair(offsets(0)))
    assert found.value == 1 and found.extra == {"at_5": 1, "at_10": 1, "at_15": 1, "offset": 0}
    early = judge.clip_value(pair(offsets(1)))  # the sound comes 0.2 s too early: taken 5 frames earlier, it would fit
    assert early.value == 0.5 and early.extra["offset"] == -5
    assert early.extra["at_10"] == 0.75 and early.extra["at_15"] == 1  # at 10 one side is as far away as 0 is: a tie
    even = {"synchformer": {"logits": np.zeros((2, 21), np.float32)}}
    assert judge.clip_value(pair(even)).value == 0.5


def test_windows_of_an_offset_judge_speak_together_and_no_stranger_s_sound_is_tried():
    judge = registry.metric("judge-acc-desync")
    assert judge.clip_value(pair(offsets(-1, 0, 1))).value == 1  # summed distances: 2 at 0, 3 at either side
    score = judge.reduce([pair(offsets(0), "a", "p"), pair(offsets(3), "b", "q")])
    assert score.value == 0.75 and not [name for name in score.details if name.startswith("swapped")]
    with pytest.raises(UsageError, match="shift must be a multiple of 5 frames, got 7"):
        registry.metric("judge-acc-desync", shift=7)
    assert registry.metric("judge-acc-desync", shift=15).clip_value(pair(offsets(3))).value == 0.5


NO_JUDGES = {"beat-align", "theval-silent-lips"}
"""They read the sound and say nothing about when it comes: beats of the head, lips in pauses."""


def test_every_judge_of_sync_is_asked():
    """Whatever metric reads the sound has a judge of its own name, or one that looks and hears through the same."""
    asked = {backbones for name in METRICS for backbones in [registry.metric(name).info.backbones]}
    for name in registry.metric_ids():
        info = registry.metric(name).info
        if info.needs_audio and name.removesuffix("-gap") not in NO_JUDGES:
            assert info.backbones in asked, f"{name} has no judge-acc-..."
    for judge in ("avcorr", "avcorr-lips", "theval-lipsync", "desync"):
        assert f"judge-acc-{judge}" in METRICS  # of those that share a network each has its own


def test_a_set_with_a_judge_of_sync_asks_how_far_it_can_be_trusted():
    for name in ("sync", "recent"):
        members = [registry.metric(variant).info for variant in sets.members(name)]
        asked = {info.backbones for info in members if info.id in METRICS}
        assert {info.backbones for info in members if info.needs_audio} == asked != set()
