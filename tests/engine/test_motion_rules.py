"""What the control rules say of measures of motion, on scores that were made up."""

from __future__ import annotations

import pytest

from floatbench.engine.control_rules import RULES, check_controls
from floatbench.engine.records import MetricRecord, ScoreRow
from floatbench.metrics import movement, registry

GOOD = {
    "reference": 3.0, "reencoded": 3.1, "frozen": 0.0, "frozen-reencoded": 0.2, "shifted:5": 3.0, "shifted:20": 3.0,
    "swapped": 3.0, "wrong-identity": 4.0, "mirrored": 2.9, "jitter:4": 9.0, "crop-drift:8": 3.2,
}  # fmt: skip
GAP = {
    "reference": 0.0, "reencoded": 0.05, "frozen": 1.0, "frozen-reencoded": 0.8, "shifted:5": 0.0, "shifted:20": 0.0,
    "swapped": 0.0, "wrong-identity": 0.3,
}  # fmt: skip


def broken(variant: str, values: dict[str, float]) -> set[str]:
    """The rules that these scores break."""
    info = registry.metric(variant).info
    record = MetricRecord.model_construct(column=info.column, higher_is_better=info.higher_is_better)
    cells = [ScoreRow.model_construct(method=name, metric=variant, value=value) for name, value in values.items()]
    checks = check_controls({variant: record}, cells)
    assert checks
    return {check.rule for check in checks if not check.held}


def test_every_measure_has_its_row_but_the_one_that_no_control_can_answer():
    """`control-leak` compares two edits of one method."""
    columns = {variant: registry.metric(variant).info.column for variant in registry.metric_ids()}
    judged = {variant for variant, column in columns.items() if {column, column.partition(" (")[0]} & RULES.keys()}
    assert columns.keys() - judged == {"control-leak"}


@pytest.mark.parametrize("variant", ["psnr-grey128", "psnr-rgb"])
def test_a_picture_that_is_not_the_reference_s_own_is_found_out(variant):
    good = {"reference": 100.0, "shifted:20": 100.0, "reencoded": 44.0}
    assert broken(variant, good) == set()
    assert broken(variant, good | {"shifted:20": 40.0}) == {"sound changes nothing"}


@pytest.mark.parametrize("variant", [name for name in movement.METRICS if name != "control-leak"])
def test_every_measure_of_motion_has_its_own_row_and_a_good_judge_breaks_none(variant):
    assert registry.metric(variant).info.column in RULES
    assert broken(variant, GAP if variant.endswith("-gap") else GOOD) == set()


@pytest.mark.parametrize(
    ("variant", "wrong", "rule"),
    [
        ("head-div", {"frozen-reencoded": 1.5}, "frozen-reencoded below a quarter of reference"),
        ("head-div", {"frozen": 0.1}, "frozen is 0"),
        ("head-div", {"mirrored": 2.0}, "mirrored about equal to reference"),
        ("head-div", {"crop-drift:8": 6.0}, "crop-drift:8 about equal to reference"),
        ("blinks", {"swapped": 3.5}, "sound changes nothing"),
        ("smooth", {"jitter:4": 3.0}, "jitter:4 far worse than reference"),
        ("flicker-face", {"frozen-reencoded": 2.0}, "frozen-reencoded below a quarter of reference"),
    ],
)
def test_a_judge_that_reads_something_else_is_found_out(variant, wrong, rule):
    assert broken(variant, GOOD | wrong) == {rule}


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        (dict.fromkeys(("reference", "shifted:5", "shifted:20", "swapped"), 0.1), "reference is 0"),
        ({"frozen-reencoded": 0.4}, "frozen-reencoded above a half"),
        ({"wrong-identity": 0.01}, "wrong-identity far worse than reencoded"),
    ],
)
def test_a_gap_that_does_not_tell_a_still_picture_or_another_person_is_found_out(wrong, rule):
    assert broken("gaze-gap", GAP | wrong) == {rule}


def test_clips_in_which_nobody_blinks_judge_nothing():
    cells = dict.fromkeys(GOOD, 0.0)
    assert broken("blinks", cells) == set()


@pytest.mark.parametrize(
    ("variant", "seen"),
    [
        ("drift-csim", "wrong-identity:0.5"),
        ("drift-sharpness", "fade:20"),
        ("drift-sharpness-frame", "fade:20"),
        ("drift-colour", "fade:20"),
        ("drift-place", "crop-drift:8"),
        ("drift-place-tiny", "crop-drift:8"),
        ("drift-lips", "freeze:0.5"),
        ("drift-lse-c", "swapped:0.5"),
        ("drift-avcorr", "swapped:0.5"),
    ],
)
def test_a_drift_must_see_its_own_control_and_neither_the_reference_nor_its_encoding(variant, seen):
    good = {"reference": 0.10, "reencoded": 0.12, "frozen": 0.0, seen: 0.5}
    assert broken(variant, good) == set()
    assert broken(variant, good | {seen: 0.11}) == {f"{seen} drifts", f"reencoded drifts less than {seen}"}
    assert broken(variant, good | {"reencoded": 0.3}) == {f"reencoded drifts less than {seen}"}


def test_a_drift_that_finds_something_in_a_still_picture_is_found_out():
    assert broken("drift-colour", {"reference": 0.1, "frozen": 0.01}) == {"frozen is 0"}


def test_a_judge_of_sync_that_tosses_a_coin_or_depends_on_the_method_is_found_out():
    good = {"reference": 0.9, "shifted:20": 0.9, "swapped": 0.9}
    assert broken("judge-acc-avcorr", good) == set()
    assert broken("judge-acc-lse-wholeframe", dict.fromkeys(good, 0.5)) == {"better than chance"}
    assert broken("judge-acc-theval-lipsync", good | {"swapped": 0.6}) == {"the same beside every method"}


@pytest.mark.parametrize("variant", ["lmd", "lmd-mouth", "aed", "apd-mp6", "dtw-lips", "dtw-head"])
def test_a_distance_from_the_reference_is_0_for_it_small_for_its_encoding_and_large_for_another_person(variant):
    good = dict.fromkeys(("reference", "shifted:20", "swapped"), 0.0) | {"reencoded": 0.1, "frozen": 0.9}
    good["wrong-identity"] = 1.5
    assert broken(variant, good) == set()
    assert broken(variant, good | {"frozen": 0.15}) == {"frozen far worse than reencoded"}


@pytest.mark.parametrize("variant", ["emo-acc", "emo-prob"])
def test_an_emotion_that_is_seen_in_a_neutral_clip_is_found_out(variant):
    good = {"reference": 0.8, "reencoded": 0.8, "mirrored": 0.78, "emotion-flat": 0.1}
    assert broken(variant, good) == set()
    assert broken(variant, good | {"emotion-flat": 0.8}) == {"emotion-flat clearly worse than reference"}
