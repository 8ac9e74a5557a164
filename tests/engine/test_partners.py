"""From which clips a control may borrow, on the published table of RAVDESS."""

from __future__ import annotations

import pytest

from floatbench.engine.plan import partners_of
from floatbench.protocol.load import load_protocol

PROTOCOL = load_protocol("ravdess-13")


@pytest.mark.parametrize("clip", PROTOCOL.clips[::26], ids=lambda clip: clip.id)
def test_a_flat_emotion_is_the_same_person_s_neutral_clip_of_the_same_sentence(clip):
    found = partners_of(PROTOCOL, PROTOCOL.clips, clip, "neutral")
    assert {other.identity for other in found} == {clip.identity}
    assert {other.labels["emotion"] for other in found} == {"neutral"}
    assert found[0].labels["statement"] == clip.labels["statement"] and found[0] != clip


def test_without_labels_nobody_is_neutral_and_other_people_are_found_all_the_same():
    drawn = load_protocol("synthetic")
    clip = drawn.clips[3]
    assert partners_of(drawn, drawn.clips, clip, "neutral") == ()
    assert clip.identity not in {other.identity for other in partners_of(drawn, drawn.clips, clip, "next")}
