"""The source video of dubbing systems: nothing that is lent shows the target, and what is short runs back and forth."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatbench.errors import ClipError, UsageError
from floatbench.methods import source_video
from floatbench.protocol.load import load_protocol
from floatbench.protocol.protocol import SOURCE_VIDEOS, Clip, ClipFile, Preprocessing, Protocol

TIMES = st.one_of(st.none(), st.integers(0, 9).map(float))


def clips_of(windows: list[tuple[str, str, float | None, float | None]]) -> tuple[Clip, ...]:
    found = []
    for number, (person, file, start, end) in enumerate(windows):
        if end is not None and end <= (start or 0):
            end = (start or 0) + 1
        found.append(Clip(id=f"clip {number}", identity=person, video=file, start_s=start, end_s=end))
    return tuple(found)


def lending(clips: tuple[Clip, ...]) -> Protocol:
    rule = Preprocessing(spec="as-is")
    return Protocol(id="toy", dataset="toy", preprocessing=rule, metrics=(), clips=clips, source_video="other-clip")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), TIMES, TIMES), min_size=1, max_size=8))
def test_a_lender_is_the_same_person_at_another_moment(windows):
    protocol = lending(clips_of(windows))
    for clip in protocol.clips:
        for other in source_video.lenders(protocol, protocol.clips, clip):
            assert other.identity == clip.identity and other.id != clip.id
            if other.video == clip.video:  # the two windows have no second in common
                begins = [part.start_s or 0.0 for part in (clip, other)]
                ends = [part.end_s if part.end_s is not None else 1e9 for part in (clip, other)]
                assert min(ends) <= max(begins)


def test_a_copy_of_the_file_under_another_name_lends_nothing():
    twin: dict[ClipFile, str] = {"video": "ab" * 32}
    clips = (Clip(id="1", identity="a", video="x.mp4", sha256=twin), Clip(id="2", identity="a", video="y", sha256=twin))
    assert source_video.lenders(lending(clips), clips, clips[0]) == ()


@given(st.integers(1, 7), st.integers(1, 40))
def test_what_is_played_begins_with_the_video_and_never_jumps(length, wanted):
    frames = np.arange(length)[:, None, None, None]
    played = source_video.played(frames, wanted).ravel()
    assert len(played) == wanted
    np.testing.assert_array_equal(played[:length], np.arange(length)[:wanted])
    if length > 1:  # an end is shown once, not twice
        assert set(np.abs(np.diff(played))) <= {1}


def test_an_actor_s_video_is_of_another_sentence():
    protocol = load_protocol("ravdess", source_video="other-clip")
    for clip in protocol.clips[::7]:
        first = source_video.lenders(protocol, protocol.clips, clip)[0]
        assert first.identity == clip.identity and first.labels["statement"] != clip.labels["statement"]


def test_nobody_of_hdtf_has_a_second_recording():
    protocol = load_protocol("hdtf", source_video="other-clip")
    lent = Counter(len(source_video.lenders(protocol, protocol.clips, clip)) for clip in protocol.clips)
    assert lent == {0: 78}


@pytest.mark.parametrize(("rule", "shade"), [("still", 1), ("own", 2), ("other-clip", 3)])
def test_each_rule_gives_its_own_pictures_as_many_as_the_clip_has(rule, shade):
    source, own = np.full((4, 4, 3), 1, np.uint8), np.full((5, 4, 4, 3), 2, np.uint8)
    other = Clip(id="other", identity="a")
    frames, lender = source_video.given(rule, source, own, [other], lambda clip: own[:2] + 1)
    assert frames.shape == own.shape and set(np.unique(frames)) == {shade}
    assert lender == ("other" if rule == "other-clip" else "")


def test_a_person_without_another_clip_fails_the_clip_with_its_reason():
    with pytest.raises(ClipError) as caught:
        source_video.given("other-clip", np.zeros((4, 4, 3)), np.zeros((5, 4, 4, 3)), [], lambda clip: np.zeros(0))
    assert caught.value.reason == "no_source_video" and "same person" in caught.value.what


def test_a_protocol_that_says_nothing_keeps_its_hash_and_every_rule_has_one_of_its_own():
    plain = load_protocol("hdtf")
    assert plain.source_video == "none" and plain.label == "hdtf-78-v1@a8ac9012"
    hashes = {load_protocol("hdtf", source_video=rule).hash for rule in SOURCE_VIDEOS}
    assert len(hashes) == len(SOURCE_VIDEOS) and plain.hash in hashes


def test_a_protocol_file_may_choose_and_a_wrong_word_is_one_line(tmp_path):
    text = 'id = "mine-v1"\ndataset = "synthetic"\nmetrics = []\nsource_video = "still"\n'
    text += "clips = { first_identity = 9, identities = 2 }\n[preprocessing]\nspec = 'rendered'\n"
    (tmp_path / "mine.toml").write_text(text)
    assert load_protocol(str(tmp_path / "mine.toml")).source_video == "still"
    (tmp_path / "mine.toml").write_text(text.replace("still", "mouth"))
    with pytest.raises(UsageError, match=r"mine.toml:4: source_video: .*other-clip"):
        load_protocol(str(tmp_path / "mine.toml"))
    with pytest.raises(UsageError, match="unknown source video 'mouth'"):
        load_protocol("hdtf", source_video="mouth")
